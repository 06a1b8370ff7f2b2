"""Warping error: the mismatch table by hand, simple points by exhaustion, the whole loop by a plain one."""

import metric_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from unet_paper.metrics import MISMATCHES, warping_error
from unet_paper.metrics.warping import RING, SIMPLE, warp


def slice_of(text):
    return np.array([[int(c) for c in row] for row in text.split()])


def test_simple_points_are_the_232_of_512_patterns():
    count = 0
    for bits in range(512):
        patch = np.array([bits >> k & 1 for k in range(9)], bool).reshape(3, 3)
        pattern = sum(int(patch[1 + dy, 1 + dx]) << k for k, (dy, dx) in enumerate(RING))
        assert SIMPLE[pattern] == oracle.is_simple(patch)
        count += SIMPLE[pattern]
    assert count == 232


# Every row of the table: the pixel is background or cell in the warped ground truth, and what its
# eight neighbours show. Nothing here is simple, so the ground truth does not move.
@pytest.mark.parametrize(
    ("truth", "proposal", "expected"),
    [
        ("000 000 000", "000 010 000", "object addition"),  # background, only membrane around
        ("111 101 111", "111 111 111", "hole deletion"),  # background, only one cell around
        ("111 101 101", "111 101 111", "hole addition"),  # background, membrane and one cell: a ring closes
        ("101 101 101", "101 111 101", "merge"),  # background, membrane and two cells
        ("0000 0100 0000 0000", "0000 0000 0000 0000", "object deletion"),  # cell, only membrane around
        ("1110 1110 1110 0000", "1110 1010 1110 0000", "hole addition"),  # cell, only cell around
        ("0000 1110 0000 0000", "0000 1010 0000 0000", "split"),  # cell, membrane and one cell that falls apart
        ("111 101 111", "101 101 111", "hole deletion"),  # cell, membrane and one cell that holds together
        ("010 110 001", "010 100 001", "split"),  # cell, membrane and two cells
    ],
)
def test_mismatch_table(truth, proposal, expected):
    truth, proposal = slice_of(truth), slice_of(proposal)
    result = warping_error(truth, proposal.astype(float))
    assert dict(zip(MISMATCHES, result.counts[0, 0])) == {**dict.fromkeys(MISMATCHES, 0), expected: 1}
    np.testing.assert_array_equal(result.merges[0], (truth != proposal) & (expected == "merge"))
    np.testing.assert_array_equal(result.splits[0], (truth != proposal) & (expected == "split"))
    assert result.value == (1 / truth.size if expected in ("merge", "split") else 0)
    assert result.classic == 1 / truth.size


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize(
    ("height", "width", "far_side", "expected"),
    [
        (50, 50, 20, "hole deletion"),  # the ring holds together within 20 px of the pixel
        (50, 50, 21, "split"),
        (19, 60, 14, "hole deletion"),  # a slice less high than the window is taken whole, and the ring's ends with it
    ],
)
def test_a_split_is_judged_within_20_pixels_unless_the_slice_is_smaller(turns, height, width, far_side, expected):
    truth = np.zeros((height, width), int)
    left, right = (8, 40) if width == 50 else (2, 57)
    truth[2, left : right + 1] = truth[2 + far_side, left : right + 1] = 1  # a ring
    truth[2 : 3 + far_side, left] = truth[2 : 3 + far_side, right] = 1
    proposal = truth.astype(float)
    proposal[2, (left + right) // 2] = 0
    counts = warping_error(np.rot90(truth, turns), np.rot90(proposal, turns)).counts[0, 0]
    assert dict(zip(MISMATCHES, counts)) == {**dict.fromkeys(MISMATCHES, 0), expected: 1}


def check_against_loop(labels, probability):
    result = warping_error(labels, probability)
    for k, threshold in enumerate(result.thresholds):
        for z in range(len(labels)):
            warped, remaining = oracle.warp(labels[z], probability[z], threshold)
            cells, y, x = warp(ndimage.label(labels[z])[0], probability[z], threshold)
            np.testing.assert_array_equal(cells[1:-1, 1:-1] > 0, warped)
            assert sorted(zip(y.tolist(), x.tolist())) == sorted(remaining)
            types = [oracle.mismatch_type(warped, *pixel) for pixel in remaining]
            assert result.counts[k, z].tolist() == [types.count(name) for name in MISMATCHES]
    values = result.counts[..., [2, 5]].sum(axis=(1, 2)) / labels.size
    np.testing.assert_allclose(result.values, values, atol=1e-15)
    assert result.value == values.min()
    assert result.threshold == result.thresholds[values.argmin()]
    assert result.classic == pytest.approx(result.counts.sum(axis=(1, 2)).min() / labels.size)


SHAPES = st.tuples(st.integers(1, 2), st.integers(2, 6), st.integers(2, 6))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_equals_the_loop_of_the_definition(data):
    shape = data.draw(SHAPES)
    values = st.sampled_from([0, 0.1, 0.3, 0.45, 0.55, 0.7, 0.9, 1])  # many ties
    check_against_loop(
        data.draw(hnp.arrays(bool, shape)), data.draw(hnp.arrays(np.float32, shape, elements=values, fill=st.nothing()))
    )


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_equals_the_loop_for_a_binary_proposal(data):
    shape = data.draw(SHAPES)
    check_against_loop(data.draw(hnp.arrays(bool, shape)), data.draw(hnp.arrays(bool, shape)).astype(np.float32))


def test_equals_the_loop_on_larger_smooth_slices():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((2, 24, 27)), (0, 2, 2))
    probability = (
        0.5 + np.clip(4 * np.roll(noise, 1, axis=2) + 0.1 * rng.standard_normal(noise.shape), -0.5, 0.5)
    ).astype(np.float32)
    check_against_loop(noise[:1] > 0, probability[:1])


def test_the_order_of_cells_in_memory_does_not_matter():
    cells, proposal = np.zeros((9, 8), np.int32), np.ones((9, 8), np.float32)
    cells[2:4, 3:7] = 1
    for found, expected in zip(warp(np.asfortranarray(cells), proposal, 0.5), warp(cells, proposal, 0.5), strict=True):
        np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(bool, (9, 8)), hnp.arrays(bool, (9, 8)))
def test_warping_keeps_the_topology(labels, proposal):
    cells, n_cells = ndimage.label(labels)
    warped, _, _ = warp(cells, proposal.astype(np.float32), 0.5)
    again, n_again = ndimage.label(warped)
    assert n_again == n_cells
    assert len(np.unique(np.stack([warped, again])[:, warped > 0], axis=1).T) == n_cells  # the same numbering
    eight = np.ones((3, 3))
    assert ndimage.label(warped == 0, eight)[1] == ndimage.label(np.pad(cells, 1) == 0, eight)[1]


def test_a_border_that_moves_costs_nothing():
    truth, proposal = np.zeros((12, 12), int), np.zeros((12, 12))
    truth[2:6, 2:6] = 1
    proposal[1:9, 3:10] = 1
    result = warping_error(truth, proposal)
    assert (result.value, result.classic) == (0, 0)


def test_all_membrane_shrinks_a_cell_to_a_point():
    truth = np.pad(np.ones((4, 5), int), 2)
    result = warping_error(truth, np.zeros(truth.shape))
    assert result.counts[0, 0].tolist() == [0, 0, 0, 0, 1, 0]  # one object deletion
    assert (result.value, result.threshold, result.classic) == (0, 0, 1 / truth.size)


@pytest.mark.parametrize("proposal", [0.0, 1.0])
def test_empty_ground_truth_never_merges(proposal):
    result = warping_error(np.zeros((5, 6)), np.full((5, 6), proposal))
    assert result.value == 0
    assert result.counts[0, 0].tolist() == [30 * proposal, 0, 0, 0, 0, 0]


def test_all_cell_matched_and_missed():
    truth = np.ones((4, 4), int)
    assert warping_error(truth, truth.astype(float)).classic == 0
    assert warping_error(truth, np.zeros((4, 4))).counts[0, 0].tolist() == [0, 0, 0, 0, 1, 0]


def test_uncertain_pixels_are_visited_last():
    # Both membrane pixels could join a cell; after one did, the other would merge the two.
    truth = slice_of("1001 1001 1001")
    for sure in (1, 2):
        probability = np.ones((3, 4), np.float32)
        probability[:, 3 - sure] = 0.8
        result = warping_error(truth, probability)
        at = result.thresholds.tolist().index(0.5)
        warped, _, x = warp(ndimage.label(truth)[0], probability, 0.5)
        assert set(x) == {3 - sure}
        assert result.counts[at, 0].tolist() == [0, 0, 3, 0, 0, 0]
        assert warped.max() == 2


def test_a_map_without_cells_has_splits_only_where_a_cell_encloses_membrane():
    cells = np.zeros((50, 100), bool)
    cells[:, :20], cells[:, 25:60] = True, True
    assert warping_error(cells, np.full(cells.shape, 0.5)).value == 0
    cells[:, 25:] = True
    cells[5:-5, 30:-5] = False  # wider than the window: the ring that is left falls apart at each of its pixels
    result = warping_error(cells, np.zeros(cells.shape))
    assert result.splits.any()
    assert not result.merges.any()
