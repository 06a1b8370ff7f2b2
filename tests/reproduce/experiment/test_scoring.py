"""Prediction and scores: what reaches `predict_stack`, what is stored, and what is recorded of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_experiment import numbers

from reproduce import records
from reproduce.data import with_test_labels
from reproduce.experiment import scoring
from reproduce.experiment.run import Run, every_slice, splits
from reproduce.experiment.scoring import failure, measure, score_map
from reproduce.experiment.training import train_split
from unet_paper import metrics
from unet_paper.errors import NonFiniteLoss
from unet_paper.tiff import read_images, read_stack, write_stack
from unet_paper.train import gray_statistics


@pytest.fixture
def measured(data, tmp_path, work):
    """Train and measure a run in a folder; returns its records."""

    def made(run, data=data):
        for split, seed in run.trainings:
            train_split(run.method, split, data, seed=seed, device="cpu", out=tmp_path)
        return list(measure(run, data, device="cpu", out=tmp_path))

    return made


def test_each_network_predicts_its_held_out_slices_with_the_statistics_it_was_trained_with(
    measured, method, data, work
):
    measured(Run("table1", method, splits(5, [1, 3]), (0,)))
    assert [(call.network, numbers(call.images, data.images)) for call in work.predicted] == [(0, [1]), (1, [3])]
    for call, training in zip(work.predicted, work.trained, strict=True):
        statistics = gray_statistics(training.images)
        assert {"image_mean": call.mean, "image_std": call.std} == statistics
        assert not set(numbers(call.images, data.images)) & set(numbers(training.images, data.images))


def test_rotations_precision_device_and_the_methods_own_keywords_reach_prediction(measured, method, work):
    own = replace(method, predict={"padding": "zero", "depth": 3})
    measured(Run("ablations", own, splits(5, [1]), (0,), ("none", "seven")))
    assert [call.rotations for call in work.predicted] == ["none", "seven"]
    for call in work.predicted:
        assert (call.precision, call.device, call.padding, call.depth) == ("float32", "cpu", "zero", 3)


def test_the_stored_map_is_the_probability_in_steps_of_one_255th_and_its_scores_are_recorded(
    measured, method, data, work, tmp_path
):
    (record,) = measured(Run("table1", method, splits(5, [1, 3]), (0,)))
    stored = read_stack(tmp_path / record.prediction).array
    probability = np.concatenate([call.map for call in work.predicted])
    np.testing.assert_array_equal(stored, np.round(255 * probability))
    assert stored.dtype == np.uint8
    scores = metrics.score(data.labels[[1, 3]], stored / np.float32(255))
    assert record.scores == {name: getattr(scores, name).value for name in records.SCORES}


def test_a_map_of_an_earlier_prediction_is_replaced(measured, method, work, tmp_path):
    run = Run("table1", method, splits(5, [1]), (0,))
    measured(run)
    (record,) = measured(run)
    stored = read_stack(tmp_path / record.prediction).array
    assert not np.array_equal(work.predicted[0].map, work.predicted[1].map)
    np.testing.assert_array_equal(stored, np.round(255 * work.predicted[1].map))


def test_a_record_says_what_was_trained_and_scored(measured, method, data, work, tmp_path):
    (record,) = measured(Run("table1", method, splits(5, [1, 3]), (7,), ("none",), {"variant": "base"}))
    assert (record.experiment, record.name) == ("table1", "unet")
    assert record.conditions == {
        "title": method.title,
        "recipe": method.recipe.digits,
        "folds": ["fold1", "fold3"],
        "volume": "train",
        "slices": [1, 3],
        "train_slices": 4,
        "seeds": [7],
        "rotations": "none",
        "steps": 2,
        "variant": "base",
    }
    assert record.prediction == f"predictions/{method.label}-seed7-none-fold1+fold3.tif"
    assert record.provenance["data"] == data.sha256
    assert record.provenance["config"]["splits"] == {"fold1": [0, 2, 3, 4], "fold3": [0, 1, 2, 4]}
    records.validate(record)
    assert json.loads(json.dumps(record.provenance)) == record.provenance


def test_costs_are_sums_over_the_networks_and_predictions_are_a_slice(measured, method, data, work):
    run = Run("systems", method, splits(5, [1, 3]), (0,), costs=lambda: {"gflop_per_slice": 1.5})
    (record,) = measured(run)
    network = method.recipe.network()
    assert record.measures == {
        "train_seconds": 10.0 + 20.0,
        "predict_seconds_per_slice": (3.0 + 3.0) / 2,
        "parameters_count": sum(weight.numel() for weight in network.parameters()),
        "gflop_per_slice": 1.5,
    }
    assert record.provenance["peak_bytes"] == 2  # the larger of the two networks'
    assert record.provenance["wall_seconds"] == 10 + 20 + 3 + 3


def test_a_stack_of_several_slices_is_timed_by_the_slice(measured, method, data, work):
    ten = data._replace(images=np.tile(data.images, (2, 1, 1)), labels=np.tile(data.labels, (2, 1, 1)))
    (record,) = measured(Run("table1", method, splits(10, [1]), (0,)), ten)
    assert record.measures["predict_seconds_per_slice"] == 3.0 / 2


def test_times_of_another_device_than_that_of_the_training_are_left_out(measured, method, work, monkeypatch):
    costs = {"gflop_per_slice": 1.5, "dense_seconds_per_slice": 2.0}
    run = Run("systems", method, splits(5, [1]), (0,), costs=lambda: costs)
    monkeypatch.setattr(records, "device_name", lambda device: "a processor")
    assert costs.items() <= measured(run)[0].measures.items()
    monkeypatch.setattr(records, "device_name", lambda device: "a GPU")
    (record,) = measured(run)
    assert record.provenance["device"] == "a processor"
    assert set(record.measures) == {"train_seconds", "parameters_count", "gflop_per_slice"}


def test_a_record_names_every_command_and_commit_that_had_a_part(measured, method, work, monkeypatch):
    run = Run("table1", method, splits(5, [1]), (0,))
    monkeypatch.setattr(records, "commit_id", lambda: "first")
    monkeypatch.setattr("sys.argv", ["-m", "table1", "--folds", "1"])
    measured(run)
    monkeypatch.setattr(records, "commit_id", lambda: "second")
    monkeypatch.setattr("sys.argv", ["-m", "table1"])
    (record,) = measured(run)
    assert record.provenance["commit"] == "first, second"
    assert record.provenance["command"] == "python -m reproduce table1 --folds 1, python -m reproduce table1"


def test_of_networks_trained_in_a_given_time_the_steps_are_their_mean(measured, method, work, monkeypatch):
    timed = replace(method, recipe=replace(method.recipe, seconds=60.0))
    train, lengths = work.train, iter((2, 6))
    monkeypatch.setattr(
        "reproduce.experiment.training.train",
        lambda recipe, *given, **options: train(replace(recipe, steps=next(lengths)), *given, **options),
    )
    (record,) = measured(Run("systems", timed, splits(5, [1, 3]), (0,), ("none",)))
    assert record.conditions["steps"] == 4


def test_a_record_names_every_version_that_had_a_part(measured, method, work, monkeypatch):
    run = Run("table1", method, splits(5, [1, 3]), (0,))
    told = iter(({"torch": "1"}, {"torch": "2"}, {"torch": "3", "monai": "7"}))
    monkeypatch.setattr(records, "versions", lambda: next(told))
    (record,) = measured(run)
    assert record.provenance["versions"] == {"torch": "1, 2, 3", "monai": "7"}


def test_of_several_seeds_the_mean_of_the_maps_is_scored_and_costs_are_summed(measured, method, data, work, tmp_path):
    (record,) = measured(Run("table1", method, splits(5, [1, 3]), (0, 4)))
    assert [(training.seed, numbers(training.images, data.images)) for training in work.trained] == [
        (0, [0, 2, 3, 4]),
        (0, [0, 1, 2, 4]),
        (4, [0, 2, 3, 4]),
        (4, [0, 1, 2, 4]),
    ]
    assert [(call.network, numbers(call.images, data.images)) for call in work.predicted] == [
        (0, [1]),
        (1, [3]),
        (2, [1]),
        (3, [3]),
    ]
    one, two, three, four = (call.map for call in work.predicted)
    mean = np.concatenate([(one + three) / 2, (two + four) / 2])
    stored = read_stack(tmp_path / record.prediction).array
    np.testing.assert_array_equal(stored, np.round(255 * mean))
    assert record.conditions["seeds"] == record.provenance["seed"] == [0, 4]
    assert record.prediction.endswith("-seed0+4-eight-fold1+fold3.tif")
    assert record.measures["train_seconds"] == 10 + 20 + 30 + 40
    assert record.measures["predict_seconds_per_slice"] == 4 * 3.0 / 2
    assert record.provenance["peak_bytes"] == 4


def test_of_the_test_volume_the_challenges_own_form_is_stored_and_nothing_scored(
    measured, method, data, work, tmp_path
):
    (record,) = measured(Run("table1", method, (every_slice(5),), (0,), ("seven",)))
    assert numbers(work.trained[0].images, data.images) == [0, 1, 2, 3, 4]
    (call,) = work.predicted
    assert numbers(call.images, data.test_images) == [0, 1, 2, 3, 4]
    assert call.rotations == "seven"
    stored = read_stack(tmp_path / record.prediction).array
    np.testing.assert_array_equal(stored, np.round(255 * call.map).astype(np.uint8) / np.float32(255))
    assert stored.dtype == np.float32
    assert (record.scores, record.details) == ({}, {})
    assert (record.conditions["volume"], record.conditions["slices"]) == ("test", [0, 1, 2, 3, 4])


def test_with_labels_the_test_volume_is_scored_by_them(measured, method, data, phantom, work, tmp_path):
    labelled = with_test_labels(data, phantom)
    (record,) = measured(Run("table1", method, (every_slice(5),), (0,)), labelled)
    scores = metrics.score(labelled.test_labels, read_images(tmp_path / record.prediction).array)
    assert record.scores == {name: getattr(scores, name).value for name in records.SCORES}
    assert record.provenance["data"] == labelled.sha256
    assert record.provenance["data"].keys() == {*data.sha256, "test-labels"}
    assert "rows" not in record.conditions


def test_labels_of_some_rows_score_those_rows(measured, method, data, work, tmp_path):
    labels = data.labels[:, 10:50]
    some = data._replace(test_labels=labels, test_rows=(10, 49))
    (record,) = measured(Run("table1", method, (every_slice(5),), (0,)), some)
    scores = metrics.score(labels, read_images(tmp_path / record.prediction).array[:, 10:50])
    assert record.scores == {name: getattr(scores, name).value for name in records.SCORES}
    assert record.conditions["rows"] == [10, 49]
    assert read_stack(tmp_path / record.prediction).array.shape == (5, 64, 64)


def test_rows_of_the_test_labels_are_no_matter_of_the_folds(measured, method, data, work):
    (record,) = measured(Run("table1", method, splits(5, [1]), (0,)), data._replace(test_rows=(10, 49)))
    assert "rows" not in record.conditions


def test_details_explain_the_scores(data, tmp_path):
    labels = data.labels[:2]
    segmented = labels.copy()
    segmented[0, :, 30:33] = 0  # splits cells
    segmented[1] = 1  # merges all cells
    stored = np.round(255 * (0.05 + 0.9 * segmented)).astype(np.uint8)
    write_stack(tmp_path / "map.tif", stored)
    scores, details = score_map(tmp_path / "map.tif", labels)
    found = metrics.score(labels, stored / np.float32(255))
    assert scores["v_rand"] == found.v_rand.value
    assert details["thresholds"] == {name: getattr(found, name).threshold for name in records.SCORES}
    best = found.v_rand.thresholds.tolist().index(found.v_rand.threshold)
    assert best > 0
    assert details["v_rand_by_slice"] == found.v_rand.per_slice[best].tolist()
    assert len(details["v_rand_by_slice"]) == 2
    assert (details["v_rand_precision"], details["v_rand_recall"]) == (found.v_rand.precision, found.v_rand.recall)
    assert details["merge_pixels"] == found.warping_error.merges.sum() > 0
    assert details["split_pixels"] == found.warping_error.splits.sum() > 0
    assert json.loads(json.dumps(details)) == details


def test_details_without_a_threshold_are_json(tmp_path):
    write_stack(tmp_path / "map.tif", np.zeros((1, 16, 16), np.uint8))
    _, details = score_map(tmp_path / "map.tif", np.zeros((1, 16, 16), np.uint8))
    assert details["thresholds"]["v_rand"] is None
    assert "v_rand_precision" not in details
    assert json.loads(json.dumps(details, allow_nan=False)) == details


def test_a_map_that_is_not_finite_is_no_map(measured, method, work, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "predict_stack", lambda model, images, **_: np.full_like(images, np.nan))
    with pytest.raises(NonFiniteLoss, match="map of the network of fold1 with seed 0 is not finite"):
        measured(Run("table1", method, splits(5, [1]), (0,)))
    assert not (tmp_path / "predictions").exists()


def test_a_failure_is_a_record_with_its_outcome_and_no_scores(method, data):
    run = Run("sweep", method, splits(5, [1]), (3,), ("none",), {"learning_rate": 0.5})
    record = failure(run, data, "cpu", "the loss is not finite at step 2")
    records.validate(record)
    assert (record.scores, record.measures, record.prediction) == ({}, {}, None)
    assert record.conditions["outcome"] == "the loss is not finite at step 2"
    assert record.conditions["learning_rate"] == 0.5
    assert (record.conditions["steps"], record.conditions["seeds"]) == (2, [3])
    assert record.provenance["config"] == run.configuration
    timed = replace(method, recipe=replace(method.recipe, seconds=60.0))
    assert "steps" not in failure(replace(run, method=timed), data, "cpu", "not finite").conditions
