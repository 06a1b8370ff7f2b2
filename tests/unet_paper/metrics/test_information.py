"""V_Info: by hand, by plain entropies, against scikit-image."""

import math

import metric_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.metrics import variation_of_information

from unet_paper.metrics import v_info
from unet_paper.metrics._proposal import contingency_table
from unet_paper.metrics.information import entropies
from unet_paper.metrics.thinning import thin_borders

LABELS = hnp.arrays(bool, (2, 5, 6))
GRAY = hnp.arrays(np.float32, (2, 5, 6), elements=st.sampled_from([0, 0.1, 0.25, 0.4, 0.5, 0.75, 0.9, 1]))


def table(cells, segments):
    inside = np.flatnonzero(cells)
    return contingency_table(inside, cells.ravel()[inside], segments)


@settings(deadline=None, max_examples=30)
@given(LABELS, GRAY)
def test_equals_plain_entropies_averaged_over_slices(labels, probability):
    result = v_info(labels, probability)
    for k, threshold in enumerate(result.thresholds):
        expected = [
            oracle.information_f_score(
                *oracle.information(
                    oracle.components(truth), oracle.thin(oracle.components(p.astype(float) > threshold))
                )
            )
            for truth, p in zip(labels, probability)
        ]
        np.testing.assert_allclose(result.per_slice[k], expected, atol=1e-9)
        assert result.values[k] == pytest.approx(np.mean(expected), abs=1e-9)
    assert result.value == result.values.max()


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 5)), hnp.arrays(np.int64, (6, 7), elements=st.integers(0, 5))
)
def test_entropies_do_not_depend_on_the_numbers_of_cells_and_segments(cells, segments):
    rng = np.random.default_rng(0)
    renumber_cells, renumber_segments = (np.concatenate([[0], rng.permutation(9)[:5] + 1]) for _ in range(2))
    expected = oracle.information(cells, segments)
    np.testing.assert_allclose(entropies(table(cells, segments)), expected, atol=1e-12)
    renumbered = table(renumber_cells[cells], renumber_segments[segments])
    np.testing.assert_allclose(entropies(renumbered), expected, atol=1e-12)


def test_equals_scikit_image_with_line_pixels_as_singletons():
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((2, 96, 128)), (0, 3, 3))
    cells = ndimage.label(noise[0] > -0.02)[0]
    segments = thin_borders(ndimage.label(noise[0] + 0.5 * noise[1] > 0)[0])
    truth, proposal, joint = entropies(table(cells, segments))

    alone = np.where(segments == 0, segments.max() + 1 + np.arange(cells.size).reshape(cells.shape), segments)
    splits, merges = variation_of_information(cells, alone, ignore_labels=(0,)) * math.log(2)
    assert splits == pytest.approx(joint - truth, abs=1e-12)  # H(S|T)
    assert merges == pytest.approx(joint - proposal, abs=1e-12)  # H(T|S)


def test_four_cells_of_which_two_are_merged():
    labels = np.array([[1, 0, 1, 0, 1, 0, 1]])
    proposal = np.array([[1, 0, 1, 0, 1, 1, 1]], float)
    result = v_info(labels, proposal)  # H(T) = ln 4, H(S) = 1.5 ln 2 = I
    assert result.precision == pytest.approx(0.75)
    assert result.recall == pytest.approx(1)
    assert result.value == pytest.approx(2 * 1.5 / 3.5)


def test_two_cells_of_which_one_is_split():
    labels = np.array([[1, 1, 1, 0, 1, 1, 1]])
    proposal = np.array([[1, 0, 1, 0, 1, 1, 1]], float)
    result = v_info(labels, proposal)  # H(T) = ln 2 = I; the line pixel is a singleton
    proposal_entropy = 3 / 6 * math.log(6) + 1 / 2 * math.log(2)
    assert result.precision == pytest.approx(1)
    assert result.recall == pytest.approx(math.log(2) / proposal_entropy)


@pytest.mark.parametrize(
    "labels",
    [np.ones((4, 4)), np.zeros((4, 4)), np.pad(np.ones((2, 2)), 1)],
    ids=["all cell", "all membrane", "one cell"],
)
def test_a_ground_truth_of_fewer_than_two_cells_scores_zero_even_if_matched(labels):
    result = v_info(labels, labels)
    assert (result.value, result.threshold) == (0, None)
    assert np.isnan(result.precision)


def test_a_proposal_of_one_segment_scores_zero():
    result = v_info(np.array([[1, 0, 1]]), np.ones((1, 3)))
    assert (result.value, result.threshold) == (0, None)
