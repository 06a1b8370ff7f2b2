"""Pixel error: by hand, by a plain loop, by symmetry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unet_paper.metrics import THRESHOLDS, pixel_error

LABELS = hnp.arrays(bool, (2, 4, 5))
GRAY = hnp.arrays(np.float32, (2, 4, 5), elements=st.sampled_from(np.linspace(0, 1, 21, dtype=np.float32).tolist()))


def naive_f_score(labels, probability, threshold):
    tp = fp = fn = 0
    for truth, p in zip(labels.flat, probability.flat):
        cell = float(p) > threshold
        tp += truth and cell
        fp += cell and not truth
        fn += truth and not cell
    precision = 1 if fp == 0 else tp / (tp + fp)
    recall = 1 if fn == 0 else tp / (tp + fn)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


@settings(deadline=None, max_examples=50)
@given(LABELS, GRAY)
def test_equals_a_loop_over_pixels(labels, probability):
    result = pixel_error(labels, probability)
    expected = [naive_f_score(labels, probability, threshold) for threshold in result.thresholds]
    np.testing.assert_allclose(1 - result.values, expected, atol=1e-12)
    assert result.value == pytest.approx(1 - max(expected), abs=1e-12)
    for z in range(2):
        alone = [naive_f_score(labels[z], probability[z], threshold) for threshold in result.thresholds]
        np.testing.assert_allclose(1 - result.per_slice[:, z], alone, atol=1e-12)


@given(LABELS, GRAY)
@settings(deadline=None, max_examples=25)
def test_knows_no_direction(labels, probability):
    value = pixel_error(labels, probability).value
    assert pixel_error(labels.swapaxes(1, 2), probability.swapaxes(1, 2)).value == value
    assert pixel_error(labels[::-1, ::-1, ::-1], probability[::-1, ::-1, ::-1]).value == value


def test_counts_are_pooled_over_slices_before_the_best_threshold_is_taken():
    labels = [[[1, 1, 1, 0]], [[1, 0, 0, 0]]]
    proposal = [[[1.0, 1.0, 0.0, 0.0]], [[1.0, 1.0, 0.0, 0.0]]]
    result = pixel_error(labels, proposal)  # TP 3, FP 1, FN 1
    assert (result.precision, result.recall, result.value) == (0.75, 0.75, 0.25)
    np.testing.assert_allclose(result.per_slice, [[1 - 0.8, 1 - 2 / 3]])


def test_the_first_of_equally_good_thresholds_wins():
    result = pixel_error([[1, 0]], [[0.75, 0.15]])
    assert result.threshold == 0.2
    np.testing.assert_allclose(result.values, [1 / 3] * 2 + [0] * 6 + [1] * 3)


def test_a_pixel_equal_to_the_threshold_is_membrane_in_double_precision():
    for k, threshold in enumerate(THRESHOLDS):
        nearest = np.float32(threshold)
        result = pixel_error([[1, 1, 0]], np.array([[1, nearest, 0.05]], np.float32))
        found = 2 if float(nearest) > threshold else 1
        tp, fp = found, int(threshold < 0.05)
        assert result.values[k] == pytest.approx(1 - 2 * tp / (tp + fp + 2))


@pytest.mark.parametrize(
    ("labels", "proposal", "expected"),
    [(0, 0, 0.0), (1, 1, 0.0), (0, 1, 1.0), (1, 0, 1.0)],
    ids=["both empty", "both full", "empty truth", "empty proposal"],
)
def test_uniform_slices(labels, proposal, expected):
    result = pixel_error(np.full((3, 3), labels), np.full((3, 3), float(proposal)))
    assert result.value == expected
    assert (result.threshold is None) == (expected == 1)
    assert np.isnan(result.precision) == (expected == 1)
