"""Each system's network against its published numbers, its legal sizes, and its context in prediction."""

import sys
from itertools import pairwise

import pytest
import torch
from torch import nn

from reproduce.systems import SYSTEMS, build_system, common, fcn, keras_unet, mmsegmentation, modern, u2net
from unet_paper.config import ExperimentConfig
from unet_paper.errors import InputError
from unet_paper.model import UNet


def parameters(network):
    return sum(p.numel() for p in network.parameters())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (lambda: keras_unet.KerasUNet(), 7_759_521),
        (lambda: mmsegmentation.UNetS5D16(in_channels=3), 29_060_676),
        (lambda: mmsegmentation.UNetS5D16(), 29_060_676 - 2 * 64 * 9),  # one gray channel instead of three
        (lambda: u2net.U2Net(in_channels=3), 44_009_869),
        (lambda: u2net.U2Net(), 44_009_869 - 2 * 64 * 9),
        (lambda: fcn.AddedSkips(), 31_030_658 - 9 * (64**2 + 128**2 + 256**2 + 512**2)),
    ],
    ids=["keras", "mmsegmentation rgb", "mmsegmentation gray", "u2net rgb", "u2net gray", "fcn"],
)
def test_parameters(network, count):
    with torch.device("meta"):
        assert parameters(network()) == count


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_gives_two_class_maps_of_the_slice_in_its_prediction_tile(name):
    system = build_system(name, ExperimentConfig())
    assert system.name == name
    with torch.device("meta"):
        network = system.recipe.build().eval()
        tile, margin = system.predict.get("tile", 516), system.predict.get("margin", 92)
        side = tile + 2 * margin
        assert network(torch.empty(1, 1, side, side)).shape == (1, 2, tile, tile)
        assert tile >= 512


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_settings_are_json_and_tell_systems_and_schedules_apart(name):
    import json
    from dataclasses import replace

    config = ExperimentConfig()
    longer = replace(config, training=replace(config.training, steps=config.training.steps + 100))
    identities = [json.dumps(build_system(name, c).recipe.identity) for c in (config, longer)]
    assert identities[0] != identities[1]
    if name != "unet":
        assert name in identities[0]


@pytest.mark.parametrize("name", ["keras-unet", "mmsegmentation", "u2net"])
def test_illegal_sides_are_named(name):
    with torch.device("meta"):
        network = build_system(name, ExperimentConfig()).recipe.build()
        d = network.divisor
        with pytest.raises(InputError, match=f"input side {d * 5 + 1} .* nearest legal: {d * 5}, {d * 6}"):
            network.train()(torch.empty(1, 1, d * 5 + 1, d))
        with pytest.raises(InputError, match=r"input side 256 is not a multiple of .* above 256; nearest legal: "):
            network.eval()(torch.empty(1, 1, 256, 512))


def test_illegal_sides_of_added_skips_are_named():
    with pytest.raises(InputError, match="nearest legal: 508, 524"):
        fcn.AddedSkips(base_channels=1)(torch.zeros(1, 1, 512, 572))


def test_output_shapes_in_training():
    image = torch.randn(1, 1, 64, 96)
    assert keras_unet.KerasUNet(base_channels=2)(image).shape == (1, 1, 64, 96)
    logits, auxiliary = mmsegmentation.UNetS5D16(base_channels=2)(image)
    assert logits.shape == (1, 2, 64, 96)
    assert auxiliary.shape == (1, 2, 32, 48)
    assert u2net.U2Net(width=1 / 16)(image).shape == (1, 7, 64, 96)
    assert fcn.AddedSkips(base_channels=2)(torch.zeros(1, 1, 188, 204)).shape == (1, 2, 4, 20)


@pytest.mark.parametrize("network", [keras_unet.KerasUNet, mmsegmentation.UNetS5D16])
def test_nothing_beyond_the_margin_reaches_the_prediction(network):
    padded = common.Padded(network(base_channels=2), 16).eval()
    image = torch.randn(1, 1, 288, 288)
    beyond = image.clone()
    beyond.requires_grad_(True)
    corner = padded(beyond)[0, :, 0, 0].sum()  # the pixel (128, 128) of the image
    (gradient,) = torch.autograd.grad(corner, beyond)
    rows = gradient[0, 0].abs().sum(1).nonzero().ravel()
    assert 0 < rows.min() < 128 < rows.max() < 256
    wider = nn.functional.pad(image, (16, 16, 16, 16), "reflect")
    torch.testing.assert_close(padded(wider)[..., 16:-16, 16:-16], padded(image), rtol=1e-3, atol=1e-4)


def test_a_single_channel_becomes_a_pair_with_the_same_probability():
    inner = nn.Conv2d(1, 1, 1)
    padded = common.Padded(inner, 2, margin=2).eval()
    image = torch.randn(1, 1, 8, 8)
    logits = padded(image)
    torch.testing.assert_close(logits.softmax(1)[:, 1], torch.sigmoid(inner(image))[:, 0, 2:-2, 2:-2])
    assert padded.train()(image).shape == (1, 1, 8, 8)


def test_adding_skips_is_concatenating_with_equal_weights():
    added, concatenating = fcn.AddedSkips(base_channels=2).eval(), UNet(base_channels=2).eval()
    weights = added.state_dict()
    for level in range(4):
        name = f"expansive.{level}.0.weight"
        weights[name] = torch.cat([weights[name]] * 2, dim=1)
    concatenating.load_state_dict(weights)
    image = torch.randn(1, 1, 204, 204)
    torch.testing.assert_close(added(image), concatenating(image))


def test_mmsegmentation_has_no_bias_before_normalisation_and_weighs_the_auxiliary_head():
    network = mmsegmentation.UNetS5D16(base_channels=4)
    biased = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert [m.kernel_size for m in biased] == [(1, 1), (1, 1)]
    labels = torch.randint(2, (1, 8, 8))
    main, auxiliary = torch.randn(1, 2, 8, 8), torch.randn(1, 2, 4, 4)
    whole = mmsegmentation.loss((main, auxiliary), labels, None)
    assert whole > nn.functional.cross_entropy(main, labels)
    torch.testing.assert_close(
        mmsegmentation.loss((main, main), labels, None), 1.4 * nn.functional.cross_entropy(main, labels)
    )


def test_dice_loss_is_zero_for_the_truth_and_one_for_its_opposite():
    labels = torch.randint(2, (1, 50, 50))
    truth = 200.0 * labels[:, None] - 100
    assert keras_unet.dice_loss(truth, labels, None) < 1e-6
    assert keras_unet.dice_loss(-truth, labels, None) > 0.999


def test_u2net_has_the_blocks_of_the_paper():
    network = u2net.U2Net(width=1 / 16)
    layers = [len(block.down) + 1 for block in network.encoder]
    assert layers == [7, 6, 5, 4, 4, 4]
    assert [block.pools for block in network.encoder] == [True] * 4 + [False] * 2
    assert [len(block.down) + 1 for block in network.decoder] == [7, 6, 5, 4, 4]
    flat = network.encoder[4]
    assert [c[0].dilation[0] for c in [*flat.down, flat.bottom]] == [1, 2, 4, 8]
    labels, logits = torch.randint(2, (1, 8, 8)), torch.randn(1, 7, 8, 8)
    one_by_one = sum(nn.functional.binary_cross_entropy_with_logits(logits[:, i], labels.float()) for i in range(7))
    torch.testing.assert_close(u2net.deep_cross_entropy(logits, labels, None), one_by_one)


def test_u2net_predicts_its_fused_map_and_is_residual():
    network = u2net.U2Net(width=1 / 16)
    pooling = [*network.encoder[:4], *network.decoder[:4]]
    assert all(block.bottom[0].dilation == (2, 2) for block in pooling)
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()  # so that training and evaluation differ in the outputs alone
    image = torch.randn(1, 1, 64, 64)
    every = network(image)
    network.training = False
    torch.testing.assert_close(network(image), every[:, :1])
    block = u2net.ResidualU(0, 4, 2, 4).eval()
    nn.init.zeros_(block.up[0][0].weight)
    nn.init.zeros_(block.up[0][0].bias)
    x = torch.randn(1, 4, 16, 16)
    torch.testing.assert_close(block(x), block.entry(x))


def test_modern_without_its_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.losses", None)
    with pytest.raises(InputError, match="pip install monai"):
        modern.build(ExperimentConfig())


@pytest.mark.filterwarnings("default")
def test_modern_supervises_six_resolutions_the_finest_most():
    with torch.device("meta"):
        assert parameters(modern.network()) == 46_312_428
    network = common.Padded(modern.network(channels=(2,) * 8), 128)
    outputs = network(torch.randn(1, 1, 128, 256))
    assert outputs.shape == (1, 6, 2, 128, 256)
    labels = torch.randint(2, (1, 128, 256))
    loss = modern.DeepDiceCrossEntropy()
    perfect = torch.stack([1 - labels, labels], 1)[:, None].expand(1, 6, 2, 128, 256) * 100.0
    assert loss(perfect, labels, None) < 1e-3 < loss(outputs, labels, None)
    wrong = []
    for resolution in range(6):
        flawed = perfect.clone()
        flawed[:, resolution] *= -1
        wrong.append(float(loss(flawed, labels, None)))
    assert [a / b for a, b in pairwise(wrong)] == pytest.approx([2] * 5, rel=1e-3)


def test_modern_clips_the_gradient_as_a_whole():
    network = nn.Linear(3, 4)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    before = [p.detach().clone() for p in network.parameters()]
    modern.ClippedSGD(network.parameters(), lr=1.0).step()
    moved = [a - b.detach() for a, b in zip(before, network.parameters())]
    assert sum(float((m**2).sum()) for m in moved) ** 0.5 == pytest.approx(12, rel=1e-4)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "kind", "settings", "rates"),
    [
        ("unet", "SGD", {"momentum": 0.99, "nesterov": False, "weight_decay": 0.0}, (2e-6, 2e-3)),
        ("fcn", "SGD", {"momentum": 0.99, "nesterov": False, "weight_decay": 0.0}, (2e-6, 2e-3)),
        ("sliding-window", "SGD", {"momentum": 0, "weight_decay": 0}, (0.02, 0.02)),
        ("keras-unet", "Adam", {"eps": 1e-7, "weight_decay": 0}, (1e-5, 1e-5)),
        ("mmsegmentation", "SGD", {"momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}, (0.01, 0.01)),
        ("u2net", "Adam", {"betas": (0.9, 0.999), "weight_decay": 0}, (1e-3, 1e-3)),
        ("modern", "ClippedSGD", {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}, (0.01, 0.01)),
    ],
)
def test_optimisers_are_those_of_the_docstrings(name, kind, settings, rates):
    recipe = build_system(name, ExperimentConfig()).recipe
    optimizer = recipe.optimizer([torch.zeros(1, requires_grad=True)])
    assert type(optimizer).__name__ == kind
    assert {key: optimizer.defaults[key] for key in settings} == settings
    every = [recipe.learning_rate(step) for step in range(recipe.steps)]
    assert (every[0], max(every)) == pytest.approx(rates)
    last = {"keras-unet": 1e-5, "u2net": 1e-3, "mmsegmentation": 1e-4, "modern": 6.6e-6}.get(name, 0.0)
    assert every[-1] == pytest.approx(last, rel=0.1, abs=1e-8)


def test_initial_weights_are_those_of_the_sources():
    layer = keras_unet.KerasUNet().expansive[0][0]  # 64 -> 32 channels: uniform within sqrt(6 / (9 * 96))
    bound = (6 / (9 * 96)) ** 0.5
    assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound
    network = mmsegmentation.UNetS5D16(base_channels=16)
    convolution = network.contracting[4][0]  # He-normal by fan-out
    assert float(convolution[0].weight.detach().std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert float(mmsegmentation.UNetS5D16().head[2].weight.detach().std()) == pytest.approx(0.01, rel=0.2)


def test_the_paper_networks_work_is_counted():
    with torch.device("meta"):
        assert round(common.multiply_adds(UNet(), 1, 1, 572, 572) / 1e9, 2) == 150.43
