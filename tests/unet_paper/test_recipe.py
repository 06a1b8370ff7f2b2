"""Recipes: the paper's, with every value of its configuration in place, and what identifies one."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_training import small_config, small_recipe

from unet_paper import recipe as recipes
from unet_paper.config import ADAM, AugmentationConfig, ExperimentConfig, NetworkConfig, TrainingConfig, WeightMapConfig
from unet_paper.errors import InputError
from unet_paper.loss import weighted_cross_entropy
from unet_paper.model import UNet
from unet_paper.optimizer import MomentumSGD
from unet_paper.recipe import described, paper_recipe, recipe_config, warmup_cosine, weighted_sampler
from unet_paper.weight_map import cells_from_membranes, unet_weight_map

AUGMENTATION = {"grid": 4, "sigma": 3.0, "rotation": 90.0, "gain": 0.2, "offset": 0.3}
WEIGHTS = {"w0": 3.0, "sigma": 2.0, "class_weights": (0.5, 2.0), "background_only": False}
NETWORK = {"in_channels": 1, "n_classes": 2, "base_channels": 6, "depth": 3, "dropout": 0.25}


def test_the_learning_rate_rises_and_follows_half_a_cosine():
    rates = [warmup_cosine(s, 1000, peak=2.0, warmup=100) for s in range(1000)]
    assert rates[0] == 2.0 / 100
    assert rates[99] == rates[100] == 2.0
    assert rates[550] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-4
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert warmup_cosine(99.5, 1000, peak=2.0, warmup=100) == 2.0  # between steps, under a time budget


def test_every_value_of_the_configuration_reaches_the_recipe():
    training = TrainingConfig(
        input_size=92, momentum=0.8, learning_rate=0.1, warmup_steps=5, steps=9, weight_decay=0.01, precision="float32"
    )
    config = ExperimentConfig(
        NetworkConfig(**NETWORK), WeightMapConfig(**WEIGHTS), AugmentationConfig(**AUGMENTATION), training
    )
    assert paper_recipe(config).configuration == {
        "network": {"name": "UNet", **NETWORK},
        "loss": {"name": "weighted_cross_entropy"},
        "optimizer": {"name": "MomentumSGD", "lr": 0.1, "momentum": 0.8, "weight_decay": 0.01},
        "schedule": {"name": "warmup_cosine", "peak": 0.1, "warmup": 5},
        "sampler": {
            "name": "weighted_sampler",
            "input_size": 92,
            "output_size": 4,  # 88 px less at depth 3
            "augmentation": AUGMENTATION,
            "weight_map": WEIGHTS,
        },
        "steps": 9,
        "batch": 1,
        "precision": "float32",
        "seconds": None,
    }


def test_the_recipe_of_the_paper_is_made_of_its_parts():
    recipe = paper_recipe(ExperimentConfig())
    assert recipe.loss is weighted_cross_entropy
    assert recipe.batch == 1
    with torch.device("meta"):
        network = recipe.network()
    assert type(network) is UNet
    assert network.config == NetworkConfig()
    optimizer = recipe.optimizer([torch.zeros(1, requires_grad=True)])
    assert isinstance(optimizer, MomentumSGD)
    assert optimizer.defaults["momentum"] == 0.99


def test_adam_is_pytorchs():
    recipe = small_recipe(optimizer="adam", weight_decay=0.01)
    optimizer = recipe.optimizer([torch.zeros(1, requires_grad=True)])
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["weight_decay"] == 0.01


@pytest.mark.parametrize("class_weights", ["balanced", (0.25, 1.5), None])
def test_tiles_are_weighted_by_equation_2_of_each_slice_with_one_pair_of_class_weights(class_weights):
    labels = np.ones((2, 30, 40), np.uint8)
    labels[0, :, 12:14] = labels[1, 9:11] = labels[1, 20] = 0  # other cells and other shares in each slice
    images = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    config = WeightMapConfig(w0=3.0, sigma=2.0, class_weights=class_weights, background_only=False)
    augmentation = AugmentationConfig(**AUGMENTATION)
    sampler = weighted_sampler(
        images, labels, "cpu", input_size=204, output_size=20, augmentation=augmentation, weight_map=config
    )
    pair = class_weights
    if class_weights == "balanced":
        pair = [labels.size / (2 * (labels == k).sum()) for k in (0, 1)]  # of both slices together
    planes = [cells_from_membranes(plane) for plane in labels]
    want = np.stack([unet_weight_map(p, w0=3.0, sigma=2.0, background_only=False, class_weights=pair) for p in planes])
    np.testing.assert_allclose(sampler.weights[:, 0], want, rtol=1e-6)
    np.testing.assert_array_equal(sampler.images[:, 0], images)
    np.testing.assert_array_equal(sampler.labels[:, 0], labels)
    assert sampler.augmentation == augmentation
    tile = sampler(sampler.draw(np.random.default_rng(0)))
    assert (tile.image.shape, tile.weights.shape) == ((1, 1, 204, 204), (1, 20, 20))


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 9},
        {"batch": 2},
        {"precision": "bfloat16"},
        {"seconds": 10.0},
        {"loss": torch.nn.functional.cross_entropy},
        {"schedule": partial(warmup_cosine, peak=0.002, warmup=3)},
        {"optimizer": partial(MomentumSGD, lr=0.002, momentum=0.9)},
        {"network": partial(UNet, base_channels=4, depth=3)},
        {"sampler": partial(small_recipe().sampler, weight_map=WeightMapConfig(w0=5.0))},
    ],
)
def test_another_recipe_has_another_configuration_and_other_digits(change):
    recipe = small_recipe()
    other = replace(recipe, **change)
    (name,) = change
    assert {key for key, value in recipe.configuration.items() if value != other.configuration[key]} == {name}
    assert recipe.digits != other.digits


def test_digits_are_of_the_configuration_as_json():
    recipe = small_recipe()
    json.loads(json.dumps(recipe.configuration))
    assert len(recipe.digits) == 8
    assert int(recipe.digits, 16) >= 0
    assert recipe.digits == small_recipe().digits


def test_defaults_belong_to_a_description_only_of_functions_of_this_project():
    assert described(partial(MomentumSGD, lr=0.1)) == {
        "name": "MomentumSGD",
        "momentum": 0.99,
        "weight_decay": 0.0,
        "lr": 0.1,
    }
    assert described(partial(torch.optim.Adam, betas=(0.9, 0.99))) == {"name": "Adam", "betas": [0.9, 0.99]}
    assert described(WeightMapConfig())["w0"] == 10


def test_positional_arguments_would_be_missing_in_a_description():
    with pytest.raises(TypeError, match="warmup_cosine has positional arguments; a recipe needs keywords"):
        described(partial(warmup_cosine, 3))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_what_is_given_replaces_the_papers_values_and_nothing_else(monkeypatch, precision):
    monkeypatch.setattr(recipes, "choose_precision", lambda device: precision)
    paper = ExperimentConfig()
    paper = replace(paper, training=replace(paper.training, precision=precision))
    assert recipe_config("cpu") == paper
    given = {"steps": 30, "learning_rate": 0.5, "warmup": 0, "base_channels": 16}
    training = replace(paper.training, steps=30, learning_rate=0.5, warmup_steps=0)
    assert recipe_config("cpu", **given) == replace(paper, network=NetworkConfig(base_channels=16), training=training)
    training = replace(paper.training, **ADAM)
    assert recipe_config("cpu", optimizer="adam") == replace(paper, training=training)
    assert recipe_config("cpu", steps=30).training == replace(paper.training, steps=30, warmup_steps=10)


@pytest.mark.parametrize(("warmup", "steps", "most"), [(12, 12, 11), (-1, 12, 11), (1, 1, 0), (1, 0, 0)])
def test_a_warm_up_that_never_ends_is_refused(warmup, steps, most):
    with pytest.raises(InputError, match=f"warm-up is {warmup} steps; it must be 0 to {most}"):
        paper_recipe(small_config(warmup_steps=warmup, steps=steps))


@pytest.mark.parametrize("changes", [{"optimizer": "lion"}, {"precision": "float16"}])
def test_an_unknown_optimiser_or_precision_is_named_before_anything_runs(changes):
    with pytest.raises(InputError, match="must be one of"):
        small_recipe(**changes)


@pytest.mark.parametrize("change", [{"steps": -5}, {"batch": 0}])
def test_an_impossible_length_or_batch_is_named(change):
    with pytest.raises(InputError, match="it must be 0 steps or more of 1 tile or more"):
        replace(small_recipe(), **change)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_an_impossible_time_budget_is_named(seconds):
    with pytest.raises(InputError, match="it must be finite and positive"):
        replace(small_recipe(), seconds=seconds)
