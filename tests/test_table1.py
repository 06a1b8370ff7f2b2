"""The command of Table 1 on a small synthetic stack: what it leaves, and that the records can be recomputed."""

from dataclasses import replace

import numpy as np
import pytest

from data_scripts.phantom import write_phantom
from reproduce import __main__ as commands
from reproduce import experiment, records, table1
from unet_paper import __main__ as unet_paper_commands
from unet_paper.config import ExperimentConfig
from unet_paper.data import read_stack
from unet_paper.errors import Interrupted


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_phantom(folder, n_slices=5, size=64, seed=0)
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    """Run table1 with a tiny network in place of the paper's."""
    base = ExperimentConfig()
    tiny = replace(
        base,
        network=replace(base.network, base_channels=1),
        training=replace(base.training, input_size=188, precision="float32"),
    )
    monkeypatch.setattr(table1, "ExperimentConfig", lambda: tiny)
    return lambda out, *more: commands.main(
        ["table1", "--data", str(folder), "--out", str(out), "--device", "cpu", "--steps", "2", *more]
    )


def test_the_recorded_scores_are_those_of_the_stored_map(run, folder, tmp_path, capsys):
    assert run(tmp_path, "--folds", "1", "3", "--rotations", "none", "eight") == 0
    made = records.read(tmp_path / "records.jsonl")
    assert [record.conditions["rotations"] for record in made] == ["none", "eight"]
    assert {record.conditions["slices"] for record in made} == {"1-1+3-3"}
    capsys.readouterr()
    record = made[1]
    stored = read_stack(tmp_path / record.prediction)
    assert stored.array.dtype == np.uint8
    labels = read_stack(folder / "train-labels.tif").array[[1, 3]]
    from unet_paper.data import write_stack

    write_stack(tmp_path / "labels.tif", labels)
    assert unet_paper_commands.main(["score", str(tmp_path / "labels.tif"), str(tmp_path / record.prediction)]) == 0
    printed = capsys.readouterr().out
    for value in record.scores.values():
        assert f"{value:.6f}" in printed


def test_each_slice_is_held_out_by_its_network(run, tmp_path):
    assert run(tmp_path) == 0
    (record,) = records.read(tmp_path / "records.jsonl")
    assert record.conditions["slices"] == "0-4"
    assert record.conditions["folds"] == [f"fold{i}" for i in range(5)]
    for number, part in enumerate(experiment.parts(5)):
        assert part.held_out == (number,)
        assert set(part.train) | {number} == set(range(5))


def test_a_training_that_was_resumed_names_the_commits_of_all_its_runs(run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise Interrupted("stopped")

    with monkeypatch.context() as first:
        first.setattr(records, "commit_id", lambda: "first")
        first.setattr(experiment, "train", interrupted)
        assert run(tmp_path, "--folds", "0") == 130
    monkeypatch.setattr(records, "commit_id", lambda: "second")
    assert run(tmp_path, "--folds", "0") == 0
    (record,) = records.read(tmp_path / "records.jsonl")
    assert record.provenance["commit"] == "first, second"


def test_seeds_are_averaged(run, tmp_path, capsys):
    for seed in ("0", "1"):
        assert run(tmp_path, "--folds", "0", "--seed", seed, "--rotations", "none") == 0
    assert run(tmp_path, "--folds", "0", "--average", "0", "1", "--rotations", "none") == 0
    first, second, mean = records.read(tmp_path / "records.jsonl")
    assert mean.conditions["seeds"] == [0, 1]
    maps = [read_stack(tmp_path / record.prediction).array.astype(float) for record in (first, second, mean)]
    assert np.abs((maps[0] + maps[1]) / 2 - maps[2]).max() <= 0.5 + 1e-3
    assert run(tmp_path, "--folds", "0", "--average", "0", "7", "--rotations", "none") == 2
    assert "seeds [7] have no record" in capsys.readouterr().err


def test_final_maps_are_in_the_submission_format_and_are_left_alone(run, tmp_path):
    assert run(tmp_path, "--final", "--rotations", "none") == 0
    (path,) = (tmp_path / "predictions").glob("*test-volume.tif")
    stack = read_stack(path).array
    assert stack.dtype == np.float32
    assert stack.min() >= 0
    assert stack.max() <= 1
    before = path.stat().st_mtime_ns
    assert run(tmp_path, "--final", "--rotations", "none") == 0
    assert path.stat().st_mtime_ns == before
    assert run(tmp_path, "--test", "--rotations", "none") == 0  # the synthetic stack has test labels
    (record,) = records.read(tmp_path / "records.jsonl")
    assert record.conditions["slices"].startswith("test")


def test_other_settings_in_the_same_folder_are_refused(run, tmp_path, capsys):
    assert run(tmp_path, "--folds", "0") == 0
    assert run(tmp_path, "--folds", "0", "--steps", "3") == 2
    assert "holds a training with other settings or data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--folds", "5"], "fold 5 does not exist"), (["--data", "nowhere"], "nowhere"), (["--device", "cuda"], "cuda")],
)
def test_illegal_arguments_are_named(run, tmp_path, capsys, more, message, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run(tmp_path / "out", *more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--steps", "0"], ["--steps", "-3"], ["--seed", "-1"]])
def test_illegal_numbers_are_refused(run, tmp_path, capsys, more):
    assert run(tmp_path / "out", "--folds", "0", *more) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_made_is_named(run, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run(tmp_path / "file", "--folds", "0") == 2
    assert "file" in capsys.readouterr().err
