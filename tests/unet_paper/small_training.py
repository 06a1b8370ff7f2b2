"""A stack and recipes that are trained in a fraction of a second."""

import numpy as np

from data_scripts.phantom import make_phantom
from unet_paper.config import ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.recipe import paper_recipe


def small_stack():
    """Gray values in [0, 1] and labels of two slices with different cells."""
    images, labels = make_phantom(2, 128, 128, seed=0)
    return images.astype(np.float32) / 255, (labels > 0).astype(np.uint8)


def small_config(**training):
    small = {"input_size": 220, "steps": 8, "warmup_steps": 2, "precision": "float32"}
    return ExperimentConfig(network=NetworkConfig(base_channels=4), training=TrainingConfig(**small | training))


def small_recipe(**changes):
    """The paper's recipe for four channels, a tile of 220 px and eight steps."""
    return paper_recipe(small_config(**changes))
