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

from unet_paper.errors import InputError
from unet_paper.segment import segment

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


def test_a_threshold_of_1_is_the_last_of_the_challenge():
    probability = np.array([[1, 0.99, 1]])
    np.testing.assert_array_equal(segment(probability, threshold=1), [[1, 0, 2]])
    np.testing.assert_array_equal(segment(probability, threshold=0.9999999999999999), [[1, 0, 2]])


@pytest.mark.parametrize(
    ("probability", "threshold", "message"),
    [
        (np.full((3, 3), 1.5), 0.5, "must lie in"),
        (np.full((3, 3), np.nan), 0.5, "NaN"),
        (np.arange(9).reshape(3, 3), 0.5, "not int64"),
        (np.ones((3, 3), np.uint8), 0.5, "only 0 and 1"),
        (np.ones(3), 0.5, r"shape \(3,\)"),
        (np.ones((0, 3)), 0.5, r"shape \(0, 3\)"),
        *((np.ones((3, 3)), threshold, "must be from 0 to 1") for threshold in (-0.1, 1.1, np.nan, None)),
    ],
)
def test_bad_input_is_one_sentence(probability, threshold, message):
    with pytest.raises(InputError, match=message):
        segment(probability, threshold=threshold)
