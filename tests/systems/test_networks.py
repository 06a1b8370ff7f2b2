"""Each system's network against its published numbers, its legal sizes, and its context in prediction."""

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


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_system_gives_two_class_maps_of_the_slice_in_its_prediction_tile(name):
    if name == "modern":
        pytest.importorskip("monai", reason="the optional library MONAI is not installed")
    system = build_system(name, ExperimentConfig())
    assert system.name == name
    with torch.device("meta"):
        network = system.recipe.build().eval()
        tile, margin = system.predict.get("tile", 516), system.predict.get("margin", 92)
        side = tile + 2 * margin
        assert network(torch.empty(1, 1, side, side)).shape == (1, 2, tile, tile)
        assert tile >= 512


@pytest.mark.parametrize("name", sorted(set(SYSTEMS) - {"modern"}))
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


def test_modern_without_its_library_says_how_to_get_it():
    try:
        import monai  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install monai"):
            modern.build(ExperimentConfig())
    else:
        pytest.skip("MONAI is installed")


@pytest.mark.filterwarnings("default")
def test_modern_supervises_five_resolutions():
    pytest.importorskip("monai", reason="the optional library MONAI is not installed")
    with torch.device("meta"):
        assert parameters(modern.network()) == 46_311_402
    network = common.Padded(modern.network(channels=(2,) * 8), 128)
    outputs = network(torch.randn(1, 1, 128, 256))
    assert outputs.shape == (1, 5, 2, 128, 256)
    labels = torch.randint(2, (1, 128, 256))
    loss = modern.DeepDiceCrossEntropy()
    perfect = torch.stack([1 - labels, labels], 1)[:, None].expand(1, 5, 2, 128, 256) * 100.0
    assert loss(perfect, labels, None) < 1e-3 < loss(outputs, labels, None)


def test_the_paper_networks_work_is_counted():
    with torch.device("meta"):
        assert round(common.multiply_adds(UNet(), 1, 1, 572, 572) / 1e9, 2) == 150.43
