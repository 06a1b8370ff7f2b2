"""Pixel error: one minus the best F-score of the class cell, pooled over the stack.

One of the three metrics of the paper's table 1. The fraction of wrong pixels at threshold 0.5, which
sometimes goes by the same name, is another number and is not computed here.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from unet_paper.metrics._common import FScoreResult, best_f_score, f_score, precision_and_recall
from unet_paper.metrics._proposal import Metric, evaluate


def pixel_error(
    labels: ArrayLike, probability: ArrayLike, *, progress: Callable | None = None, workers: int | None = None
) -> FScoreResult:
    r"""Pixel error of a cell-probability map.

    Parameters
    ----------
    labels, probability : array_like, shape (Z, H, W) or (H, W)
        Binary ground truth and probability of cell, in the forms of `unet_paper.metrics.score`.
    progress, workers : callable and int, optional
        As of `unet_paper.metrics.score`.

    Returns
    -------
    FScoreResult
        ``value`` is the error at the best of the thresholds 0, 0.1, ... 1; 0 is perfect.

    Raises
    ------
    InputError
        As from `unet_paper.metrics.score`: for other shapes, labels or probabilities.

    Notes
    -----
    TP, FP and FN count cell pixels over all slices and

    .. math:: E = 1 - \max_t \frac{2 P R}{P + R}, \quad P = \frac{TP}{TP + FP}, \quad R = \frac{TP}{TP + FN}

    where a side without an error is 1. A pixel is cell in the proposal if its probability exceeds t.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    One of three cell pixels is missed: P = 1, R = 2/3, F = 0.8.

    >>> pixel_error([[1, 1, 1, 0]], [[0.9, 0.9, 0.0, 0.0]])
    FScoreResult(value=0.19999999999999996, threshold=0.0, precision=1.0, recall=0.6666666666666666)
    """
    return evaluate([PIXEL], labels, probability, progress, workers)[0]


def _measure(proposal):
    truth = proposal.truth.foreground
    hits = np.count_nonzero(proposal.foreground & truth)
    return hits, np.count_nonzero(proposal.foreground) - hits, np.count_nonzero(truth) - hits


def _summarise(counts, thresholds, shape):
    counts = np.array(counts).swapaxes(0, 1)  # (T, Z, 3)
    precision, recall = precision_and_recall(counts.sum(axis=1))
    per_slice = f_score(*precision_and_recall(counts))
    return best_f_score(f_score(precision, recall), precision, recall, thresholds, per_slice, error=True)


PIXEL = Metric(_measure, _summarise)
