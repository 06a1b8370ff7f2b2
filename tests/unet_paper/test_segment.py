"""Cells of a map: by the definition, by the official scores, and what the command writes and refuses."""

import json
from pathlib import Path

import metric_oracles as oracle
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from unet_paper import __main__ as commands
from unet_paper import metrics
from unet_paper.errors import InputError
from unet_paper.segment import segment
from unet_paper.tiff import read_stack, write_stack

GOLDEN = Path(__file__).parent / "metrics" / "golden"
LEVELS = st.sampled_from([0, 0.2, np.float32(0.2), 0.5, 0.8, 1])
MAPS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=3, max_side=7), elements=LEVELS.map(np.float32))


def renumbered(labels):
    """The same cells, numbered in the order of their first pixels."""
    values, first = np.unique(labels, return_index=True)
    order = np.argsort(first[values > 0])
    numbers = np.zeros(values.max() + 1, int)
    numbers[values[values > 0][order]] = np.arange(1, len(order) + 1)
    return numbers[labels]


@settings(deadline=None, max_examples=200)
@given(MAPS, st.sampled_from([0, 0.2, 0.5]))
def test_the_cells_are_those_of_the_definition_in_each_slice(probability, threshold):
    labels = segment(probability, threshold=threshold)
    assert (labels.dtype, labels.shape) == (np.uint16, probability.shape)
    shape = (-1, *probability.shape[-2:])
    for plane, cells in zip(probability.reshape(shape), labels.reshape(shape), strict=True):
        above = plane.astype(np.float64) > threshold
        np.testing.assert_array_equal(renumbered(cells), renumbered(oracle.thin(oracle.components(above))))
        assert set(cells[cells > 0]) == set(range(1, cells.max() + 1))


def v_rand(truth, cells):
    """F-score of the pairs of one slice, every membrane pixel a segment of its own, in closed form."""
    inside = ndimage.label(truth)[0]
    proposal = np.where(cells > 0, cells.astype(int), cells.max() + 1 + np.arange(cells.size).reshape(cells.shape))
    joint, a, b = (
        np.unique(values[..., truth > 0], axis=-1, return_counts=True)[1]
        for values in (np.stack([inside, proposal]), inside, proposal)
    )
    return 2 * (joint**2).sum() / ((a**2).sum() + (b**2).sum())


@pytest.mark.parametrize("name", json.loads((GOLDEN / "golden.json").read_text()))
def test_the_cells_have_the_official_scores_in_each_slice_at_each_threshold(name):
    official = json.loads((GOLDEN / "golden.json").read_text())[name]
    truth, probability = (tifffile.imread(GOLDEN / official[key]) for key in ("labels", "proposal"))
    truth, probability = (stack.reshape(-1, *stack.shape[-2:]) for stack in (truth, probability))
    scores = [
        [v_rand(*planes) for planes in zip(truth, segment(probability, threshold=threshold), strict=True)]
        for threshold in official["thresholds_to_1"]
    ]
    np.testing.assert_allclose(np.transpose(scores), official["vrand_thinned_per_slice_by_th"], rtol=0, atol=1e-9)


def test_more_cells_than_16_bits_can_number_are_numbered_with_32():
    probability = np.zeros((516, 516), np.float32)
    probability[::2, ::2] = 1
    labels = segment(probability, threshold=0.5)
    assert labels.dtype == np.uint32
    assert labels.max() == 258**2 > 65_535


@pytest.mark.parametrize(
    ("probability", "threshold", "message"),
    [
        (np.full((3, 3), 1.5), 0.5, "must lie in"),
        (np.full((3, 3), np.nan), 0.5, "NaN"),
        (np.arange(9).reshape(3, 3), 0.5, "not int64"),
        (np.ones((3, 3), np.uint8), 0.5, "only 0 and 1"),
        (np.ones(3), 0.5, r"shape \(3,\)"),
        (np.ones((0, 3)), 0.5, r"shape \(0, 3\)"),
        *((np.ones((3, 3)), threshold, "must be at least 0 and below 1") for threshold in (-0.1, 1, np.nan)),
    ],
)
def test_bad_input_is_one_sentence(probability, threshold, message):
    with pytest.raises(InputError, match=message):
        segment(probability, threshold=threshold)


# --- the command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with three slices of a soft map and their labels."""
    for name, stack in (("map.tif", "phantom_soft"), ("labels.tif", "phantom_labels")):
        write_stack(tmp_path / name, tifffile.imread(GOLDEN / f"{stack}.tif"), voxel_size=(50, 4, 4), unit="nm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("options", "threshold"), [((), 0.5), (("--threshold", "0.9"), 0.9)])
def test_the_command_writes_the_cells_with_their_voxel_size(folder, capsys, options, threshold):
    assert commands.main(["segment", "map.tif", "cells.tif", *options]) == 0
    written = read_stack("cells.tif")
    expected = segment(read_stack("map.tif").array, threshold=threshold)
    np.testing.assert_array_equal(written.array, expected)
    assert (written.voxel_size, written.unit) == ((50, 4, 4), "nm")
    assert f"{expected.max(axis=(1, 2)).mean():.0f} cells a slice" in capsys.readouterr().out


def test_the_command_finds_the_threshold_of_the_best_v_rand(folder, capsys):
    assert commands.main(["segment", "map.tif", "cells.tif", "--labels", "labels.tif"]) == 0
    best = metrics.v_rand(read_stack("labels.tif").array, read_stack("map.tif").array)
    assert best.threshold not in (0, commands.THRESHOLD)
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


def test_labels_of_another_shape_are_refused(folder, capsys):
    write_stack("bad.tif", read_stack("labels.tif").array[1:])
    assert commands.main(["segment", "map.tif", "out.tif", "--labels", "bad.tif"]) == 2
    assert "they must be the same" in capsys.readouterr().err
    assert not (folder / "out.tif").exists()
