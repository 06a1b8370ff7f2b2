"""Rand error and V_Rand: do pairs of pixels lie in one cell in both segmentations?

Both are restricted to the pixels of ground-truth cells. The Rand error, in the paper's table 1, pools
the pairs of all slices; V_Rand, the score of the challenge since 2016, thins the borders of the
proposal first and is the mean over slices.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from unet_paper.metrics._common import FScoreResult, best_f_score, f_score, precision_and_recall
from unet_paper.metrics._proposal import Contingency, Metric, evaluate


def rand_error(
    labels: ArrayLike, probability: ArrayLike, *, progress: Callable | None = None, workers: int | None = None
) -> FScoreResult:
    r"""Foreground-restricted Rand error of a cell-probability map, without thinning.

    Parameters
    ----------
    labels, probability : array_like, shape (Z, H, W) or (H, W)
        Binary ground truth and probability of cell, in the forms of `unet_paper.metrics.score`.
    progress, workers : callable and int, optional
        As of `unet_paper.metrics.score`.

    Returns
    -------
    FScoreResult
        ``value`` is the error at the best of the thresholds 0, 0.1, ... 1; 0 is perfect. ``precision`` is the
        merge side and ``recall`` the split side.

    Raises
    ------
    InputError
        As from `unet_paper.metrics.score`: for other shapes, labels or probabilities.

    Notes
    -----
    Of the N pixels in ground-truth cells, :math:`c_{ij}` lie in cell i and proposal segment j, both 4-connected
    components of one slice. With the sums :math:`a_i = \sum_{j \ge 0} c_{ij}` and
    :math:`b_j = \sum_i c_{ij}`, and with each of the :math:`n_0` pixels of proposal membrane (j = 0) inside a cell
    standing alone,

    .. math::

        TP = \sum_{i,j \ge 1} c_{ij}^2 + n_0, \quad TP + FP = \sum_{j \ge 1} b_j^2 + n_0, \quad
        TP + FN = \sum_i a_i^2

    are summed over the slices, :math:`P = TP / (TP + FP)`, :math:`R = TP / (TP + FN)`, and the error is
    :math:`1 - \max_t 2 P R / (P + R)`. If a slice of the ground truth has no cell, the error of the stack is 1.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    A cell of four pixels is split by one pixel of membrane into two and one: TP = 4 + 1 + 1 of 16 pairs.

    >>> rand_error([[1, 1, 1, 1]], [[1.0, 1.0, 0.0, 1.0]])
    FScoreResult(value=0.4545454545454546, threshold=0.0, precision=1.0, recall=0.375)
    """
    return evaluate([RAND], labels, probability, progress, workers)[0]


def v_rand(
    labels: ArrayLike, probability: ArrayLike, *, progress: Callable | None = None, workers: int | None = None
) -> FScoreResult:
    r"""Foreground-restricted Rand F-score after border thinning, the challenge's V_Rand.

    Parameters
    ----------
    labels, probability : array_like, shape (Z, H, W) or (H, W)
        Binary ground truth and probability of cell, in the forms of `unet_paper.metrics.score`.
    progress, workers : callable and int, optional
        As of `unet_paper.metrics.score`.

    Returns
    -------
    FScoreResult
        ``value`` is the score at the best of the thresholds 0, 0.1, ... 1; 1 is perfect. ``precision`` is the
        merge side and ``recall`` the split side, each the mean over slices.

    Raises
    ------
    InputError
        As from `unet_paper.metrics.score`: for other shapes, labels or probabilities.

    Notes
    -----
    The membrane of the proposal is thinned to lines (`unet_paper.metrics.thinning.thin_borders`). Then, in the
    terms of `rand_error`, one slice scores

    .. math:: F = \frac{2 (\sum_{i,j \ge 1} c_{ij}^2 + n_0)}{\sum_i a_i^2 + \sum_{j \ge 1} b_j^2 + n_0}

    and the stack scores the largest mean of F over the slices. A slice without a cell has F = 0.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    Two cells of one pixel; the proposal merges them, so 2 of its 4 pairs are true.

    >>> v_rand([[1, 0, 1]], [[1.0, 1.0, 1.0]])
    FScoreResult(value=0.6666666666666666, threshold=0.0, precision=0.5, recall=1.0)
    """
    return evaluate([V_RAND], labels, probability, progress, workers)[0]


def count_pairs(table: Contingency) -> tuple[int, int, int]:
    """TP, FP, FN of a contingency table, in ordered pairs of pixels with themselves included."""
    together = np.dot(table.joint, table.joint) + table.membrane
    in_segment = np.dot(table.segments, table.segments) + table.membrane
    in_cell = np.dot(table.cells, table.cells)
    return together, in_segment - together, in_cell - together


def _scores(counts):
    """F, precision and recall; all 0 where the ground truth has no pair."""
    empty = counts[..., 0] + counts[..., 2] == 0
    precision, recall = (np.where(empty, 0.0, side) for side in precision_and_recall(counts))
    return f_score(precision, recall), precision, recall


def _summarise_pooled(counts, thresholds, shape):
    counts = np.array(counts).swapaxes(0, 1)  # (T, Z, 3)
    per_slice, *_ = _scores(counts)
    without_cell = (counts[..., 0] + counts[..., 2] == 0).any()
    pooled = np.zeros_like(counts[:, 0]) if without_cell else counts.sum(axis=1)
    return best_f_score(*_scores(pooled), thresholds, per_slice, error=True)


def _summarise_mean(counts, thresholds, shape):
    per_slice, precision, recall = _scores(np.array(counts).swapaxes(0, 1))  # (T, Z) each
    means = (side.mean(axis=1) for side in (per_slice, precision, recall))
    return best_f_score(*means, thresholds, per_slice, error=False)


RAND = Metric(lambda proposal: count_pairs(proposal.contingency), _summarise_pooled)
V_RAND = Metric(lambda proposal: count_pairs(proposal.thinned_contingency), _summarise_mean)
