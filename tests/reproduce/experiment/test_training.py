"""One training: what reaches `train`, what it leaves, and when it is done again."""

import csv
import json
import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_experiment import numbers

from reproduce import records
from reproduce.experiment import training
from reproduce.experiment.run import Split
from reproduce.experiment.training import train_split, training_folder
from unet_paper.checkpoint import CHECKPOINT, read_weights
from unet_paper.errors import InputError, Interrupted
from unet_paper.files import locked
from unet_paper.train import gray_statistics

SPLIT = Split("odd", (1, 3, 4), (0,))


@pytest.fixture
def trained(method, data, tmp_path):
    """Train on `SPLIT` in a folder; options replace the usual ones."""
    return lambda **options: train_split(
        **{"method": method, "split": SPLIT, "data": data, "seed": 7, "device": "cpu", "out": tmp_path} | options
    )


@pytest.fixture
def folder(method, tmp_path):
    return training_folder(method, SPLIT, seed=7, out=tmp_path)


def test_images_and_labels_of_the_same_slices_and_the_seed_reach_train(trained, folder, method, data, work):
    trained()
    (call,) = work.trained
    assert numbers(call.images, data.images) == numbers(call.labels, data.labels) == [1, 3, 4]
    assert (call.recipe, call.seed, call.device, call.folder) == (method.recipe, 7, "cpu", folder)


def test_the_weights_hold_the_gray_statistics_of_the_training_slices_alone(trained, folder, data, work):
    trained()
    metadata, _ = read_weights(folder / "weights.safetensors")
    statistics = gray_statistics(data.images[[1, 3, 4]])
    assert statistics != gray_statistics(data.images)
    assert {name: metadata[name] for name in statistics} == statistics


def test_the_weights_are_those_of_the_network_and_say_where_they_come_from(trained, folder, method, data, work):
    work.trained.append(None)  # the next has the number 1
    account = trained()
    metadata, tensors = read_weights(folder / "weights.safetensors")
    assert all((tensor == 1).all() for tensor in tensors.values())
    assert metadata["recipe"] == account["provenance"]["config"]["recipe"]
    assert metadata["data"] == {name: data.sha256[name] for name in ("train-volume", "train-labels")}
    assert (metadata["seed"], metadata["train_slices"], metadata["title"]) == (7, [1, 3, 4], method.title)
    assert metadata["network"]["base_channels"] == 2


def test_the_account_says_what_it_cost_and_where_it_comes_from(trained, folder, method, work):
    account = trained()
    network = method.recipe.network()
    assert (account["seconds"], account["steps"]) == (10.0, 2)
    assert account["parameters"] == sum(weight.numel() for weight in network.parameters())
    provenance = account["provenance"]
    assert (provenance["seed"], provenance["peak_bytes"], provenance["device_kind"]) == (7, 1, "cpu")
    assert provenance["config"] == {
        "recipe": json.loads(json.dumps(method.recipe.configuration)),
        "train_slices": [1, 3, 4],
        "seed": 7,
    }
    assert json.loads((folder / "run.json").read_text()) == account


def test_the_peak_of_memory_is_counted_from_the_start_of_the_training(trained, work, monkeypatch):
    told = []
    monkeypatch.setattr(records, "reset_peak_memory", lambda device: told.append((device, len(work.trained))))
    trained()
    assert told == [("cpu", 0)]


def test_the_curve_is_a_line_a_step(trained, method, tmp_path, work):
    trained()
    with open(tmp_path / "curves" / f"{method.label}-odd-seed7.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"step": "1", "loss": "0.50000", "learning_rate": "1.0000e-01", "seconds": "5.00"},
        {"step": "2", "loss": "0.50000", "learning_rate": "1.0000e-01", "seconds": "10.00"},
    ]


def test_an_untrained_network_has_no_curve(trained, method, tmp_path, work):
    account = trained(method=replace(method, recipe=replace(method.recipe, steps=0)))
    assert (account["seconds"], account["steps"]) == (0.0, 0)
    assert not (tmp_path / "curves").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_what_is_finished_is_not_trained_again(trained, work, resume):
    assert trained() == trained(resume=resume)
    assert len(work.trained) == 1


def test_other_seeds_splits_and_recipes_are_trainings_of_their_own(trained, method, work):
    trained()
    trained(seed=8)
    trained(split=Split("even", (0, 2), (1,)))
    trained(method=replace(method, recipe=replace(method.recipe, steps=3)))
    assert len(work.trained) == 4


@pytest.mark.parametrize("changed", ["train-volume", "train-labels"])
def test_a_finished_training_on_other_data_is_refused(trained, folder, data, work, changed):
    trained()
    with pytest.raises(InputError, match="other data") as told:
        trained(data=data._replace(sha256=data.sha256 | {changed: "other"}))
    assert str(folder) in str(told.value)


def test_a_finished_training_on_other_slices_of_the_name_is_refused(trained, work):
    trained()
    with pytest.raises(InputError, match="other data"):
        trained(split=SPLIT._replace(train=(1, 2)))


def test_test_images_and_labels_are_no_matter_of_a_training(trained, data, work):
    trained()
    trained(data=data._replace(sha256=data.sha256 | {"test-volume": "other", "test-labels": "new"}))
    assert len(work.trained) == 1


@pytest.mark.parametrize("content", [b'{"seconds": 1', b"{}", b"[]", b"null", b"\xe9", b""])
def test_a_damaged_account_is_one_sentence(trained, folder, work, content):
    trained()
    (folder / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json is damaged") as told:
        trained()
    assert f"remove the folder {folder}" in str(told.value)
    assert "\n" not in str(told.value)


def test_an_account_without_provenance_is_damaged(trained, folder, work):
    account = trained()
    del account["provenance"]["peak_bytes"]
    (folder / "run.json").write_text(json.dumps(account))
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        trained()


def test_a_folder_in_which_another_process_is_at_work_is_refused(trained, folder, work):
    folder.mkdir(parents=True)
    with locked(folder), pytest.raises(InputError, match="another process works") as told:
        trained()
    assert str(folder) in str(told.value)
    assert not work.trained
    trained()


@pytest.mark.parametrize(("resume", "parts"), [(True, "first, second"), (False, "second")])
def test_a_stopped_training_is_continued_unless_it_is_to_start_anew(trained, folder, monkeypatch, work, resume, parts):
    monkeypatch.setattr(records, "commit_id", lambda: "first")
    monkeypatch.setattr(records, "device_name", lambda device: "first")
    work.failing[0] = Interrupted("stopped after step 1 of 2")
    with pytest.raises(Interrupted):
        trained()
    (folder / CHECKPOINT).touch()
    found = []

    def train(*arguments, **options):
        found.append((options["resume"], (folder / CHECKPOINT).exists()))
        return work.train(*arguments, **options)

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(records, "commit_id", lambda: "second")
    monkeypatch.setattr(records, "device_name", lambda device: "second")
    account = trained(resume=resume)
    assert found == [(True, resume)]
    assert [account["provenance"][name] for name in ("commit", "device", "device_kind")] == [parts, parts, "cpu"]
    assert not (folder / CHECKPOINT).exists()  # it is finished


def test_runs_that_left_nothing_have_no_part_in_a_training(trained, folder, monkeypatch, work):
    monkeypatch.setattr(records, "device_name", lambda device: f"device {len(work.trained)}")
    for number, error in enumerate((MemoryError, Interrupted("stopped"), Interrupted("stopped"), MemoryError)):
        work.failing[number] = error
        with pytest.raises((MemoryError, Interrupted)):
            trained()
        if number == 2:  # the run before was killed before its first checkpoint
            (folder / CHECKPOINT).touch()
    assert trained()["provenance"]["device"] == "device 2, device 4"


def test_a_damaged_list_of_parts_is_told_before_anything_is_trained(trained, folder, work):
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).touch()
    (folder / training.PARTS).write_text('{"commit"')
    with pytest.raises(InputError, match=r"parts\.jsonl is damaged; remove the folder"):
        trained()
    assert not work.trained


def test_steps_of_an_earlier_run_do_not_count_for_the_time_left(trained, monkeypatch, work):
    bars = []

    def progress_bar(**options):
        bars.append(training.tqdm(**options | {"disable": True}))
        bars[-1].set_postfix = lambda **_: None
        return bars[-1]

    def train(*arguments, report, **options):
        report(2, 0.5)
        return work.train(*arguments, report=report, **options)

    monkeypatch.setattr(training, "progress_bar", progress_bar)
    monkeypatch.setattr(training, "train", train)
    trained()
    assert (bars[0].initial, bars[0].total) == (1, 2)


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 1.0), (False, 60.0)])
def test_a_log_gets_a_line_a_minute_and_a_terminal_one_a_second(monkeypatch, terminal, seconds):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with training.progress_bar(total=2) as bar:
        assert (bar.mininterval, bar.maxinterval) == (seconds, seconds)


def test_a_training_can_be_sent_to_another_process_and_leaves_the_same_network(method, data, tmp_path):
    accounts, networks = [], []
    for out in (tmp_path / "here", tmp_path / "there"):
        sent = partial(train_split, method, SPLIT, data, seed=7, device="cpu", out=out)
        accounts.append(pickle.loads(pickle.dumps(sent))())
        folder = training_folder(method, SPLIT, seed=7, out=out)
        networks.append(read_weights(folder / "weights.safetensors")[1])
    assert all(torch.equal(networks[0][name], networks[1][name]) for name in networks[0])
    torch.manual_seed(7)
    begun = method.recipe.network().state_dict()
    assert not all(np.allclose(networks[0][name], begun[name]) for name in begun)
    assert accounts[0]["steps"] == 2
