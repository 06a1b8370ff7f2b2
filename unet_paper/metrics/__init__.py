"""The metrics of the ISBI 2012 challenge for 2-D cell segmentations: arrays in, small named results out.

`score` gives all five and does the work they share once; each also has a function of its own.
`pixel_error`, `rand_error` and `warping_error` are those of the paper's table 1, `v_rand` and `v_info`
those of the challenge's leaderboard since 2016. Slices are independent of each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from unet_paper.metrics._common import THRESHOLDS, FScoreResult
from unet_paper.metrics._proposal import evaluate
from unet_paper.metrics.information import V_INFO, v_info
from unet_paper.metrics.pixel import PIXEL, pixel_error
from unet_paper.metrics.rand import RAND, V_RAND, rand_error, v_rand
from unet_paper.metrics.warping import MISMATCHES, WARPING, WarpingResult, warping_error

__all__ = [
    "MISMATCHES",
    "THRESHOLDS",
    "FScoreResult",
    "Scores",
    "WarpingResult",
    "pixel_error",
    "rand_error",
    "score",
    "v_info",
    "v_rand",
    "warping_error",
]


@dataclass(frozen=True, eq=False)
class Scores:
    """The five metrics of one stack; the three errors are best at 0, the two scores at 1."""

    pixel_error: FScoreResult
    rand_error: FScoreResult
    warping_error: WarpingResult
    v_rand: FScoreResult
    v_info: FScoreResult


def score(
    labels: ArrayLike, probability: ArrayLike, *, progress: Callable | None = None, workers: int | None = None
) -> Scores:
    """All five metrics of a cell-probability map, in one pass.

    Parameters
    ----------
    labels : array_like, shape (Z, H, W) or (H, W)
        Ground truth: 0 is membrane, 1 (or 255, or True) is cell.
    probability : array_like, same shape
        Probability of cell, rounded to float32: float in [0, 1], bool, or uint8, which counts as value / 255. A map
        that holds only 0 and 1 is a segmentation and is evaluated once, at threshold 0.
    progress : callable, optional
        Wraps the iterator over slices and is called as ``progress(iterator, total=Z)``, for example ``tqdm.tqdm``;
        so not as that of `unet_paper.predict.predict_stack`.
    workers : int, optional
        Threads over slices, at least 1; by default one for each core.

    Returns
    -------
    Scores
        With the attributes ``pixel_error``, ``rand_error``, ``warping_error``, ``v_rand`` and ``v_info``, each
        the result of the function of that name.

    Raises
    ------
    InputError
        If the shapes differ or are empty, the labels are not binary, a probability lies outside [0, 1], or a
        uint8 map holds only 0 and 1.

    Notes
    -----
    Each metric has one threshold for the whole stack, the best of 0, 0.1, ... 1 (0.9 for the warping error);
    different metrics may choose different ones. See the five functions for the formulas.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    V. Jain et al., Boundary learning by optimization with topological constraints, CVPR 2010,
    doi:10.1109/CVPR.2010.5539950.

    Examples
    --------
    Two cells; the proposal leaves a gap of one pixel in the membrane between them, so it merges them.

    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0, 1, 1]] * 4)
    >>> probability = np.where(labels == 1, 0.95, 0.05)
    >>> probability[2, 2] = 0.95
    >>> scores = score(labels, probability)
    >>> scores.warping_error.value, scores.warping_error.threshold
    (0.05, 0.1)
    >>> scores.warping_error.merges[0].astype(int)
    array([[0, 0, 0, 0, 0],
           [0, 0, 0, 0, 0],
           [0, 0, 1, 0, 0],
           [0, 0, 0, 0, 0]])
    """
    metrics = (PIXEL, RAND, WARPING, V_RAND, V_INFO)
    return Scores(*evaluate(metrics, labels, probability, progress, workers))
