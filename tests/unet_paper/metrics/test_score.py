"""`score`: one call, the same values as five; legal and illegal input."""

import numpy as np
import pytest
from scipy import ndimage

from unet_paper import compiled, metrics
from unet_paper.errors import InputError
from unet_paper.metrics import score

NAMES = ("pixel_error", "rand_error", "warping_error", "v_rand", "v_info")


@pytest.fixture(scope="module")
def stack():
    """Labels (3, 40, 48) uint8 0 or 255, and a noisy probability map."""
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal((3, 40, 48)), (0, 2, 2))
    labels = np.where(np.abs(noise) > 0.03, 255, 0).astype(np.uint8)
    probability = ndimage.gaussian_filter(labels / 255, (0, 1, 1)) + 0.1 * rng.standard_normal(labels.shape)
    return labels, np.clip(probability, 0, 1).astype(np.float32)


def same(first, second):
    assert vars(first).keys() == vars(second).keys()
    for key, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(second)[key])


def same_scores(first, second):
    for name in NAMES:
        same(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("name", NAMES)
def test_one_call_gives_what_each_function_gives(stack, name):
    same(getattr(score(*stack), name), getattr(metrics, name)(*stack))


def test_result_carries_values_for_every_threshold_and_slice(stack):
    scores = score(*stack)
    for name in NAMES:
        result, n = getattr(scores, name), 10 if name == "warping_error" else 11
        assert result.thresholds.shape == result.values.shape == (n,)
        assert result.per_slice.shape == (n, 3)
        assert result.value == result.values[result.thresholds.tolist().index(result.threshold)]
        if name != "warping_error":
            assert 0 < result.precision <= 1
            assert 0 < result.recall <= 1
        if name in ("v_rand", "v_info", "warping_error"):
            np.testing.assert_allclose(result.values, result.per_slice.mean(axis=1))
    assert scores.warping_error.merges.shape == scores.warping_error.splits.shape == stack[0].shape


def test_threads_do_not_change_values(stack):
    same_scores(score(*stack, workers=1), score(*stack, workers=3))


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_threads_that_is_none_is_named(stack, workers):
    with pytest.raises(InputError, match=f"workers is {workers}; it must be at least 1"):
        metrics.score(*stack, workers=workers)


def test_a_slice_is_a_stack_of_one(stack):
    labels, probability = stack
    same_scores(score(labels[0], probability[0]), score(labels[:1], probability[:1]))


def test_slices_may_come_in_any_order(stack):
    labels, probability = stack
    scores, reversed_scores = score(labels, probability), score(labels[::-1], probability[::-1])
    for name in NAMES:
        assert getattr(scores, name).value == pytest.approx(getattr(reversed_scores, name).value, abs=1e-12)


def test_labels_may_be_bool_or_0_and_1_or_0_and_255(stack):
    labels, probability = stack
    scores = score(labels, probability)
    for same_labels in (labels > 0, labels // 255, (labels / 255).astype(np.float32), (labels // 255).tolist()):
        same_scores(scores, score(same_labels, probability))


def test_a_stored_map_counts_as_value_over_255_in_single_precision(stack):
    labels, probability = stack
    stored = np.round(255 * probability).astype(np.uint8)
    same_scores(score(labels, stored), score(labels, stored.astype(np.float32) / np.float32(255)))


def test_a_binary_proposal_has_one_threshold(stack):
    labels, probability = stack
    binary = probability > 0.5
    scores = score(labels, binary)
    assert all(getattr(scores, name).thresholds.tolist() == [0] for name in NAMES)
    for equal in (binary.astype(np.float32), binary.astype(float), binary.astype(np.uint8) * np.uint8(255)):
        same_scores(scores, score(labels, equal))


def test_an_8_bit_segmentation_of_0_and_1_is_no_map_of_next_to_nothing(stack):
    labels, _ = stack
    for segmentation in (labels // 255, np.ones_like(labels)):
        for name in ("score", *NAMES):
            with pytest.raises(InputError, match="only 0 and 1 as 8-bit"):
                getattr(metrics, name)(labels, segmentation)
    same_scores(score(labels, np.zeros_like(labels)), score(labels, np.zeros(labels.shape)))


def test_a_perfect_proposal_scores_perfectly(stack):
    scores = score(stack[0], stack[0])
    errors = [scores.pixel_error.value, scores.rand_error.value, scores.warping_error.value]
    assert errors == [0, 0, 0]
    assert not scores.warping_error.merges.any()


def test_progress_wraps_the_slices(stack):
    seen = []

    def progress(slices, total):
        assert total == 3
        for one in slices:
            seen.append(one)
            yield one

    same_scores(score(*stack, progress=progress), score(*stack))
    assert len(seen) == 3


def test_library_prints_nothing_by_itself(stack, capsys):
    score(*stack)
    assert capsys.readouterr() == ("", "")


CELLS = np.array([[1, 0], [0, 1]])
HALF = np.full((2, 2), 0.5)


@pytest.mark.parametrize(
    ("labels", "probability", "message"),
    [
        (CELLS, HALF * [[1, 1], [1, np.nan]], "probability holds NaN"),
        (CELLS, HALF + 0.75, "probability spans 1.25 to 1.25"),
        (CELLS, HALF - 0.75, "probability spans -0.25 to -0.25"),
        (CELLS, HALF * np.inf, "probability spans inf to inf"),
        (CELLS, np.full((2, 2), 7), "probability must be float in .0, 1., uint8 .255 is 1. or bool, not int64"),
        (np.array([[0, 1], [2, 7]]), HALF, "0 for membrane and 1 or 255 for cell; they hold 0, 1, 2, 7"),
        (np.array([[0, 1], [255, 0]], np.uint8), HALF, "they hold 0, 1, 255"),
        (CELLS * 0.5, HALF, "they hold 0, 0.5"),
        (CELLS * np.nan, HALF, "they hold nan"),
        (np.arange(12).reshape(3, 4), np.ones((3, 4)), "they hold 0, 1, 2, 3, 4, 5, 6, 7, ..."),
        (CELLS, HALF[:1], r"labels have shape \(2, 2\) and probability \(1, 2\)"),
        (CELLS, HALF[None], r"labels have shape \(2, 2\) and probability \(1, 2, 2\)"),
        (CELLS[0], HALF[0], r"not of shape \(2,\)"),
        (CELLS[None, None], HALF[None, None], r"not of shape \(1, 1, 2, 2\)"),
        (np.zeros((0, 2, 2)), np.zeros((0, 2, 2)), r"non-empty .* not of shape \(0, 2, 2\)"),
    ],
)
@pytest.mark.parametrize("name", ["score", *NAMES])
def test_illegal_input_is_named(labels, probability, message, name):
    with pytest.raises(InputError, match=message):
        getattr(metrics, name)(labels, probability)


def test_thresholds_are_sums_of_a_tenth():
    expected, t = [], 0.0
    for _ in range(11):
        expected.append(t)
        t += 0.1
    assert list(metrics.THRESHOLDS) == expected


def test_kernels_work_where_nothing_can_be_cached(monkeypatch):
    def njit(*, nogil, cache=False):
        assert nogil
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    assert compiled.compiled(len) is len
