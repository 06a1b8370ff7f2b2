"""The command of Table 1 on a small synthetic stack: what it leaves, and that the records can be recomputed."""

import errno
import os
import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from data_scripts.phantom import write_phantom
from reproduce import __main__ as commands
from reproduce import experiment, records, table1
from unet_paper import __main__ as unet_paper_commands
from unet_paper.config import ExperimentConfig
from unet_paper.errors import Interrupted
from unet_paper.isbi import load_isbi
from unet_paper.tiff import read_stack, write_stack
from unet_paper.train import CHECKPOINT, data_sha256


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
    words = ["score", str(folder / "train-labels.tif"), str(tmp_path / record.prediction), "--slices", "1-1+3-3"]
    assert unet_paper_commands.main(words) == 0
    printed = capsys.readouterr().out
    for value in record.scores.values():
        assert f"{value:.6f}" in printed


def test_each_slice_is_segmented_by_a_network_that_did_not_see_it(run, folder, tmp_path, monkeypatch):
    images = load_isbi(folder).images
    seen, made_by = {}, {}  # slices by the weights they trained, and by the network that segmented them
    train, predict = experiment.train, experiment.predict_stack

    def number_of(image):
        return next(z for z, plane in enumerate(images) if np.array_equal(plane, image))

    def fingerprint(model):
        return data_sha256(*(value.numpy() for value in model.state_dict().values()))

    def spying_train(recipe, stack, labels, **options):
        model, curve = train(recipe, stack, labels, **options)
        seen[fingerprint(model)] = {number_of(image) for image in stack}
        return model, curve

    def spying_predict(model, stack, **options):
        made_by.update((number_of(image), fingerprint(model)) for image in stack)
        return predict(model, stack, **options)

    monkeypatch.setattr(experiment, "train", spying_train)
    monkeypatch.setattr(experiment, "predict_stack", spying_predict)
    assert run(tmp_path) == 0
    assert len(seen) == 5
    assert {z: seen[network] for z, network in made_by.items()} == {z: set(range(5)) - {z} for z in range(5)}
    (record,) = records.read(tmp_path / "records.jsonl")
    assert record.conditions["slices"] == "0-4"
    assert record.conditions["folds"] == [f"fold{i}" for i in range(5)]


def test_16_bit_images_are_scaled_and_said_so(run, folder, tmp_path, capsys):
    deep = tmp_path / "deep"
    shutil.copytree(folder, deep)
    write_stack(deep / "train-volume.tif", read_stack(folder / "train-volume.tif").array.astype(np.uint16) * 257)
    assert run(tmp_path / "out", "--data", str(deep), "--folds", "0") == 0
    assert "16-bit" in capsys.readouterr().out


def test_a_disk_that_fills_up_before_the_record_leaves_the_records_whole(run, tmp_path, capsys, monkeypatch):
    assert run(tmp_path, "--folds", "0") == 0
    before = (tmp_path / "records.jsonl").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(records, "os", SimpleNamespace(**vars(os) | {"fsync": full}))
        assert run(tmp_path, "--folds", "1") == 2
    assert "cannot append to" in capsys.readouterr().err
    assert (tmp_path / "records.jsonl").read_bytes() == before
    monkeypatch.setattr(experiment, "train", lambda *_, **__: pytest.fail("nothing of the training was lost"))
    assert run(tmp_path, "--folds", "1") == 0
    assert len(records.read(tmp_path / "records.jsonl")) == 2


def test_a_training_that_was_resumed_names_the_commits_of_all_its_runs(run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise Interrupted("stopped")

    with monkeypatch.context() as first:
        first.setattr(records, "commit_id", lambda: "first")
        first.setattr(experiment, "train", interrupted)
        assert run(tmp_path, "--folds", "0") == 130
    left = tmp_path / "runs" / "unet" / "fold0-seed0" / ".tmpabc123"
    left.touch()
    monkeypatch.setattr(records, "commit_id", lambda: "second")
    assert run(tmp_path, "--folds", "0") == 0
    (record,) = records.read(tmp_path / "records.jsonl")
    assert record.provenance["commit"] == "first, second"
    assert not left.exists()


def stopped_once(run, out, monkeypatch):
    """Stop the training of fold 0 before its last steps, so that a checkpoint is left."""
    train = experiment.train

    def stopping(*arguments, **options):
        return train(*arguments, **options | {"report": lambda step, loss: os.kill(os.getpid(), signal.SIGTERM)})

    with monkeypatch.context() as first:
        first.setattr(experiment, "train", stopping)
        assert run(out, "--folds", "0", "--steps", "4") == 130
    assert (out / "runs" / "unet" / "fold0-seed0" / CHECKPOINT).exists()


@pytest.mark.parametrize(("flag", "anew"), [([], False), (["--resume"], False), (["--no-resume"], True)])
def test_a_stopped_training_is_continued_unless_it_is_to_start_anew(run, tmp_path, monkeypatch, flag, anew):
    stopped_once(run, tmp_path, monkeypatch)
    train, steps = experiment.train, []

    def counting(*arguments, report, **options):
        return train(*arguments, **options, report=lambda step, loss: (steps.append(step), report(step, loss)))

    monkeypatch.setattr(experiment, "train", counting)
    assert run(tmp_path, "--folds", "0", "--steps", "4", *flag) == 0
    assert steps[-1] == 4
    assert (steps[0] == 1) == anew


def test_what_is_finished_is_not_trained_anew(run, tmp_path, monkeypatch):
    assert run(tmp_path, "--folds", "0") == 0
    monkeypatch.setattr(experiment, "train", lambda *_, **__: pytest.fail("it was finished"))
    assert run(tmp_path, "--folds", "0", "--no-resume") == 0


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
