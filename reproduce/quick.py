"""The main job in minutes: the same code path on a synthetic stack, no download, no GPU.

The phantom stack is written in the challenge's format, a narrow U-Net is trained on all but the last
slices, and those are segmented, scored and drawn beside what the untrained network makes of them.
Base channels, steps and optimiser differ from the paper; everything else is the paper's.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from reproduce import experiment, records
from unet_paper.config import ExperimentConfig

SLICES, SIDE, HELD_OUT = 10, 512, 2
BASE_CHANNELS, STEPS, LEARNING_RATE = 12, 300, 1e-3


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""


def quick_config():
    """The paper's values but for a narrow network, few steps, and Adam, which leaves the plateau sooner."""
    base = ExperimentConfig()
    return replace(
        base,
        network=replace(base.network, base_channels=BASE_CHANNELS),
        training=replace(base.training, optimizer="adam", learning_rate=LEARNING_RATE, steps=STEPS),
    )
