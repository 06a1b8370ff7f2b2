"""Fixtures of the benchmark's tests: clocks that the test moves, a tiny network, a stack."""

import numpy as np
import pytest

from data_scripts.phantom import make_phantom
from reproduce.benchmark import inference, timing
from reproduce.benchmark.timing import Bench
from reproduce.data import Example
from unet_paper.config import ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.predict import predict_stack


class Clock:
    """A clock that stands still until it is told, or that moves on by `tick` seconds whenever it is read."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 0.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def bench():
    """Every call takes one second by its clock, of which a row has none: it is repeated as seldom as can be."""
    return Bench("cpu", 0.0, clock=Clock(tick=1.0))


@pytest.fixture
def bfloat16(monkeypatch):
    """A processor that computes bfloat16, whatever this one does."""
    monkeypatch.setattr(timing, "choose_precision", lambda device: "bfloat16")


@pytest.fixture
def config():
    training = TrainingConfig(input_size=188, steps=9, warmup_steps=2)
    return ExperimentConfig(network=NetworkConfig(base_channels=2), training=training)


@pytest.fixture(scope="session")
def stack():
    images, labels = make_phantom(4, 64, 64, seed=0)
    return Example(images.astype(np.float32) / 255, (labels > 0).astype(np.uint8), "synthetic", {"synthetic": "seed 0"})


@pytest.fixture
def asked(monkeypatch):
    """What `predict_stack` was asked for, call by call; it answers, with a tile that fits the tiny slices."""
    calls = []

    def spy(model, images, **options):
        calls.append({"slices": len(images), **options})
        return predict_stack(model, images, **{"tile": 68, "stride": 64, **options})

    monkeypatch.setattr(inference, "predict_stack", spy)
    return calls
