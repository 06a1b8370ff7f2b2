"""Rand error and V_Rand: by hand, by counting pairs of pixels, against scikit-image, by symmetry."""

import metric_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.metrics import adapted_rand_error

from unet_paper.metrics import rand_error, v_rand
from unet_paper.metrics._proposal import contingency_table
from unet_paper.metrics.rand import count_pairs
from unet_paper.metrics.thinning import thin_borders

LABELS = hnp.arrays(bool, (2, 5, 6))
GRAY = hnp.arrays(np.float32, (2, 5, 6), elements=st.sampled_from([0, 0.1, 0.25, 0.4, 0.5, 0.75, 0.9, 1]))


def table(cells, segments):
    inside = np.flatnonzero(cells)
    return contingency_table(inside, cells.ravel()[inside], segments)


@settings(deadline=None, max_examples=30)
@given(LABELS, GRAY)
def test_rand_error_counts_pairs_of_pixels_over_the_stack(labels, probability):
    result = rand_error(labels, probability)
    for k, threshold in enumerate(result.thresholds):
        counts = [
            oracle.pairs(oracle.components(truth), oracle.components(p.astype(float) > threshold))
            for truth, p in zip(labels, probability)
        ]
        np.testing.assert_allclose(1 - result.per_slice[k], [oracle.rand_f_score(*c) for c in counts], atol=1e-12)
        empty = not labels.any(axis=(1, 2)).all()
        expected = 0 if empty else oracle.rand_f_score(*np.sum(counts, axis=0))
        assert 1 - result.values[k] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(LABELS, GRAY)
def test_v_rand_is_the_mean_over_thinned_slices(labels, probability):
    result = v_rand(labels, probability)
    for k, threshold in enumerate(result.thresholds):
        expected = [
            oracle.rand_f_score(
                *oracle.pairs(oracle.components(truth), oracle.thin(oracle.components(p.astype(float) > threshold)))
            )
            for truth, p in zip(labels, probability)
        ]
        np.testing.assert_allclose(result.per_slice[k], expected, atol=1e-12)
        assert result.values[k] == pytest.approx(np.mean(expected), abs=1e-12)
    assert result.value == result.values.max()


@settings(deadline=None, max_examples=30)
@given(LABELS, GRAY)
def test_rand_error_knows_no_direction(labels, probability):
    value = rand_error(labels, probability).value
    assert rand_error(labels.swapaxes(1, 2), probability.swapaxes(1, 2)).value == value
    assert rand_error(labels[::-1, ::-1, ::-1], probability[::-1, ::-1, ::-1]).value == value


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 5)), hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 5))
)
def test_the_table_does_not_depend_on_the_numbers_of_cells_and_segments(cells, segments):
    rng = np.random.default_rng(0)
    renumber_cells, renumber_segments = (np.concatenate([[0], rng.permutation(9)[:5] + 1]) for _ in range(2))
    expected = count_pairs(table(cells, segments))
    assert count_pairs(table(renumber_cells[cells], renumber_segments[segments])) == expected
    assert oracle.pairs(cells, segments) == expected


def test_equals_scikit_image_but_for_the_pairs_of_a_pixel_with_itself():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((2, 96, 128)), (0, 3, 3))
    cells = ndimage.label(noise[0] > -0.02)[0]
    segments = thin_borders(ndimage.label(noise[0] + 0.5 * noise[1] > 0)[0])
    tp, fp, fn = count_pairs(table(cells, segments))
    n = np.count_nonzero(cells)

    alone = np.where(segments == 0, segments.max() + 1 + np.arange(cells.size).reshape(cells.shape), segments)
    error, their_precision, their_recall = adapted_rand_error(cells, alone, ignore_labels=(0,))
    assert 1 - error == pytest.approx(2 * (tp - n) / (2 * (tp - n) + fp + fn), abs=1e-12)
    assert their_precision == pytest.approx((tp - n) / (tp - n + fn), abs=1e-12)  # swapped
    assert their_recall == pytest.approx((tp - n) / (tp - n + fp), abs=1e-12)
    assert error == pytest.approx(1 - 2 * tp / (2 * tp + fp + fn), abs=1e-3)


def test_merges_lower_precision_and_splits_recall():
    two, one = [[1, 0, 1]], [[1.0, 1.0, 1.0]]
    merged, split = v_rand(two, one), v_rand(one, [[1.0, 0.0, 1.0]])
    assert (merged.precision, merged.recall) == (0.5, 1)
    assert (split.precision, split.recall) == (1, pytest.approx(3 / 9))


def test_a_cell_that_the_proposal_calls_membrane_is_n_singletons():
    labels, proposal = np.ones((2, 3)), np.zeros((2, 3))
    assert rand_error(labels, proposal).recall == pytest.approx(6 / 36)
    assert v_rand(labels, proposal).value == 1  # thinning makes it one segment


@pytest.mark.parametrize("proposal", [0.0, 1.0])
def test_a_slice_without_cells_scores_zero_and_spoils_the_pooled_error(proposal):
    labels = np.zeros((2, 3, 3))
    labels[0, 1, 1] = 1
    probability = np.stack([labels[0], np.full((3, 3), proposal)])
    assert v_rand(labels, probability).per_slice.tolist() == [[1, 0]]
    assert v_rand(labels, probability).value == 0.5
    result = rand_error(labels, probability)
    assert (result.value, result.threshold) == (1, None)
    assert np.isnan(result.precision)
    assert np.isnan(result.recall)
