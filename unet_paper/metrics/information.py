"""V_Info: how much of its information does the proposal share with the ground truth?

The information-theoretic score of the challenge since 2016, restricted to the pixels of ground-truth
cells, after border thinning. It is 0, not 1, for a slice with a single cell, even if it is matched.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from unet_paper.metrics._common import FScoreResult, best_f_score, f_score
from unet_paper.metrics._proposal import Contingency, Metric, evaluate

ZERO = 1e-9  # an entropy below this is the rounding of 0


def v_info(
    labels: ArrayLike, probability: ArrayLike, *, progress: Callable | None = None, workers: int | None = None
) -> FScoreResult:
    r"""Foreground-restricted information F-score after border thinning, the challenge's V_Info.

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
    In the terms of `rand_error`, after thinning, in one slice and with natural logarithms,

    .. math::

        H(T) &= -\sum_i \frac{a_i}{N} \ln \frac{a_i}{N} \\
        H(S) &= -\sum_{j \ge 1} \frac{b_j}{N} \ln \frac{b_j}{N} + \frac{n_0}{N} \ln N \\
        H(T, S) &= -\sum_{i,j \ge 1} \frac{c_{ij}}{N} \ln \frac{c_{ij}}{N} + \frac{n_0}{N} \ln N

    give the mutual information :math:`I = H(T) + H(S) - H(T, S)`, :math:`P = I / H(T)`, :math:`R = I / H(S)` and
    :math:`F = 2 I / (H(T) + H(S))`. If H(T) is 0 then P = 0 and R = 1, else if H(S) is 0 then P = 1 and R = 0: F
    is 0 if the ground truth has fewer than two cells or the proposal is one segment. The stack scores the largest
    mean of F over the slices.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    Three of four cells of one pixel are merged: I = H(S), less than H(T) = ln 4.

    >>> result = v_info([[1, 0, 1, 0, 1, 0, 1]], [[1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0]])
    >>> round(result.precision, 3), result.recall, round(result.value, 3)
    (0.406, 1.0, 0.577)
    """
    return evaluate([V_INFO], labels, probability, progress, workers)[0]


def entropies(table: Contingency) -> tuple[float, float, float]:
    """H(T), H(S) and H(T, S) of a contingency table, in nats; zeros for an empty one."""
    n = table.cells.sum()
    if n == 0:
        return 0.0, 0.0, 0.0
    alone = table.membrane / n * np.log(n)
    return entr(table.cells / n).sum(), entr(table.segments / n).sum() + alone, entr(table.joint / n).sum() + alone


def _summarise(counts, thresholds, shape):
    truth, proposal, joint = np.moveaxis(np.array(counts).swapaxes(0, 1), -1, 0)  # (T, Z) each
    mutual = np.maximum(truth + proposal - joint, 0.0)
    no_truth, no_proposal = truth < ZERO, proposal < ZERO
    precision = np.where(no_truth, 0.0, np.where(no_proposal, 1.0, mutual / np.where(no_truth, 1, truth)))
    recall = np.where(no_truth, 1.0, np.where(no_proposal, 0.0, mutual / np.where(no_proposal, 1, proposal)))
    per_slice = f_score(precision, recall)
    means = (side.mean(axis=1) for side in (per_slice, precision, recall))
    return best_f_score(*means, thresholds, per_slice, error=False)


V_INFO = Metric(lambda proposal: entropies(proposal.thinned_contingency), _summarise)
