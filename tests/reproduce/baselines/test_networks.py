"""Each baseline's network: its published number of parameters, and its published forward pass written out.

The passes are after the sources that the modules name; they use the network's weights and nothing else of it.
"""

import sys
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reproduce.baselines import METHODS, build_method, common, fcn, keras_unet, mmsegmentation, modern, u2net
from reproduce.baselines.sliding_window import SlidingWindow
from unet_paper.config import ExperimentConfig
from unet_paper.errors import InputError
from unet_paper.model import UNet

pytestmark = pytest.mark.filterwarnings("default")  # MONAI's


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def scrambled(network):
    """The network in float64 with weights, biases and statistics of which none is 0 or 1."""
    network = network.double()
    for value in network.parameters():
        nn.init.normal_(value, std=0.5 if value.ndim == 1 else value[0].numel() ** -0.5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return network.eval()


def image(height, width):
    return torch.randn(1, 1, height, width, dtype=torch.float64)


PUBLISHED = {
    "unet": (lambda: UNet(), 31_030_658),
    "fcn": (lambda: fcn.AddedSkips(), 31_030_658 - 9 * (64**2 + 128**2 + 256**2 + 512**2)),
    "sliding-window": (lambda: SlidingWindow(), 219_290),
    "keras-unet": (lambda: keras_unet.KerasUNet(), 7_759_521),
    "mmsegmentation, three channels": (lambda: mmsegmentation.UNetS5D16(in_channels=3), 29_060_676),
    "mmsegmentation": (lambda: mmsegmentation.UNetS5D16(), 29_060_676 - 2 * 64 * 9),
    "u2net, three channels": (lambda: u2net.U2Net(in_channels=3), 44_009_869),
    "u2net": (lambda: u2net.U2Net(), 44_009_869 - 2 * 64 * 9),
    "modern": (lambda: modern.dynamic_unet(channels=modern.CHANNELS, supervised=6), 46_312_428),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones(name):
    network, count = PUBLISHED[name]
    with torch.device("meta"):
        assert parameters(network()) == count


@pytest.mark.parametrize("name", METHODS)
def test_the_recipe_builds_that_network_and_predicts_a_slice_in_one_tile(name):
    method = build_method(name, ExperimentConfig())
    with torch.device("meta"):
        network = method.recipe.network().eval()
        tile, margin = method.predict.get("tile", 516), method.predict.get("margin", 92)
        side = tile + 2 * margin
        assert network(torch.empty(1, 1, side, side)).shape == (1, 2, tile, tile)
    assert method.name == name
    assert tile >= 512
    assert parameters(network) == PUBLISHED[name.removesuffix("-adam")][1]


def keras_unet_written_out(w, x):
    def twice(x, name):
        x = F.conv2d(x, w[f"{name}.0.weight"], w[f"{name}.0.bias"], padding=1).relu()
        return F.conv2d(x, w[f"{name}.2.weight"], w[f"{name}.2.bias"], padding=1).relu()

    def up(x, name):
        return F.conv_transpose2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2)

    conv1 = twice(x, "contracting.0")
    conv2 = twice(F.max_pool2d(conv1, 2), "contracting.1")
    conv3 = twice(F.max_pool2d(conv2, 2), "contracting.2")
    conv4 = twice(F.max_pool2d(conv3, 2), "contracting.3")
    conv5 = twice(F.max_pool2d(conv4, 2), "contracting.4")
    conv6 = twice(torch.cat([up(conv5, "up.3"), conv4], 1), "expansive.3")
    conv7 = twice(torch.cat([up(conv6, "up.2"), conv3], 1), "expansive.2")
    conv8 = twice(torch.cat([up(conv7, "up.1"), conv2], 1), "expansive.1")
    conv9 = twice(torch.cat([up(conv8, "up.0"), conv1], 1), "expansive.0")
    return F.conv2d(conv9, w["score.weight"], w["score.bias"])


def normalised(w, x, name, first=0, **convolution):
    """Convolution, batch normalisation in evaluation and ReLU of a Sequential, from its layer `first` on."""
    x = F.conv2d(x, w[f"{name}.{first}.weight"], w.get(f"{name}.{first}.bias"), **convolution)
    norm = [w[f"{name}.{first + 1}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *norm).relu()


def mmsegmentation_written_out(w, x):
    """Logits of the head and of the auxiliary head."""

    def twice(x, name):
        return normalised(w, normalised(w, x, f"{name}.0", padding=1), f"{name}.1", padding=1)

    def up(x, name):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return normalised(w, x, name, first=1)

    def head(x, name):
        x = normalised(w, x, f"{name}.0", padding=1)
        return F.conv2d(x, w[f"{name}.2.weight"], w[f"{name}.2.bias"])

    encoded = [twice(x, "contracting.0")]
    for stage in (1, 2, 3, 4):
        encoded.append(twice(F.max_pool2d(encoded[-1], 2), f"contracting.{stage}"))
    x = encoded[4]
    for stage in (3, 2, 1, 0):
        x = twice(torch.cat([encoded[stage], up(x, f"up.{stage}")], 1), f"expansive.{stage}")
        if stage == 1:
            auxiliary = head(x, "auxiliary")
    return head(x, "head"), auxiliary


def u2net_written_out(w, x):
    """Fused logits and those of the six sides, (1, 7, h, w)."""

    def like(x, other):
        return F.interpolate(x, size=other.shape[-2:], mode="bilinear", align_corners=False)

    def pool(x):
        return F.max_pool2d(x, 2, stride=2, ceil_mode=True)

    def convolve(x, name, dilation=1):
        return normalised(w, x, name, padding=dilation, dilation=dilation)

    def rsu(x, name, layers):
        entry = convolve(x, f"{name}.entry")
        down = [convolve(entry, f"{name}.down.0")]
        for layer in range(1, layers - 1):
            down.append(convolve(pool(down[-1]), f"{name}.down.{layer}"))
        x = convolve(down[-1], f"{name}.bottom", dilation=2)
        for layer in reversed(range(layers - 1)):
            x = convolve(torch.cat([like(x, down[layer]), down[layer]], 1), f"{name}.up.{layer}")
        return x + entry

    def rsu4f(x, name):
        entry = convolve(x, f"{name}.entry")
        x1 = convolve(entry, f"{name}.down.0", dilation=1)
        x2 = convolve(x1, f"{name}.down.1", dilation=2)
        x3 = convolve(x2, f"{name}.down.2", dilation=4)
        x4 = convolve(x3, f"{name}.bottom", dilation=8)
        x = convolve(torch.cat([x4, x3], 1), f"{name}.up.2", dilation=4)
        x = convolve(torch.cat([x, x2], 1), f"{name}.up.1", dilation=2)
        return convolve(torch.cat([x, x1], 1), f"{name}.up.0", dilation=1) + entry

    hx1 = rsu(x, "encoder.0", 7)
    hx2 = rsu(pool(hx1), "encoder.1", 6)
    hx3 = rsu(pool(hx2), "encoder.2", 5)
    hx4 = rsu(pool(hx3), "encoder.3", 4)
    hx5 = rsu4f(pool(hx4), "encoder.4")
    hx6 = rsu4f(pool(hx5), "encoder.5")
    hx5d = rsu4f(torch.cat([like(hx6, hx5), hx5], 1), "decoder.4")
    hx4d = rsu(torch.cat([like(hx5d, hx4), hx4], 1), "decoder.3", 4)
    hx3d = rsu(torch.cat([like(hx4d, hx3), hx3], 1), "decoder.2", 5)
    hx2d = rsu(torch.cat([like(hx3d, hx2), hx2], 1), "decoder.1", 6)
    hx1d = rsu(torch.cat([like(hx2d, hx1), hx1], 1), "decoder.0", 7)
    sides = [
        like(F.conv2d(h, w[f"side.{i}.weight"], w[f"side.{i}.bias"], padding=1), x)
        for i, h in enumerate([hx1d, hx2d, hx3d, hx4d, hx5d, hx6])
    ]
    fused = F.conv2d(torch.cat(sides, 1), w["fuse.weight"], w["fuse.bias"])
    return torch.cat([fused, *sides], 1)


def test_the_keras_unet_is_the_tutorials():
    network, x = scrambled(keras_unet.KerasUNet(base_channels=8)), image(32, 48)
    logits = keras_unet_written_out(network.state_dict(), x)
    torch.testing.assert_close(network(x), logits)
    assert logits.std() > 0.01


def test_mmsegmentations_unet_is_the_librarys():
    network, x = scrambled(mmsegmentation.UNetS5D16(base_channels=2)), image(32, 48)
    logits, auxiliary = mmsegmentation_written_out(network.state_dict(), x)
    torch.testing.assert_close(network(x), logits)
    network.training = True  # normalisation and dropout stay in evaluation
    torch.testing.assert_close(network(x), (logits, auxiliary))


def test_u2net_is_the_authors():
    network, x = scrambled(u2net.U2Net(width=1 / 16)), image(64, 96)
    outputs = u2net_written_out(network.state_dict(), x)
    torch.testing.assert_close(network(x), outputs[:, :1])
    network.training = True
    torch.testing.assert_close(network(x), outputs)


def test_added_skips_are_concatenated_ones_with_equal_weights():
    added, concatenating = scrambled(fcn.AddedSkips(base_channels=2)), UNet(base_channels=2).double().eval()
    weights = added.state_dict()
    for level in range(4):
        name = f"expansive.{level}.0.weight"
        weights[name] = torch.cat([weights[name]] * 2, dim=1)
    concatenating.load_state_dict(weights)
    x = image(188, 204)
    torch.testing.assert_close(added(x), concatenating(x))


def test_the_modern_network_has_nnunets_layers():
    with torch.device("meta"):
        network = modern.dynamic_unet(channels=modern.CHANNELS, supervised=modern.SUPERVISED)
    layers = {kind: [m for m in network.modules() if isinstance(m, kind)] for kind in (nn.Conv2d, nn.ConvTranspose2d)}
    wide = [(m.in_channels, m.out_channels, m.stride[0]) for m in layers[nn.Conv2d] if m.kernel_size == (3, 3)]
    c = [32, 64, 128, 256, 512, 512, 512, 512]
    contracting = [(1, 32, 1), (32, 32, 1)] + [
        layer for before, after in pairwise(c) for layer in ((before, after, 2), (after, after, 1))
    ]
    expansive = [layer for width in reversed(c[:-1]) for layer in ((2 * width, width, 1), (width, width, 1))]
    assert sorted(wide) == sorted(contracting + expansive)
    ups = [(m.in_channels, m.out_channels, m.kernel_size, m.stride) for m in layers[nn.ConvTranspose2d]]
    assert sorted(ups) == sorted((after, before, (2, 2), (2, 2)) for before, after in pairwise(c))
    heads = [m.in_channels for m in layers[nn.Conv2d] if m.kernel_size == (1, 1)]
    assert sorted(heads) == [32, 64, 128, 256, 512, 512]
    rest = [m for m in network.modules() if not list(m.children()) and not isinstance(m, tuple(layers))]
    assert {type(m) for m in rest} == {nn.InstanceNorm2d, nn.LeakyReLU}
    assert all(m.affine for m in rest if isinstance(m, nn.InstanceNorm2d))
    assert {m.negative_slope for m in rest if isinstance(m, nn.LeakyReLU)} == {0.01}


def test_the_modern_network_supervises_six_resolutions_of_which_the_first_is_its_prediction():
    network = scrambled(modern.dynamic_unet(channels=(2,) * 8, supervised=6))
    x = image(256, 256)
    predicted = network(x)
    outputs = network.train()(x)
    assert outputs.shape == (1, 6, 2, 256, 256)
    torch.testing.assert_close(outputs[:, 0], predicted)
    for i in range(1, 6):  # enlarged by copying each pixel
        small = outputs[:, i, :, :: 2**i, :: 2**i]
        torch.testing.assert_close(outputs[:, i], F.interpolate(small, scale_factor=2**i, mode="nearest"))


def test_initial_weights_are_those_of_the_sources():
    layer = keras_unet.KerasUNet().expansive[0][0]  # 64 to 32 channels: uniform within sqrt(6 / (9 * 96))
    bound = (6 / (9 * 96)) ** 0.5
    assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
    up = keras_unet.KerasUNet().up[0]  # 64 to 32 channels, 2 x 2
    bound = (6 / (4 * 96)) ** 0.5
    assert 0.98 * bound < float(up.weight.detach().abs().max()) <= bound
    network = mmsegmentation.UNetS5D16(base_channels=16)
    wide = network.contracting[4][0][0]  # 128 to 256 channels: He-normal by fan-out
    assert float(wide.weight.detach().std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    for head in (network.head, network.auxiliary):
        assert float(head[2].weight.detach().std()) == pytest.approx(0.01, rel=0.4)
        assert not head[2].bias.any()


@pytest.mark.parametrize("name", ["keras-unet", "mmsegmentation", "u2net", "modern"])
def test_illegal_sides_of_padded_networks_are_named(name):
    with torch.device("meta"):
        network = build_method(name, ExperimentConfig()).recipe.network()
    d = network.divisor
    assert d == {"keras-unet": 16, "mmsegmentation": 16, "u2net": 32, "modern": 128}[name]
    with pytest.raises(InputError, match=f"input side {d * 5 + 1} must be a multiple of {d}: {d * 5}, {d * 6}"):
        network.train()(torch.empty(1, 1, d * 5 + 1, d, device="meta"))
    with pytest.raises(InputError, match=f"input side 256 must be a multiple of {d} above 256: {256 + d}"):
        network.eval()(torch.empty(1, 1, 256, 512, device="meta"))


def test_a_padded_network_predicts_the_centre_of_what_it_sees():
    inner = nn.Conv2d(1, 1, 3, padding=1)
    padded, x = common.Padded(inner, 2, margin=2), torch.randn(1, 1, 8, 10)
    logits = padded.eval()(x)
    torch.testing.assert_close(logits.softmax(1)[:, 1], torch.sigmoid(inner(x))[:, 0, 2:-2, 2:-2])
    assert torch.equal(padded.train()(x), inner(x))
    pair = nn.Conv2d(1, 2, 1)
    assert torch.equal(common.Padded(pair, 2, margin=2).eval()(x), pair(x)[..., 2:-2, 2:-2])


@pytest.mark.parametrize("network", [keras_unet.KerasUNet, mmsegmentation.UNetS5D16])
def test_nothing_beyond_the_margin_reaches_the_prediction(network):
    padded = common.Padded(network(base_channels=2), 16).eval()
    x = torch.randn(1, 1, 288, 288)
    beyond = x.clone().requires_grad_(True)
    corner = padded(beyond)[0, :, 0, 0].sum()  # the pixel (128, 128) of the image
    (gradient,) = torch.autograd.grad(corner, beyond)
    rows = gradient[0, 0].abs().sum(1).nonzero().ravel()
    assert 0 < rows.min() < 128 < rows.max() < 256
    wider = F.pad(x, (16, 16, 16, 16), "reflect")
    torch.testing.assert_close(padded(wider)[..., 16:-16, 16:-16], padded(x), rtol=1e-3, atol=1e-4)


def test_the_modern_baseline_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.losses", None)
    with pytest.raises(common.MissingLibrary, match="pip install monai"):
        modern.build(ExperimentConfig())
