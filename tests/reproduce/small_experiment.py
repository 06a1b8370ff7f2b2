"""A tiny recipe, and spies that stand for training and prediction."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from unet_paper.checkpoint import Curve
from unet_paper.config import ExperimentConfig
from unet_paper.errors import Interrupted

PAPER = ExperimentConfig()


def tiny_config():
    """The paper's values but for a network of two channels, the smallest tile, two steps and float32."""
    training = replace(PAPER.training, input_size=188, steps=2, warmup_steps=0, precision="float32")
    return replace(PAPER, network=replace(PAPER.network, base_channels=2), training=training)


def numbers(planes, stack):
    """Which slices of `stack` the `planes` are."""
    return [next(z for z, plane in enumerate(stack) if np.array_equal(plane, one)) for one in planes]


class Work:
    """Stands for `train` and `predict_stack`, the clock and the memory, and notes what reached them.

    Attributes
    ----------
    trained : list
        One entry a training: recipe, images, labels, seed and all options. Training number n, from 0, takes
        10 (n + 1) seconds and n + 1 bytes; every weight of its network is n.
    predicted : list
        One entry a prediction: number of the network, images, all options and the map. Each takes 3 seconds.
    failing : dict
        Number of a training or, negative, of a prediction from -1, to the exception that it raises; a training is
        interrupted after its first step.
    """

    def __init__(self):
        self.trained, self.predicted, self.failing, self.now = [], [], {}, 0.0

    def train(self, recipe, images, labels, **options):
        number = len(self.trained)
        self.trained.append(SimpleNamespace(recipe=recipe, images=images, labels=labels, **options))
        if isinstance(self.failing.get(number), Interrupted):
            options["report"](1, 0.5)
        if number in self.failing:
            raise self.failing[number]
        model = recipe.network()
        with torch.no_grad():
            for weight in model.parameters():
                weight.fill_(number)
        steps = range(1, recipe.steps + 1)
        options["report"](recipe.steps, 0.5)
        return model, Curve(
            [0.5 for _ in steps], [0.1 for _ in steps], [10.0 * (number + 1) * s / recipe.steps for s in steps]
        )

    def predict_stack(self, model, images, *, progress, **options):
        number = len(self.predicted)
        network = int(next(model.parameters()).flatten()[0])
        noise = np.random.default_rng(number).random(images.shape, np.float32)
        made = SimpleNamespace(network=network, images=images, map=(0.9 * images + 0.1 * noise), **options)
        self.predicted.append(made)
        if -1 - number in self.failing:
            raise self.failing[-1 - number]
        self.now += 3.0
        progress(1, 1)
        return made.map

    def perf_counter(self):
        return self.now

    def peak_memory(self, device):
        return len(self.trained)
