"""Fixtures of the commands: a phantom of five slices, a tiny recipe, and spies in place of the long work."""

import pytest
from small_experiment import Work, tiny_config

from data_scripts.phantom import write_phantom
from reproduce import records
from reproduce.__main__ import main
from reproduce.baselines.unet import build
from reproduce.data import load_data
from reproduce.experiment import scoring, training
from unet_paper import recipe


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """Folder with a synthetic stack of five slices in the challenge's format."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, n_slices=5, size=64, seed=0)
    return folder


@pytest.fixture
def data(phantom):
    return load_data(phantom)


@pytest.fixture
def run_command(phantom, monkeypatch, tmp_path):
    """Run a command on the phantom, in float32, below a temporary folder; returns the exit status."""
    monkeypatch.setattr(recipe, "choose_precision", lambda device: "float32")
    shared = ["--data", str(phantom), "--device", "cpu", "--out", str(tmp_path)]
    return lambda name, words: main([name, *shared, *words.split()])


@pytest.fixture
def method():
    """The paper's method with a network of two channels, tiles of 188 pixels, two steps and float32."""
    return build(tiny_config())


@pytest.fixture
def tiny(monkeypatch):
    """Commands take the values of `method` for the paper's."""
    monkeypatch.setattr(recipe, "ExperimentConfig", tiny_config)
    monkeypatch.setattr(recipe, "choose_precision", lambda device: "float32")


@pytest.fixture
def work(monkeypatch):
    """Training and prediction are noted instead of done: see `small_experiment.Work`."""
    made = Work()
    monkeypatch.setattr(training, "train", made.train)
    monkeypatch.setattr(scoring, "predict_stack", made.predict_stack)
    monkeypatch.setattr(scoring, "time", made)
    monkeypatch.setattr(records, "peak_memory", made.peak_memory)
    return made
