"""The command of Table 1 on a phantom: what it trains, predicts and scores, and what it refuses."""

import errno
import os
import re
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from small_experiment import numbers

from reproduce import __main__ as commands
from reproduce import records
from reproduce.experiment import training
from unet_paper import __main__ as unet_paper_commands
from unet_paper import metrics
from unet_paper.errors import NonFiniteLoss
from unet_paper.isbi import load_isbi
from unet_paper.tiff import read_images, read_labels, read_stack, write_stack

ROOT = records.ROOT
ALL = [0, 1, 2, 3, 4]


@pytest.fixture
def drawn(monkeypatch):
    """The records of which a montage was drawn."""
    made = []
    monkeypatch.setattr(
        "reproduce.figures.montage.montage_of_record", lambda record, data, out: made.append(record) or "montage.png"
    )
    return made


@pytest.fixture
def run(phantom, tiny, drawn, tmp_path):
    """Run table1 in a folder with a tiny network in place of the paper's."""
    return lambda *more, out=tmp_path: commands.main(
        ["table1", "--data", str(phantom), "--out", str(out), "--device", "cpu", *more]
    )


@pytest.fixture
def recorded(tmp_path):
    return lambda: records.read(tmp_path / "records.jsonl")


def refused(run, capsys, *more):
    """The sentence with which the command ends."""
    try:
        status = run(*more)
    except SystemExit as stopped:  # from argparse
        status = stopped.code
    assert status == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    return line


# --- what it does


def test_each_slice_is_segmented_by_a_network_that_did_not_see_it(run, work, data, recorded):
    assert run() == 0
    assert len(work.trained) == 5
    for call in work.predicted:
        (held_out,) = numbers(call.images, data.images)
        trained = work.trained[call.network]
        assert numbers(trained.images, data.images) == numbers(trained.labels, data.labels)
        assert sorted([held_out, *numbers(trained.images, data.images)]) == ALL
    (record,) = recorded()
    assert (record.experiment, record.name) == ("table1", "unet-2-base-channels")
    assert record.conditions["slices"] == ALL
    assert record.conditions["folds"] == [f"fold{i}" for i in range(5)]


def test_a_narrower_network_or_another_optimizer_is_a_row_of_its_own(run, recorded):
    assert run("--folds", "1", "--steps", "3", "--base-channels", "1", "--optimizer", "adam") == 0
    (record,) = recorded()
    assert record.name == "unet-1-base-channels-adam"
    assert record.conditions["title"] == "U-Net (this reproduction), 1 base channels, Adam"
    assert record.conditions["base_channels"] == 1


def test_folds_seed_rotations_and_recipe_are_those_asked_for(run, work, data, recorded):
    asked = "--folds 1 3 --seed 9223372036854775807 --rotations none seven --steps 3 --base-channels 1"
    assert run(*asked.split()) == 0
    assert [numbers(call.images, data.images) for call in work.predicted] == [[1], [3], [1], [3]]
    assert [call.rotations for call in work.predicted] == ["none", "none", "seven", "seven"]
    assert {(call.precision, call.depth) for call in work.predicted} == {("float32", 4)}
    for training_ in work.trained:
        assert training_.seed == 2**63 - 1
        assert training_.recipe.steps == 3
        assert training_.recipe.network.keywords["base_channels"] == 1
    assert [record.conditions["rotations"] for record in recorded()] == ["none", "seven"]


def test_a_montage_is_drawn_of_what_was_scored(run, work, drawn, recorded, capsys):
    assert run("--folds", "1", "--rotations", "none", "eight") == 0
    assert drawn == recorded()[:1]
    assert "figure: montage.png" in capsys.readouterr().out


def test_a_montage_that_was_not_drawn_is_drawn_of_what_is_recorded(run, work, drawn, recorded, tmp_path):
    for _ in range(2):
        assert run("--folds", "1") == 0
    assert drawn == recorded() * 2
    (tmp_path / recorded()[0].prediction).unlink()
    assert run("--folds", "1") == 0
    assert len(drawn) == 2


def test_a_training_that_failed_is_recorded_and_has_no_montage(run, work, drawn, recorded):
    work.failing[0] = NonFiniteLoss("the loss is not finite at step 1")
    assert run("--folds", "1") == 0
    assert [record.prediction for record in recorded()] == [None]
    assert not drawn


def test_the_recorded_scores_are_those_of_the_stored_map(run, phantom, tmp_path, recorded, capsys):
    assert run("--folds", "1", "3", "--rotations", "none") == 0  # nothing stands for the work here
    (record,) = recorded()
    capsys.readouterr()
    words = ["score", str(phantom / "train-labels.tif"), str(tmp_path / record.prediction), "--slices", "1-1+3-3"]
    assert unet_paper_commands.main(words) == 0
    printed = capsys.readouterr().out
    for value in record.scores.values():
        assert f"{value:.6f}" in printed


def test_16_bit_images_are_scaled_and_said_so(run, phantom, work, data, tmp_path, capsys):
    deep = tmp_path / "deep"
    shutil.copytree(phantom, deep)
    write_stack(deep / "train-volume.tif", read_stack(phantom / "train-volume.tif").array.astype(np.uint16) * 257)
    assert run("--data", str(deep), "--folds", "0") == 0
    assert "16-bit" in capsys.readouterr().out
    np.testing.assert_allclose(work.trained[0].images, data.images[1:])


# --- the test volume


def test_the_final_network_trains_on_all_slices_and_predicts_the_test_volume(
    run, work, data, drawn, recorded, tmp_path
):
    assert run("--final", "--rotations", "seven", "--seed", "4") == 0
    (trained,), (call,) = work.trained, work.predicted
    assert numbers(trained.images, data.images) == numbers(trained.labels, data.labels) == ALL
    assert trained.seed == 4
    assert numbers(call.images, data.test_images) == ALL
    assert call.rotations == "seven"
    (record,) = recorded()
    stored = read_stack(tmp_path / record.prediction).array
    np.testing.assert_array_equal(stored, np.round(255 * call.map).astype(np.uint8) / np.float32(255))
    assert stored.dtype == np.float32
    assert record.scores == {}
    assert not drawn


def test_the_final_map_is_scored_by_the_test_labels_without_training_again(run, work, phantom, recorded, tmp_path):
    assert run("--final") == 0
    assert run("--test") == 0
    assert run("--test") == 0
    assert len(work.trained) == 1
    _, record = recorded()
    labels = read_labels(phantom / "test-labels.tif").array
    assert not np.array_equal(labels, read_labels(phantom / "train-labels.tif").array)
    scores = metrics.score(labels, read_images(tmp_path / record.prediction).array)
    assert record.scores == {name: getattr(scores, name).value for name in records.SCORES}


def test_labels_of_some_rows_score_those_rows(run, work, phantom, recorded, tmp_path):
    some = tmp_path / "some"
    shutil.copytree(phantom, some)
    labels = read_labels(phantom / "test-labels.tif").array[:, 20:60]
    write_stack(some / "test-labels.tif", labels)
    assert run("--data", str(some), "--test", "--rows", "20-59") == 0
    (record,) = recorded()
    scores = metrics.score(labels, read_images(tmp_path / record.prediction).array[:, 20:60])
    assert record.scores == {name: getattr(scores, name).value for name in records.SCORES}
    assert record.conditions["rows"] == [20, 59]


# --- the mean of several seeds


def test_the_mean_of_the_maps_of_several_seeds_is_scored(run, work, recorded, tmp_path):
    assert run("--folds", "0", "--rotations", "none") == 0
    assert run("--folds", "0", "--rotations", "none", "--average", "1", "0", "1") == 0
    assert [training_.seed for training_ in work.trained] == [0, 1]  # what is trained is not trained again
    first, mean = recorded()
    assert mean.conditions["seeds"] == [0, 1]
    assert mean.measures["train_seconds"] == 10 + 20
    one, two = (call.map for call in work.predicted[1:])
    np.testing.assert_array_equal(read_stack(tmp_path / mean.prediction).array, np.round(255 * (one + two) / 2))
    assert first.prediction != mean.prediction


def test_the_mean_of_final_maps_is_a_submission_too(run, work, recorded, tmp_path):
    assert run("--final", "--average", "0", "1") == 0
    (record,) = recorded()
    one, two = (call.map for call in work.predicted)
    stored = read_stack(tmp_path / record.prediction).array
    np.testing.assert_array_equal(stored, np.round(255 * (one + two) / 2).astype(np.uint8) / np.float32(255))


def test_networks_of_another_recipe_have_no_part_in_the_mean(run, work):
    for seed in ("0", "1"):
        assert run("--folds", "0", "--seed", seed) == 0
    assert run("--folds", "0", "--average", "0", "1", "--steps", "3") == 0
    assert [call.network for call in work.predicted[2:]] == [2, 3]
    assert [training_.recipe.steps for training_ in work.trained] == [2, 2, 3, 3]


# --- stopped and given again


def test_a_training_that_is_stopped_goes_on_where_it_was(run, recorded, monkeypatch, capsys):
    train, steps = training.train, []

    def stopping(*arguments, report, **options):
        def reported(step, loss):
            steps.append(step)
            report(step, loss)
            if step == 1:
                os.kill(os.getpid(), signal.SIGTERM)

        return train(*arguments, **options, report=reported)

    monkeypatch.setattr(training, "train", stopping)
    assert run("--folds", "0", "--steps", "3") == 130
    assert "the same command continues" in capsys.readouterr().err
    stopped_after = steps[-1]
    assert stopped_after < 3
    assert recorded() == []
    assert run("--folds", "0", "--steps", "3") == 0
    assert steps[stopped_after] == stopped_after + 1
    assert steps[-1] == 3


def test_no_resume_reaches_the_training(run, work, monkeypatch):
    asked = []
    original = training.train_split
    monkeypatch.setattr(
        "reproduce.experiment.execute.train_split",
        lambda *arguments, resume, **options: asked.append(resume) or original(*arguments, resume=resume, **options),
    )
    for more in ([], ["--resume"], ["--no-resume"]):
        assert run("--folds", "0", "--steps", str(len(asked) + 1), *more) == 0
    assert asked == [True, True, False]


def test_a_disk_that_fills_up_before_the_record_leaves_the_records_whole(run, work, tmp_path, capsys, monkeypatch):
    assert run("--folds", "0") == 0
    before = (tmp_path / "records.jsonl").read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(records, "os", SimpleNamespace(**vars(os) | {"fsync": full}))
        assert run("--folds", "1") == 2
    assert "cannot append to" in capsys.readouterr().err
    assert (tmp_path / "records.jsonl").read_bytes() == before
    assert run("--folds", "1") == 0
    assert len(work.trained) == 2  # nothing of the training was lost
    assert len(records.read(tmp_path / "records.jsonl")) == 2


def test_a_trial_run_with_the_default_folder_leaves_the_results_alone(
    phantom, tiny, drawn, work, tmp_path, monkeypatch
):
    assert "/runs/" in (ROOT / ".gitignore").read_text().splitlines()
    assert records.RUNS == ROOT / "runs"
    monkeypatch.setattr(records, "RUNS", tmp_path / "runs")
    before = {path: path.stat().st_mtime_ns for path in records.RESULTS.rglob("*")}
    assert commands.main(["table1", "--data", str(phantom), "--device", "cpu", "--folds", "4"]) == 0
    assert {path: path.stat().st_mtime_ns for path in records.RESULTS.rglob("*")} == before
    assert len(records.read(tmp_path / "runs" / "records.jsonl")) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


# --- what is refused


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--final", "--folds", "0"], "--folds must be left out"),
        (["--test", "--folds", "0"], "--folds must be left out"),
        (["--rows", "0-9"], "--rows .* must go with --test"),
        (["--final", "--rows", "0-9"], "--rows .* must go with --test"),
        (["--test", "--rows", "9"], "9 must be two rows, such as 67-511"),
        (["--test", "--rows", "9-3"], "the rows are 9-3; they must lie in 0-63"),
        (["--test", "--rows", "0-64"], "they must lie in 0-63"),
        (["--test", "--rows", "0-9"], r"has the shape \(5, 64, 64\); it must be \(5, 10, 64\)"),
        (["--average", "3"], "the seed 3 alone; it must have two"),
        (["--average", "3", "3"], "the seed 3 alone; it must have two"),
        (["--folds", "5"], "5 must be at most 4"),
        (["--steps", "0"], "0 must be at least 1"),
        (["--steps", "3", "--warmup", "3"], "it must be 0 to 2"),
        (["--seed", "-1"], "-1 must be at least 0"),
        (["--seed", "18446744073709551616"], "must be at most 9223372036854775807"),
        (["--seed", "one"], "invalid whole number value: 'one'"),
        (["--learning-rate", "inf"], "inf must be finite"),
        (["--data", "nowhere"], "nowhere lacks train-volume.tif"),
        (["--device", "cuda"], "the device is cuda, but PyTorch finds none"),
        (["--rotations", "nine"], "invalid choice: 'nine'"),
    ],
)
def test_what_cannot_be_done_or_does_nothing_is_refused(run, work, capsys, tmp_path, monkeypatch, more, words):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert re.search(words, refused(run, capsys, *more))
    assert not work.trained
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named_before_the_data_is_read(run, work, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert run("--data", "nowhere", out=tmp_path / "file") == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_without_test_labels_there_is_nothing_to_score_by(run, phantom, work, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(phantom, bare, ignore=shutil.ignore_patterns("test-labels.tif"))
    assert load_isbi(bare)
    assert "test-labels.tif does not exist" in refused(run, capsys, "--data", str(bare), "--test")
    assert not work.trained


def test_a_damaged_file_of_records_is_told_before_anything_is_trained(run, work, tmp_path, capsys):
    (tmp_path / "records.jsonl").write_text('{"experiment": "table1"')
    assert "line 1 of" in refused(run, capsys)
    assert not work.trained
