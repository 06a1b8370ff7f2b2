"""The variants for the ablations differ from the U-Net where they should and nowhere else."""

import numpy as np
import torch

from reproduce.systems import variants
from unet_paper.config import AugmentationConfig
from unet_paper.model import UNet
from unet_paper.sampler import TileSampler


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    with torch.device("meta"):
        assert parameters(variants.LinearUpUNet()) == 31_030_658
        assert parameters(variants.padded()) == 31_030_658
        assert parameters(variants.ReleasedUNet()) == 31_100_354


def test_linear_up_convolutions_share_weights_but_not_outputs():
    torch.manual_seed(0)
    network, paper = variants.LinearUpUNet(base_channels=2).eval(), UNet(base_channels=2).eval()
    network.load_state_dict(paper.state_dict())
    image = torch.randn(1, 1, 188, 188)
    assert not torch.allclose(network(image), paper(image))
    for up in paper.up_convolutions:  # positive maps pass a ReLU unchanged
        torch.nn.init.constant_(up[0].weight, 0.1)
    network.load_state_dict(paper.state_dict())
    torch.testing.assert_close(network(image), paper(image))


def test_released_variant_widens_the_last_up_convolution_only():
    torch.manual_seed(0)
    network, paper = variants.ReleasedUNet(base_channels=2), UNet(base_channels=2)
    ours, papers = ({n: p.shape for n, p in m.named_parameters()} for m in (network, paper))
    different = {name for name in ours if ours[name] != papers[name]}
    assert different == {"up_convolutions.0.0.weight", "up_convolutions.0.0.bias", "expansive.0.0.weight"}
    assert network(torch.zeros(1, 1, 188, 204)).shape == (1, 2, 4, 20)


def test_padded_convolutions_equal_valid_ones_where_no_padding_is_seen():
    torch.manual_seed(0)
    paper = UNet(base_channels=2).double().eval()
    network = variants.SamePaddingUNet(base_channels=2).double().eval()
    network.load_state_dict(paper.state_dict())
    image = torch.randn(1, 1, 208, 208, dtype=torch.float64)
    with torch.no_grad():
        valid = paper(image[..., 2:206, 2:206])  # 2 px in, the grids of the poolings coincide
        whole = network(image)
    assert whole.shape[-2:] == (208, 208)
    torch.testing.assert_close(whole[..., 94:114, 94:114], valid)


def test_padded_network_predicts_without_its_margin():
    network = variants.padded(base_channels=2, margin=16)
    image = torch.randn(1, 1, 64, 64)
    assert network.train()(image).shape == (1, 2, 64, 64)
    assert network.eval()(image).shape == (1, 2, 32, 32)


def test_zero_padding_replaces_the_mirror_and_nothing_else():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 100, 120)).astype(np.float32)
    labels = (rng.random(images.shape) < 0.8).astype(np.uint8)
    weights = rng.random(images.shape).astype(np.float32) + 1
    how = {"input_size": 188, "output_size": 4, "augmentation": AugmentationConfig(gain=0, offset=0)}
    mirrored = TileSampler(images, labels, weights, **how)
    zeros = variants.ZeroPaddedSampler(images, labels, weights, **how)
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
