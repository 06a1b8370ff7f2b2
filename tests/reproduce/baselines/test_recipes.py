"""Each baseline's recipe: one step of it written out, what it is known by, and that it stops and continues.

Networks are narrow and tiles small here; loss, optimiser, schedule and augmentation are the recipe's own.
"""

import inspect
import json
import signal
from dataclasses import fields, is_dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_scripts.phantom import make_phantom
from reproduce.baselines import METHODS, build_method, common, keras_unet, mmsegmentation, modern, sliding_window, u2net
from unet_paper.checkpoint import CHECKPOINT, Curve, load_checkpoint, read_weights, save_checkpoint, save_weights
from unet_paper.config import AugmentationConfig, ExperimentConfig, TrainingConfig
from unet_paper.errors import InputError, Interrupted
from unet_paper.recipe import OURS
from unet_paper.sampler import TileSampler
from unet_paper.train import Descent, train

pytestmark = pytest.mark.filterwarnings("default")  # MONAI's

CONFIG = ExperimentConfig(training=TrainingConfig(input_size=188, steps=3, warmup_steps=1, precision="float32"))
NARROW = {
    "unet": {"base_channels": 2},
    "unet-adam": {"base_channels": 2},
    "fcn": {"base_channels": 2},
    "sliding-window": {"maps": 2, "hidden": 3},
    "keras-unet": {"base_channels": 2},
    "mmsegmentation": {"base_channels": 4},
    "u2net": {"width": 1 / 16},
    "modern": {"channels": (2,) * 8},
}
SIDES = {"keras-unet": 32, "mmsegmentation": 32, "u2net": 64, "modern": 256}  # of tiles of padded networks


@pytest.fixture(scope="module")
def phantom():
    images, labels = make_phantom(2, 64, 64, seed=3)
    return images.astype(np.float32) / 255, (labels > 0).astype(np.uint8)


def narrow(name):
    """The recipe of a baseline with a narrow network and small tiles."""
    recipe = build_method(name, CONFIG).recipe
    if name not in SIDES:
        return replace(recipe, network=partial(recipe.network, **NARROW[name]))
    network = partial(recipe.network.keywords["network"], **NARROW[name])
    return replace(
        recipe, network=partial(recipe.network, network=network), sampler=partial(recipe.sampler, size=SIDES[name])
    )


def dice(truth, probability, smooth_above, smooth_below):
    return 1 - (2 * (truth * probability).sum() + smooth_above) / (truth.sum() + probability.sum() + smooth_below)


def weighted(logits, labels, weights):
    cost = -logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    return (weights * cost).sum() / weights.sum()


def dice_of_membrane(z, labels, weights):
    return dice((labels == 0).float(), 1 - z[:, 0].sigmoid(), 1, 1)


def with_auxiliary(outputs, labels, weights):
    coarse = F.interpolate(outputs[1], scale_factor=2, mode="bilinear", align_corners=False)
    one = torch.ones(labels.shape)
    return weighted(outputs[0], labels, one) + 0.4 * weighted(coarse, labels, one)


def seven_binary(z, labels, weights):
    cell = labels.float()
    return sum(-(cell * p.log() + (1 - cell) * (1 - p).log()).mean() for p in z.sigmoid().unbind(1))


def six_resolutions(outputs, labels, weights):
    one, total = torch.ones(labels.shape), 0
    for i, logits in enumerate(outputs.unbind(1)):
        p = logits.softmax(1)
        overlap = sum(dice((labels == k).float(), p[:, k], 1e-5, 1e-5) for k in (0, 1)) / 2
        total = total + (overlap + weighted(logits, labels, one)) / 2**i
    return total / (1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16 + 1 / 32)


FIRST_STEP = {  # loss, and the change of weights w with gradient g in the first step
    "unet": (weighted, lambda w, g: -4e-3 * g),
    "unet-adam": (weighted, lambda w, g: -3e-4 * g / (g.abs() + 1e-8)),
    "fcn": (weighted, lambda w, g: -4e-3 * g),
    "sliding-window": (weighted, lambda w, g: -0.02 * g),
    "keras-unet": (dice_of_membrane, lambda w, g: -1e-5 * g / (g.abs() + 1e-7)),
    "mmsegmentation": (with_auxiliary, lambda w, g: -0.01 * (g + 5e-4 * w)),
    "u2net": (seven_binary, lambda w, g: -1e-3 * g / (g.abs() + 1e-8)),
    "modern": (six_resolutions, lambda w, g: -0.01 * 1.99 * (g + 3e-5 * w)),
}


@pytest.mark.parametrize("name", METHODS)
def test_one_step_is_the_published_one_and_its_weights_come_back(name, phantom, tmp_path):
    recipe, (loss, update) = narrow(name), FIRST_STEP[name]
    descent = Descent(recipe, *phantom, seed=5)
    network = descent.model
    before = {key: value.clone() for key, value in network.state_dict().items()}
    value = descent(0)

    other = recipe.network().to(memory_format=torch.channels_last).train()
    other.load_state_dict(before)
    generator = np.random.default_rng([5, 0])
    torch.manual_seed(int(generator.integers(2**63)))  # dropout
    images, labels = phantom
    mean, std = (float(statistic(images, dtype=np.float64)) for statistic in (np.mean, np.std))
    sampler = recipe.sampler((images - mean) / std, labels, "cpu")
    tile = sampler(sampler.draw(generator, recipe.batch))
    output = other(tile.image.contiguous(memory_format=torch.channels_last))
    cost = recipe.loss(output, tile.labels, tile.weights)
    written_out = loss(output, tile.labels, tile.weights)
    torch.testing.assert_close((value, cost), (written_out, written_out), rtol=1e-5, atol=1e-6)
    outputs = output if isinstance(output, tuple) else (output,)
    slopes = [torch.autograd.grad(c, outputs, retain_graph=True) for c in (cost, written_out)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-8)
    cost.backward()
    changed = 0
    for key, w in other.named_parameters():
        new = w.detach() + update(w.detach(), w.grad)
        torch.testing.assert_close(network.get_parameter(key).detach(), new, rtol=2e-6, atol=1e-9)
        changed += int((new != before[key]).sum())
    assert changed > 0.5 * sum(w.numel() for w in other.parameters())

    save_weights(tmp_path / "net.safetensors", network, {"image_mean": 0.5, "image_std": 0.2})
    read_weights(tmp_path / "net.safetensors", other)
    torch.testing.assert_close(other.state_dict(), network.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["unet-adam", "sliding-window", "mmsegmentation", "modern"])  # each its own state
def test_a_training_that_is_stopped_continues_to_the_same_weights(name, phantom, tmp_path):
    recipe = replace(narrow(name), steps=3, batch=2 if name == "sliding-window" else 1)
    whole, curve = train(recipe, *phantom, seed=1)
    with pytest.raises(Interrupted, match="after step 2 of 3"):
        train(recipe, *phantom, seed=1, folder=tmp_path, report=lambda step, loss: signal.raise_signal(signal.SIGINT))
    continued, again = train(recipe, *phantom, seed=1, folder=tmp_path, resume=True)
    assert again.loss == curve.loss
    torch.testing.assert_close(continued.state_dict(), whole.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "kind", "settings", "first", "peak", "last"),
    [
        ("unet", "MomentumSGD", {"momentum": 0.99, "weight_decay": 0.0}, 4e-3 / 300, 4e-3, 0),
        ("unet-adam", "Adam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}, 3e-6, 3e-4, 0),
        ("fcn", "MomentumSGD", {"momentum": 0.99, "weight_decay": 0.0}, 4e-3 / 300, 4e-3, 0),
        ("sliding-window", "SGD", {"momentum": 0, "weight_decay": 0}, 0.02, 0.02, 0),
        ("keras-unet", "Adam", {"betas": (0.9, 0.999), "eps": 1e-7, "weight_decay": 0}, 1e-5, 1e-5, 1e-5),
        ("mmsegmentation", "SGD", {"momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}, 0.01, 0.01, 1e-4),
        ("u2net", "Adam", {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0}, 1e-3, 1e-3, 1e-3),
        ("modern", "ClippedSGD", {"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}, 0.01, 0.01, 0),
    ],
)
def test_optimisers_and_schedules_are_those_of_the_sources(name, kind, settings, first, peak, last):
    recipe = build_method(name, ExperimentConfig()).recipe
    optimizer = recipe.optimizer([torch.zeros(1, requires_grad=True)])
    assert type(optimizer).__name__ == kind
    assert {key: optimizer.defaults[key] for key in settings} == settings
    rates = [recipe.schedule(step, recipe.steps) for step in range(recipe.steps)]
    assert (rates[0], max(rates), optimizer.defaults["lr"]) == pytest.approx((first, peak, peak))
    assert rates[-1] == pytest.approx(last, rel=0.1, abs=1e-3 * peak)
    middle = {"mmsegmentation": 1e-4 + 0.0099 * 0.5**0.9, "modern": 0.01 * 0.5**0.9, "sliding-window": 0.01}
    if name in middle:
        assert recipe.schedule(recipe.steps / 2, recipe.steps) == pytest.approx(middle[name])


def test_gradients_are_clipped_as_a_whole():
    network = torch.nn.Linear(3, 4)
    for clip, norm in ((12.0, 12.0), (1e6, 400.0)):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 100.0)  # 16 of them: a norm of 400
        before = [p.detach().clone() for p in network.parameters()]
        modern.ClippedSGD(network.parameters(), clip=clip, lr=1.0).step()
        moved = torch.cat([(a - b.detach()).ravel() for a, b in zip(before, network.parameters())])
        assert float(moved.norm()) == pytest.approx(norm, rel=1e-4)
        assert moved.std() < 1e-4 * norm
    recipe = build_method("modern", ExperimentConfig()).recipe
    assert recipe.optimizer([torch.zeros(1, requires_grad=True)]).clip == 12


@pytest.mark.parametrize("name", METHODS)
def test_tiles_are_the_unets_with_the_augmentation_of_the_configuration(name, phantom):
    images, labels = phantom
    augmentation = AugmentationConfig(grid=4, sigma=7.0, rotation=90.0, gain=0.3, offset=0.2)
    config = replace(CONFIG, augmentation=augmentation)
    recipe = build_method(name, config).recipe
    if name == "sliding-window":
        assert recipe.sampler is sliding_window.PatchSampler
        assert recipe.batch == 128
        return
    size = {} if name in SIDES else {"input_size": 188, "output_size": 4}
    sampler = recipe.sampler(images, labels, "cpu")
    weights = np.ones(images.shape, np.float32) if name in SIDES else sampler.weights[:, 0].numpy()
    unets = TileSampler(
        images, labels, weights, **(size or {"input_size": 512, "output_size": 512}), augmentation=augmentation
    )
    drawn = sampler.draw(np.random.default_rng(7))
    assert np.array_equal(drawn, unets.draw(np.random.default_rng(7)))
    for ours, expected in zip(sampler(drawn), unets(drawn)):
        assert torch.equal(ours, expected)
    assert (weights == 1).all() == (name in SIDES)
    assert recipe.batch == 1


def another(**keywords):
    """A function that no recipe has."""


def variations(value):
    """The name of every entry that a value of a recipe has, and the value with that entry changed."""
    if is_dataclass(value):
        for field in fields(value):
            for name, new in variations(getattr(value, field.name)):
                yield f"{field.name}.{name}".rstrip("."), replace(value, **{field.name: new})
    elif callable(value):
        function, keywords = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
        parameters = {}
        if function.__module__.split(".")[0] in OURS:
            parameters = {k: p.default for k, p in inspect.signature(function).parameters.items()}
        for key, old in (parameters | keywords).items():
            if old is not inspect.Parameter.empty:
                for name, new in variations(old):
                    yield f"{key}.{name}".rstrip("."), partial(function, **{**keywords, key: new})
        yield "name", partial(another, **keywords)
    elif isinstance(value, bool):
        yield "", not value
    elif isinstance(value, tuple):
        yield "", (*value, 1)
    elif value in ("float32", "bfloat16"):
        yield "", {"float32": "bfloat16", "bfloat16": "float32"}[value]
    elif isinstance(value, str):
        yield "", value + "?"
    else:
        yield "", 1 if value is None else value + 1


LISTED = {  # keywords that a reader of the sources would look for, each of them among the variations
    "unet": ("loss.name", "optimizer.momentum", "schedule.warmup", "sampler.weight_map.w0", "network.dropout"),
    "keras-unet": ("loss.target", "optimizer.eps", "optimizer.lr", "schedule.rate", "sampler.augmentation.sigma"),
    "mmsegmentation": ("loss.auxiliary", "schedule.floor", "schedule.power", "optimizer.weight_decay"),
    "modern": ("loss.name", "optimizer.clip", "network.network.supervised", "network.network.channels"),
    "u2net": ("loss.name", "optimizer.lr", "network.divisor", "network.network.width", "sampler.size"),
    "sliding-window": ("batch", "steps", "precision", "seconds", "loss.name", "network.maps", "schedule.peak"),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_entry_of_a_recipe_is_part_of_its_digits_and_of_its_checkpoint(name, tmp_path):
    recipe = build_method(name, CONFIG).recipe
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters())

    def configuration(recipe):
        return json.loads(json.dumps(recipe.configuration))

    path, empty = tmp_path / CHECKPOINT, Curve([], [], [])
    save_checkpoint(path, model, optimizer, configuration(recipe), empty)
    assert load_checkpoint(path, model, optimizer, configuration(build_method(name, CONFIG).recipe)) == empty
    changes = dict(variations(recipe))
    assert {entry.split(".")[0] for entry in changes} == {field.name for field in fields(recipe)}
    assert changes.keys() >= set(LISTED.get(name, ()))
    digits = {recipe.digits}
    for entry, changed in changes.items():
        with pytest.raises(InputError, match=rf"was trained with .*{entry} "):
            load_checkpoint(path, model, optimizer, configuration(changed))
        digits.add(changed.digits)
    assert len(digits) == len(changes) + 1


CONSTANTS = [
    (keras_unet, "keras-unet", "LEARNING_RATE", 1e-4),
    (keras_unet, "keras-unet", "MEMBRANE", 1),
    (mmsegmentation, "mmsegmentation", "LEARNING_RATE", 0.02),
    (mmsegmentation, "mmsegmentation", "FLOOR", 0.0),
    (mmsegmentation, "mmsegmentation", "MOMENTUM", 0.99),
    (mmsegmentation, "mmsegmentation", "WEIGHT_DECAY", 0.0),
    (mmsegmentation, "mmsegmentation", "AUXILIARY", 0.5),
    (u2net, "u2net", "LEARNING_RATE", 1e-4),
    (modern, "modern", "CHANNELS", (32, 64, 128, 256, 512, 512, 512, 256)),
    (modern, "modern", "SUPERVISED", 5),
    (modern, "modern", "LEARNING_RATE", 0.02),
    (modern, "modern", "MOMENTUM", 0.9),
    (modern, "modern", "WEIGHT_DECAY", 0.0),
    (modern, "modern", "CLIP", 1.0),
    (sliding_window, "sliding-window", "LEARNING_RATE", 0.01),
    (sliding_window, "sliding-window", "BATCH", 64),
    (common, "u2net", "TILE", 256),
]


@pytest.mark.parametrize(("module", "name", "constant", "value"), CONSTANTS, ids=lambda x: getattr(x, "__name__", x))
def test_a_constant_that_is_changed_makes_another_recipe(module, name, constant, value, monkeypatch):
    before = build_method(name, CONFIG)
    monkeypatch.setattr(module, constant, value)
    after = build_method(name, CONFIG)
    assert after.recipe.digits != before.recipe.digits
    assert after.label != before.label


@pytest.mark.parametrize(
    ("module", "name", "constant", "value", "entry"),
    [
        (keras_unet, "keras-unet", "MEMBRANE", 1, "loss.target 0, not 1"),
        (mmsegmentation, "mmsegmentation", "FLOOR", 0.0, "schedule.floor 0.0001, not 0.0"),
        (mmsegmentation, "mmsegmentation", "AUXILIARY", 0.5, "loss.auxiliary 0.4, not 0.5"),
        (modern, "modern", "CLIP", 1.0, "optimizer.clip 12.0, not 1.0"),
        (modern, "modern", "SUPERVISED", 5, "network.network.supervised 6, not 5"),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_a_training_does_not_continue_under_another_constant(
    module, name, constant, value, entry, phantom, tmp_path, monkeypatch
):
    first, _ = train(replace(narrow(name), steps=1), *phantom, seed=0, folder=tmp_path)
    same, curve = train(replace(narrow(name), steps=1), *phantom, seed=0, folder=tmp_path, resume=True)
    assert len(curve.loss) == 1
    torch.testing.assert_close(same.state_dict(), first.state_dict(), rtol=0, atol=0)
    monkeypatch.setattr(module, constant, value)
    with pytest.raises(InputError, match=f"was trained with {entry};"):
        train(replace(narrow(name), steps=1), *phantom, seed=0, folder=tmp_path, resume=True)


def test_no_two_baselines_have_the_same_digits():
    assert len({build_method(name, CONFIG).recipe.digits for name in METHODS}) == len(METHODS)


def test_steps_and_precision_are_those_of_the_configuration():
    config = replace(CONFIG, training=replace(CONFIG.training, steps=500, precision="bfloat16"))
    for name in METHODS:
        recipe = build_method(name, config).recipe
        assert recipe.precision == "bfloat16"
        if name != "sliding-window":
            assert recipe.steps == 500


@pytest.mark.parametrize(("width", "unet"), [(64, 150.43e9), (16, 9.44e9)])
def test_the_sliding_window_has_the_unets_budget_of_arithmetic(width, unet):
    paper = ExperimentConfig()
    config = replace(paper, network=replace(paper.network, base_channels=width))
    recipe = build_method("sliding-window", config).recipe
    assert recipe.steps * recipe.batch * 121_464_592 == pytest.approx(paper.training.steps * unet, rel=1e-3)


def test_adam_warms_up_for_a_third_of_a_short_training():
    for steps, warmup in ((3400, 100), (30, 10), (1, 0)):
        config = replace(CONFIG, training=replace(CONFIG.training, steps=steps, warmup_steps=0))
        adam = build_method("unet-adam", config).recipe
        assert adam.configuration["schedule"]["warmup"] == warmup
        unet = build_method("unet", config).recipe
        assert (adam.network.keywords, adam.sampler.keywords) == (unet.network.keywords, unet.sampler.keywords)
