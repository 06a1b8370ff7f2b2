"""``unet-paper segment``: the cells it writes, the threshold it finds, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet_paper import __main__ as commands
from unet_paper import metrics, trained
from unet_paper.segment import segment
from unet_paper.tiff import read_stack, write_stack

THRESHOLD = 0.5  # of the network in the package
GOLDEN = Path(__file__).parents[1] / "metrics" / "golden"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with three slices of a soft map and their labels."""
    for name, stack in (("map.tif", "phantom_soft"), ("labels.tif", "phantom_labels")):
        write_stack(tmp_path / name, tifffile.imread(GOLDEN / f"{stack}.tif"), voxel_size=(50, 4, 4), unit="nm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trained, "pretrained_metadata", lambda: {"held_out": {"thresholds": {"v_rand": THRESHOLD}}})
    return tmp_path


@pytest.mark.parametrize(("options", "threshold"), [((), 0.5), (("--threshold", "0.9"), 0.9)])
def test_the_command_writes_the_cells_with_their_voxel_size(folder, capsys, options, threshold):
    assert commands.main(["segment", "map.tif", "cells.tif", *options]) == 0
    written = read_stack("cells.tif")
    expected = segment(read_stack("map.tif").array, threshold=threshold)
    np.testing.assert_array_equal(written.array, expected)
    assert (written.voxel_size, written.unit) == ((50, 4, 4), "nm")
    told = capsys.readouterr().out
    assert f"{expected.max(axis=(1, 2)).mean():.0f} cells a slice" in told
    assert ("threshold 0.5, that of the recipe of the network in the package" in told) == (options == ())


def test_the_command_finds_the_threshold_of_the_best_v_rand(folder, capsys):
    assert commands.main(["segment", "map.tif", "cells.tif", "--labels", "labels.tif"]) == 0
    best = metrics.v_rand(read_stack("labels.tif").array, read_stack("map.tif").array)
    assert best.threshold not in (0, THRESHOLD)
    assert f"threshold {best.threshold:.1f}: V_Rand {best.value:.6f}" in capsys.readouterr().out
    expected = segment(read_stack("map.tif").array, threshold=best.threshold)
    np.testing.assert_array_equal(read_stack("cells.tif").array, expected)


CELLS = np.kron(np.arange(1, 127).reshape(1, 9, 14), np.ones((1, 8, 8))).astype(np.uint8)  # touching, 126 of them
CELLS_APART = np.where(CELLS % 7, CELLS, 0).astype(np.uint16)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (CELLS, "as labels do"),
        (CELLS_APART, "as labels do"),
        (CELLS.astype(np.float32), "0 to 1"),
        (CELLS.astype(np.uint32), "uint32"),
        (CELLS // 100, "only 0 and 1"),
    ],
)
def test_labels_and_values_outside_0_to_1_are_refused(folder, capsys, bad, message):
    write_stack("bad.tif", bad)
    assert commands.main(["segment", "bad.tif", "out.tif"]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(told) == 1
    assert message in told[0]
    assert "bad.tif" in told[0] or "probability" in told[0]
    assert not (folder / "out.tif").exists()


@pytest.mark.parametrize("stored", ["map.tif", "labels.tif"])
def test_maps_and_segmentations_of_0_and_255_are_not_taken_for_labels(folder, stored):
    assert commands.main(["segment", stored, "out.tif"]) == 0


def test_a_map_of_floats_may_have_areas_of_equal_pixels(folder):
    votes = np.round(3 * (CELLS / np.float32(126))) / np.float32(3)
    write_stack("votes.tif", votes)
    assert commands.main(["segment", "votes.tif", "out.tif", "--threshold", "0.5"]) == 0


def test_labels_of_another_shape_are_refused(folder, capsys):
    write_stack("bad.tif", read_stack("labels.tif").array[1:])
    assert commands.main(["segment", "map.tif", "out.tif", "--labels", "bad.tif"]) == 2
    assert "they must be the same" in capsys.readouterr().err
    assert not (folder / "out.tif").exists()


def test_slices_with_nothing_above_the_threshold_are_told(folder, capsys):
    soft = read_stack("map.tif").array.copy()
    soft[1] = soft[1] // 4
    write_stack("low.tif", soft)
    assert commands.main(["segment", "low.tif", "out.tif", "--threshold", "0.9"]) == 0
    assert "note: nothing is above the threshold in slices 1; each counts as one cell" in capsys.readouterr().err
    assert (read_stack("out.tif").array[1] == 1).all()
    write_stack("full.tif", np.ones_like(soft))
    for threshold, told in (("1", 0), ("5", 2)):
        assert commands.main(["segment", "full.tif", "out.tif", "--threshold", threshold]) == told
        assert "note: nothing" not in capsys.readouterr().err
