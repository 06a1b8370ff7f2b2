"""The network of all slices comes into the package with the score of its recipe, and with no other's."""

import hashlib
import shutil

import numpy as np
import pytest
import torch

from data_scripts.phantom import write_phantom
from reproduce import __main__ as commands
from reproduce import records
from unet_paper import trained
from unet_paper.checkpoint import load_weights
from unet_paper.predict import predict_stack
from unet_paper.tiff import read_labels, write_stack


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """The place of the weights in the package, in a folder of the test."""
    monkeypatch.setattr(trained, "WEIGHTS", tmp_path / "unet_paper" / "pretrained.safetensors")
    return trained.WEIGHTS


@pytest.fixture
def run(phantom, tiny, weights, tmp_path, monkeypatch):
    """Run a command in a folder with a tiny network in place of the paper's."""
    monkeypatch.setattr("reproduce.figures.montage.montage_of_record", lambda *given: "montage.png")
    return lambda *words: commands.main([*words, "--data", str(phantom), "--out", str(tmp_path), "--device", "cpu"])


def refused(run, capsys, *words):
    """The sentence with which the command ends."""
    assert run("pretrained", *words) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_weights_are_the_final_network_in_float16_with_the_score_of_its_recipe(run, weights, tmp_path, data):
    assert run("table1", "--folds", "1", "3", "--steps", "1") == 0
    assert run("table1", "--final", "--rotations", "none") == 0
    assert run("table1", "--folds", "1", "3", "--rotations", "none", "eight") == 0
    assert run("pretrained") == 0
    *known, record = records.read(tmp_path / "records.jsonl")
    final = next(r for r in known if r.conditions["volume"] == "test")
    held_out = next(r for r in known[1:] if r.conditions["rotations"] == "eight" and r.conditions["volume"] == "train")
    trained_to = tmp_path / "trainings" / f"{final.name}-{final.conditions['recipe']}" / "all-seed0"
    exact, _ = load_weights(trained_to / "weights.safetensors")
    model, metadata = trained.pretrained()
    for name, value in model.state_dict().items():
        assert torch.equal(value, exact.state_dict()[name].half().float())
    assert weights.stat().st_size < 0.6 * (trained_to / "weights.safetensors").stat().st_size
    assert metadata["held_out"]["scores"] == held_out.scores
    assert metadata["held_out"]["slices"] == [1, 3]
    assert metadata["held_out"]["thresholds"] == held_out.details["thresholds"]
    assert metadata["voxel_nm"] == [50, 4, 4]
    assert (record.experiment, record.name) == ("pretrained", final.name)
    assert record.conditions["recipe"] == final.conditions["recipe"]
    how = {"mean": metadata["image_mean"], "std": metadata["image_std"], "precision": "float32"}
    maps = [predict_stack(m, data.test_images, rotations="none", **how) for m in (exact, model)]
    assert record.measures["largest_change"] == np.abs(maps[0] - maps[1]).max() > 0
    assert record.measures["file_bytes"] == weights.stat().st_size
    assert (tmp_path / "figures" / "worst_slice.png").stat().st_size > 1000


def test_the_sum_beside_the_weights_is_theirs(run, weights):
    assert run("table1", "--final", "--rotations", "none") == 0
    assert run("table1", "--folds", "1") == 0
    assert run("pretrained") == 0
    digest, name = weights.with_suffix(".sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(weights.read_bytes()).hexdigest(), weights.name)


def test_a_network_of_other_data_is_not_taken(run, weights, capsys, tmp_path):
    assert run("table1", "--final", "--rotations", "none") == 0
    assert run("table1", "--folds", "1") == 0
    write_phantom(tmp_path / "other", n_slices=5, size=64, seed=1)
    assert commands.main(["pretrained", "--data", str(tmp_path / "other"), "--out", str(tmp_path)]) == 2
    assert "trained on all slices of this data" in capsys.readouterr().err
    assert not weights.exists()


def test_a_final_network_scored_on_the_test_volume_is_of_the_same_data(run, weights, phantom, tmp_path, monkeypatch):
    data = shutil.copytree(phantom, tmp_path / "data")
    write_stack(data / "test-labels.tif", read_labels(phantom / "train-labels.tif").array.astype(np.uint8))
    for words in (["table1", "--test", "--rotations", "none"], ["table1", "--folds", "1"], ["pretrained"]):
        assert commands.main([*words, "--data", str(data), "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert weights.exists()


def test_without_the_stored_map_nothing_is_written(run, weights, tmp_path):
    assert run("table1", "--final", "--rotations", "none") == 0
    assert run("table1", "--folds", "1") == 0
    before = records.read(tmp_path / "records.jsonl")
    (tmp_path / before[-1].prediction).unlink()
    assert run("pretrained") == 2
    assert records.read(tmp_path / "records.jsonl") == before
    assert not weights.exists()


def test_without_a_final_network_or_the_score_of_its_recipe_nothing_is_written(run, weights, capsys):
    assert run("table1", "--folds", "1") == 0
    assert "table1 --final" in refused(run, capsys)
    assert run("table1", "--final", "--rotations", "none", "--steps", "1") == 0
    assert "table1 --folds 4" in refused(run, capsys)
    assert "table1 --final" in refused(run, capsys, "--recipe", "00000000")
    assert not weights.exists()
