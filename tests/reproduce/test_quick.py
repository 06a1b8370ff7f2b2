"""The main job in minutes: what it trains with, what it leaves, and that it can be given again."""

import argparse

import pytest

from reproduce import quick, records
from unet_paper.train import paper_recipe


@pytest.fixture
def run(monkeypatch):
    """Run the command on a tiny stack for two steps."""
    monkeypatch.setattr(quick, "SLICES", 2)
    monkeypatch.setattr(quick, "SIDE", 64)
    monkeypatch.setattr(quick, "HELD_OUT", 1)
    return lambda out: quick.run(argparse.Namespace(out=out, steps=2, seed=0, device="cpu"))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = paper_recipe(quick.config())
    rates = [recipe.learning_rate(step) for step in range(recipe.steps)]
    assert max(rates) == quick.LEARNING_RATE == rates[quick.WARMUP_STEPS]
    assert rates[-1] < 0.01 * quick.LEARNING_RATE


def test_the_trained_network_stands_beside_the_untrained_one(run, tmp_path, capsys):
    assert run(tmp_path) == 0
    untrained, trained = records.read(tmp_path / "quick" / "records.jsonl")
    assert (untrained.conditions["steps"], trained.conditions["steps"]) == (0, 2)
    assert untrained.conditions["slices"] == trained.conditions["slices"] == "1-1"
    assert untrained.scores != trained.scores
    printed = capsys.readouterr().out
    table = printed.partition("## Synthetic stack")[2]
    assert f"{trained.scores['v_rand']:.5f}" in table
    assert f"{untrained.scores['v_rand']:.5f}" in table
    for name in ("montage.png", "training_curve.png"):
        assert (tmp_path / "quick" / "figures" / name).stat().st_size > 1000


def test_a_stack_that_was_not_written_whole_is_written_again(run, tmp_path):
    data = tmp_path / "quick" / "data"
    data.mkdir(parents=True)
    (data / "train-volume.tif").write_bytes(b"cut off")
    assert run(tmp_path) == 0
