"""The configuration against what the paper prints and what DEVIATIONS.md says of its silences."""

import inspect
from dataclasses import asdict, fields

import pytest

from unet_paper.config import AugmentationConfig, ExperimentConfig, NetworkConfig, TrainingConfig, WeightMapConfig
from unet_paper.elastic import draw_node_displacements, spline_matrix
from unet_paper.model import UNet
from unet_paper.optimizer import MomentumSGD
from unet_paper.overlap_tile import predict_overlap_tile
from unet_paper.predict import predict_stack
from unet_paper.sampler import TileSampler
from unet_paper.weight_map import unet_weight_map

PRINTED = {  # in the paper, with its place
    "network": {"in_channels": 1, "n_classes": 2, "base_channels": 64, "depth": 4},  # Figure 1
    "weight_map": {"w0": 10, "sigma": 5},  # section 3, Equation 2
    "augmentation": {"grid": 3, "sigma": 10},  # section 3.1
    "training": {"input_size": 572, "optimizer": "sgd", "momentum": 0.99},  # Figure 1 and section 3
}
SILENCES = {
    "network": {"dropout": 0.5},  # S8
    "weight_map": {"class_weights": "balanced", "background_only": True},  # S2, S1
    "augmentation": {"rotation": 360, "gain": 0.1, "offset": 0.1},  # S14, S15
    "training": {"weight_decay": 0, "precision": "bfloat16"},  # S13, D1
}
CHOSEN_BY_TRIALS = {"learning_rate", "warmup_steps", "steps"}  # S13: their records are in results/


@pytest.mark.parametrize("part", ["network", "weight_map", "augmentation", "training"])
def test_the_defaults_are_the_papers_numbers_and_the_stated_choices(part):
    values = asdict(ExperimentConfig())[part]
    assert {name: value for name, value in values.items() if name not in CHOSEN_BY_TRIALS} == {
        **PRINTED[part],
        **SILENCES[part],
    }


@pytest.mark.parametrize(
    ("function", "config"),
    [
        (UNet, NetworkConfig),
        (unet_weight_map, WeightMapConfig),
        (draw_node_displacements, AugmentationConfig),
        (spline_matrix, AugmentationConfig),
        (MomentumSGD, TrainingConfig),
        (TileSampler, TrainingConfig),
        (predict_overlap_tile, NetworkConfig),
        (predict_stack, NetworkConfig),
    ],
)
def test_functions_that_are_used_alone_have_the_same_defaults(function, config):
    values = {field.name: field.default for field in fields(config)}
    parameters = inspect.signature(function).parameters.values()
    shared = {p.name: p.default for p in parameters if p.name in values and p.default is not p.empty}
    assert shared
    assert shared == {name: values[name] for name in shared}
