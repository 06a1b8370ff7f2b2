"""Runs are done once, in order, and each result is kept as soon as it is there."""

from dataclasses import replace

import pytest
import torch

from reproduce import records
from reproduce.data import with_test_labels
from reproduce.experiment import execute as execute_module
from reproduce.experiment.execute import execute
from reproduce.experiment.run import Run, every_slice, splits
from unet_paper.errors import InputError, NonFiniteLoss

CPU_MEMORY = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"


@pytest.fixture
def run(method):
    return Run("table1", method, splits(5, [1]), (0,), ("none",))


@pytest.fixture
def executed(data, tmp_path):
    """Execute runs in a folder; options replace the usual ones."""
    return lambda *runs, **options: execute(runs, **{"data": data, "device": "cpu", "out": tmp_path} | options)


@pytest.fixture
def recorded(tmp_path):
    return lambda: records.read(tmp_path / "records.jsonl")


def test_what_is_made_is_recorded_and_returned(executed, run, work, recorded):
    made = executed(run, replace(run, seeds=(1,)))
    assert made == recorded()
    assert [record.conditions["seeds"] for record in made] == [[0], [1]]


def test_a_run_given_again_is_recorded_already(executed, run, work, recorded, capsys):
    executed(run)
    before = recorded()
    assert executed(run) == []
    assert "recorded already" in capsys.readouterr().out
    assert recorded() == before
    assert (len(work.trained), len(work.predicted)) == (1, 1)


def test_a_run_listed_twice_is_made_once(executed, run, work, recorded):
    executed(run, run)
    assert len(recorded()) == len(work.predicted) == 1


def test_rotations_named_twice_are_predicted_once(executed, run, work):
    executed(replace(run, rotations=("eight", "eight")))
    assert len(work.predicted) == 1


def test_only_rotations_that_are_missing_are_predicted(executed, run, work, recorded):
    executed(run)
    (made,) = executed(replace(run, rotations=("none", "eight")))
    assert made.conditions["rotations"] == "eight"
    assert [call.rotations for call in work.predicted] == ["none", "eight"]
    assert len(work.trained) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (1,)},
        {"seeds": (0, 1)},
        {"splits": splits(5, [2])},
        {"splits": splits(5, [1], n_train=2)},
        {"experiment": "ablations"},
        {"conditions": {"budget": {"steps": 2}}},
    ],
)
def test_another_run_is_not_recorded_already(executed, run, work, recorded, change):
    executed(run)
    assert len(executed(replace(run, **change))) == 1


def test_a_run_under_other_conditions_does_not_stand_for_one_without(executed, run, work, recorded):
    narrow = replace(run, conditions={"base_channels": 16})
    assert len(executed(narrow)) == len(executed(run)) == 1
    assert executed(run, narrow) == []
    assert executed(replace(run, method=replace(run.method, title="reworded"))) == []
    assert len(work.trained) == 1  # the network is one


def test_another_recipe_is_not_recorded_already(executed, run, work):
    executed(run)
    method = replace(run.method, recipe=replace(run.method.recipe, steps=3))
    (made,) = executed(replace(run, method=method))
    assert work.trained[1].recipe.steps == made.conditions["steps"] == 3


def test_another_way_of_predicting_is_not_recorded_already_and_needs_no_training(executed, run, work, recorded):
    executed(run)
    other = replace(run, method=replace(run.method, predict=run.method.predict | {"padding": "zero"}))
    assert len(executed(other)) == len(executed(run)) + 1 == 1
    assert (len(work.trained), len(work.predicted)) == (1, 2)
    told = [record.provenance["config"]["predict"] for record in recorded()]
    assert told == [run.method.predict, other.method.predict]


def test_a_record_that_does_not_say_how_was_predicted_counts(executed, run, work, recorded, tmp_path):
    (made,) = executed(run)
    early = {name: value for name, value in made.provenance["config"].items() if name != "predict"}
    (tmp_path / "records.jsonl").unlink()
    records.append(replace(made, provenance=made.provenance | {"config": early}), tmp_path / "records.jsonl")
    assert executed(run) == []
    assert len(executed(replace(run, seeds=(1,)))) == 1


def test_a_run_on_other_data_is_neither_recorded_already_nor_scored_with_the_old_network(
    executed, run, data, work, recorded
):
    executed(run)
    other = data._replace(sha256=data.sha256 | {"train-labels": "other"})
    with pytest.raises(InputError, match="holds a training on other data"):
        executed(run, data=other)
    assert len(recorded()) == 1


def test_a_test_volume_is_recorded_anew_for_labels_that_are_new_or_cover_other_rows(executed, run, data, phantom, work):
    final = replace(run, splits=(every_slice(5),))
    labelled = with_test_labels(data, phantom)
    for given in (
        data,
        labelled,
        labelled._replace(sha256=labelled.sha256 | {"test-labels": "corrected"}),
        labelled._replace(test_labels=labelled.test_labels[:, :10], test_rows=(0, 9)),
        labelled._replace(test_labels=labelled.test_labels[:, :10], test_rows=(9, 18)),
    ):
        assert len(executed(final, data=given)) == 1
        assert executed(final, data=given) == []
    assert len(work.trained) == 1


@pytest.mark.parametrize("number", [0, -1], ids=["training", "prediction"])
def test_a_failure_is_recorded_once_and_the_runs_after_it_go_on(executed, run, work, recorded, capsys, number):
    work.failing[number] = NonFiniteLoss("the loss is not finite at step 2")
    later = replace(run, seeds=(1,))
    failed, made = executed(run, later)
    assert (failed.scores, failed.conditions["outcome"]) == ({}, "the loss is not finite at step 2")
    assert made.scores
    assert "failed): the loss is not finite at step 2" in capsys.readouterr().out
    assert executed(run, replace(run, rotations=("eight",))) == []
    assert len(recorded()) == 2


MEMORY = [torch.OutOfMemoryError("CUDA out of memory. Tried"), RuntimeError(CPU_MEMORY), MemoryError("Unable to")]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("number", [0, -1], ids=["training", "prediction"])
def test_a_run_that_does_not_fit_in_memory_is_left_out_and_told_at_the_end(
    executed, run, work, recorded, capsys, error, number
):
    work.failing[number] = error
    with pytest.raises(InputError, match=r"1 of 2 runs did not fit in memory: U-Net .*, fold1, seed 0$"):
        executed(run, replace(run, seeds=(1,)))
    assert f"left out: {error}" in capsys.readouterr().out
    assert [record.conditions["seeds"] for record in recorded()] == [[1]]
    assert len(executed(run)) == 1  # another time it may fit


def test_other_errors_are_not_taken_for_a_lack_of_memory(executed, run, work, recorded):
    work.failing[0] = RuntimeError("sizes differ")
    with pytest.raises(RuntimeError, match="sizes differ"):
        executed(run)
    assert recorded() == []


def test_records_are_read_before_anything_is_trained(executed, run, work, tmp_path):
    (tmp_path / "records.jsonl").write_text("{}\nhours of work\n")
    with pytest.raises(InputError, match="line 1 of"):
        executed(run)
    assert not work.trained


def test_what_is_measured_is_kept_when_a_later_rotation_is_stopped(executed, run, work, recorded):
    work.failing[-2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        executed(replace(run, rotations=("none", "eight")))
    assert [record.conditions["rotations"] for record in recorded()] == ["none"]


def test_whether_to_resume_reaches_the_training(executed, run, work, monkeypatch):
    asked = []

    def train_split(*arguments, resume, **options):
        asked.append(resume)
        return original(*arguments, resume=resume, **options)

    original = execute_module.train_split
    monkeypatch.setattr(execute_module, "train_split", train_split)
    executed(run)
    executed(replace(run, seeds=(1,)), resume=False)
    assert asked == [True, False]


def test_costs_are_asked_for_only_if_something_is_run(executed, run, work):
    asked = []
    costed = replace(run, costs=lambda: asked.append(1) or {"gflop_per_slice": 1.0})
    (record,) = executed(costed)
    executed(costed)
    assert len(asked) == 1
    assert record.measures["gflop_per_slice"] == 1.0


def test_without_spies_a_run_is_trained_predicted_scored_and_recorded(executed, run, recorded):
    (record,) = executed(run)
    assert recorded() == [record]
    assert record.scores.keys() == set(records.SCORES)
    assert record.measures["train_seconds"] > 0
    assert record.measures["predict_seconds_per_slice"] > 0
