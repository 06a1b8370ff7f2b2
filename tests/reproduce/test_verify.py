"""Verify: stored maps are scored again, and what differs, is not there or is of other data is told."""

import dataclasses

import numpy as np
import pytest

from data_scripts.phantom import write_phantom
from reproduce import records
from reproduce.__main__ import main
from unet_paper.tiff import read_stack, write_stack


@pytest.fixture
def verify(run_command, tiny, phantom, tmp_path):
    """The command after two trainings."""
    assert run_command("table1", "--folds 1 3 --steps 1 --rotations none") == 0
    assert run_command("table1", "--folds 2 --steps 1 --rotations none") == 0
    return lambda: main(["verify", "--data", str(phantom), "--out", str(tmp_path)])


def test_equal_different_and_missing_maps_are_told_and_counted(verify, tmp_path, capsys):
    assert verify() == 0
    assert capsys.readouterr().out.endswith("2 equal, 0 different, 0 maps not stored\n")
    first, second = sorted((tmp_path / "predictions").iterdir())
    write_stack(first, (read_stack(first).array > 200).astype(np.uint8) * 255)
    assert verify() == 1
    told = capsys.readouterr().out
    assert f"DIFFERS predictions/{first.name}" in told
    assert f"equal   predictions/{second.name}" in told
    first.unlink()
    assert verify() == 0
    assert "1 equal, 0 different, 1 maps not stored" in capsys.readouterr().out
    second.unlink()
    assert verify() == 2
    assert "has no stored map of held-out slices of this data" in capsys.readouterr().err


def test_maps_of_other_data_are_not_judged(verify, tmp_path, capsys):
    write_phantom(tmp_path / "other", n_slices=5, size=64, seed=1)
    assert main(["verify", "--data", str(tmp_path / "other"), "--out", str(tmp_path)]) == 2
    assert "has no stored map of held-out slices of this data" in capsys.readouterr().err


def test_of_two_settings_that_share_a_map_both_records_are_checked(verify, tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    for record in records.read(path):
        conditions, wrong = record.conditions | {"learning_rate": 1.0}, record.scores | {"v_rand": 0.5}
        records.append(dataclasses.replace(record, conditions=conditions, scores=wrong), path)
    assert verify() == 1
    assert capsys.readouterr().out.endswith("2 equal, 2 different, 0 maps not stored\n")


def test_of_two_experiments_that_share_a_map_both_records_are_checked(verify, tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    for record in records.read(path):
        wrong = record.scores | {"v_rand": 0.5}
        records.append(dataclasses.replace(record, experiment="systems", scores=wrong), path)
    assert verify() == 1
    assert capsys.readouterr().out.endswith("2 equal, 2 different, 0 maps not stored\n")
