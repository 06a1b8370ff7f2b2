"""The variants for the ablations differ from the U-Net where they should and nowhere else."""

import numpy as np
import pytest
import torch

from reproduce.baselines import variants
from unet_paper.config import AugmentationConfig, WeightMapConfig
from unet_paper.model import UNet, UpConvolution
from unet_paper.recipe import weight_maps, weighted_sampler
from unet_paper.sampler import TileSampler


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def stack():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 100, 120)).astype(np.float32)
    return images, (rng.random(images.shape) < 0.8).astype(np.uint8)


def test_parameter_counts():
    with torch.device("meta"):
        assert parameters(variants.LinearUpUNet()) == 31_030_658
        assert parameters(variants.padded_unet()) == 31_030_658
        assert parameters(variants.ReleasedUNet()) == 31_100_354


def test_linear_up_convolutions_are_the_papers_before_the_relu():
    network, paper = variants.LinearUpUNet(base_channels=2).eval(), UNet(base_channels=2).eval()
    network.load_state_dict(paper.state_dict())
    for linear, relu in zip(network.up_convolutions, paper.up_convolutions):
        x = torch.randn(1, relu[0].in_channels, 5, 5)
        assert (linear(x) < 0).any()
        assert torch.equal(linear(x).relu(), relu(x))
    image = torch.randn(1, 1, 188, 188)
    assert not torch.allclose(network(image), paper(image))
    for up in paper.up_convolutions:  # positive maps pass a ReLU unchanged
        torch.nn.init.constant_(up[0].weight, 0.1)
    network.load_state_dict(paper.state_dict())
    torch.testing.assert_close(network(image), paper(image))


def test_released_variant_widens_the_last_up_convolution_only():
    network, paper = variants.ReleasedUNet(base_channels=2), UNet(base_channels=2)
    ours, papers = ({n: p.shape for n, p in m.named_parameters()} for m in (network, paper))
    different = {name for name in ours if ours[name] != papers[name]}
    assert different == {"up_convolutions.0.0.weight", "up_convolutions.0.0.bias", "expansive.0.0.weight"}
    assert type(network.up_convolutions[0]) is UpConvolution  # with its ReLU
    assert ours["up_convolutions.0.0.weight"] == (4, 4, 2, 2)
    assert network(torch.zeros(1, 1, 188, 204)).shape == (1, 2, 4, 20)


def test_released_variant_is_the_papers_network_when_the_channels_it_adds_are_zero():
    network, paper = variants.ReleasedUNet(base_channels=2).eval(), UNet(base_channels=2).eval()
    weights = paper.state_dict()
    up, bias, first = (
        network.state_dict()[n]
        for n in ("up_convolutions.0.0.weight", "up_convolutions.0.0.bias", "expansive.0.0.weight")
    )
    up[:, :2], bias[:2], bias[2:] = weights["up_convolutions.0.0.weight"], weights["up_convolutions.0.0.bias"], 0
    up[:, 2:] = 0
    first[:, :2] = weights["expansive.0.0.weight"][:, :2]
    first[:, 4:] = weights["expansive.0.0.weight"][:, 2:]  # the skip comes after the four upsampled channels
    changed = {"up_convolutions.0.0.weight": up, "up_convolutions.0.0.bias": bias, "expansive.0.0.weight": first}
    network.load_state_dict(weights | changed)
    image = torch.randn(1, 1, 188, 188)
    torch.testing.assert_close(network(image), paper(image))


def test_padded_convolutions_equal_valid_ones_where_no_padding_is_seen():
    paper = UNet(base_channels=2).double().eval()
    network = variants.SamePaddingUNet(base_channels=2).double().eval()
    network.load_state_dict(paper.state_dict())
    image = torch.randn(1, 1, 208, 208, dtype=torch.float64)
    with torch.no_grad():
        valid = paper(image[..., 2:206, 2:206])  # 2 px in, the grids of the poolings coincide
        whole = network(image)
    assert whole.shape[-2:] == (208, 208)
    torch.testing.assert_close(whole[..., 94:114, 94:114], valid)
    assert all(m.padding == (0, 0) for m in network.modules() if getattr(m, "kernel_size", 0) == (1, 1))


def test_padded_network_predicts_without_its_margin():
    network = variants.padded_unet(base_channels=2, margin=16, dropout=0.0)
    image = torch.randn(1, 1, 64, 64)
    whole = network.train()(image)
    assert whole.shape == (1, 2, 64, 64)
    torch.testing.assert_close(network.eval()(image), whole[..., 16:-16, 16:-16])


def test_zero_padding_replaces_the_mirror_and_nothing_else(stack):
    images, labels = stack
    weights = np.random.default_rng(1).random(images.shape).astype(np.float32) + 1
    settings = {"input_size": 188, "output_size": 4, "augmentation": AugmentationConfig(gain=0, offset=0)}
    mirrored = TileSampler(images, labels, weights, **settings)
    zeros = variants.ZeroPaddedSampler(mirrored)
    drawn = [sampler.draw(np.random.default_rng(5), 8) for sampler in (mirrored, zeros)]
    assert np.array_equal(*drawn)
    a, b = mirrored(drawn[0]), zeros(drawn[1])
    empty = b.image == 0
    assert 0.2 < empty.float().mean() < 0.9
    near = torch.nn.functional.max_pool2d(empty.float(), 17, 1) > 0  # cubic interpolation sees 2 px beyond
    a_image, b_image = (t.image[..., 8:-8, 8:-8][~near] for t in (a, b))
    assert len(a_image) > 1000
    torch.testing.assert_close(a_image, b_image, rtol=1e-3, atol=2e-3)
    counted = b.weights > 1
    assert torch.equal(a.labels[counted], b.labels[counted])
    turned = np.zeros((1, 24), np.float32)
    turned[0, :6] = 0, 0.5, 0.5, np.pi / 4, 1, 0  # the tile's corner points away from the slice's corner
    assert (zeros(turned).image == 0).float().mean() > 0.6


def test_the_zero_padded_tile_is_the_slice_in_zeros_with_its_weight_map(stack):
    images, labels = stack
    settings = {"augmentation": AugmentationConfig(), "weight_map": WeightMapConfig(w0=3.0)}
    sampler = variants.zero_padded_sampler(images, labels, "cpu", input_size=188, output_size=188, **settings)
    still = np.zeros((1, 24), np.float32)
    still[0, :6] = 1, 49.5, 59.5, 0, 1, 0  # slice 1, centred: 44 rows and 34 columns of surroundings on each side
    tile = sampler(still)
    for made, plane in zip(tile, (images[1], labels[1], weight_maps(labels, settings["weight_map"])[1])):
        expected = torch.nn.functional.pad(torch.as_tensor(plane), (34, 34, 44, 44))
        torch.testing.assert_close(made.squeeze(), expected.to(made.dtype), rtol=1e-4, atol=1e-4)
    unets = weighted_sampler(images, labels, "cpu", input_size=188, output_size=188, **settings)
    assert (unets(still).weights > 0).all()
