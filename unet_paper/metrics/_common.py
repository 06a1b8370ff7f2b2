"""What all the metrics share: legal input, the thresholds, the F-score and its result."""

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike

from unet_paper.errors import InputError

THRESHOLDS = tuple(accumulate([0.1] * 10, initial=0.0))  # 0, 0.1, 0.2, 0.30000000000000004, ... 0.9999999999999999


def read_pair(labels: ArrayLike, probability: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth (Z, H, W) bool and proposal (Z, H, W) float32 in [0, 1], or InputError."""
    labels, probability = np.asarray(labels), np.asarray(probability)
    if labels.shape != probability.shape:
        raise InputError(f"labels have shape {labels.shape} and probability {probability.shape}; they must be equal")
    if labels.ndim not in (2, 3) or labels.size == 0:
        raise InputError(f"labels must be a non-empty slice (H, W) or stack (Z, H, W), not of shape {labels.shape}")
    shape = labels.shape if labels.ndim == 3 else (1, *labels.shape)
    return _binary(labels).reshape(shape), unit_interval(probability).reshape(shape)


def _binary(labels):
    if labels.dtype == bool:
        return labels
    values = np.unique(labels)
    if not (set(values.tolist()) <= {0, 1} or set(values.tolist()) <= {0, 255}):
        shown = ", ".join(f"{value:g}" for value in values[:8]) + (", ..." if len(values) > 8 else "")
        raise InputError(f"labels must be binary, 0 for membrane and 1 or 255 for cell; they hold {shown}")
    return labels > 0


def unit_interval(probability: np.ndarray) -> np.ndarray:
    """A probability map as float32 in [0, 1], or InputError."""
    if probability.dtype == np.uint8:
        if probability.max() == 1:
            raise InputError("probability holds only 0 and 1 as 8-bit; a segmentation is bool, float or 0/255")
        return probability.astype(np.float32) / np.float32(255)
    if probability.dtype != bool and not np.issubdtype(probability.dtype, np.floating):
        raise InputError(f"probability must be float in [0, 1], uint8 (255 is 1) or bool, not {probability.dtype}")
    if np.isnan(probability).any():
        raise InputError("probability holds NaN; every pixel must lie in [0, 1]")
    if probability.min() < 0 or probability.max() > 1:
        low, high = probability.min(), probability.max()
        raise InputError(f"probability spans {low:.9g} to {high:.9g}; every pixel must lie in [0, 1]")
    return probability.astype(np.float32)


def thresholds_for(probability: np.ndarray) -> tuple[float, ...]:
    """The official eleven, or only 0.0 for a proposal that is binary already."""
    return THRESHOLDS[:1] if np.isin(probability, (0, 1)).all() else THRESHOLDS


def f_score(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Harmonic mean, elementwise; 0 where the sum is not positive."""
    total = precision + recall
    return np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)


def precision_and_recall(counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """From TP, FP, FN on the last axis; a side without any error is 1."""
    true_positive, false_positive, false_negative = np.moveaxis(np.asarray(counts), -1, 0)
    precision = np.where(false_positive == 0, 1.0, true_positive / np.maximum(true_positive + false_positive, 1))
    recall = np.where(false_negative == 0, 1.0, true_positive / np.maximum(true_positive + false_negative, 1))
    return precision, recall


@dataclass(frozen=True, eq=False)
class FScoreResult:
    """A metric made of precision and recall, at its best threshold and at every other.

    Attributes
    ----------
    value : float
        The metric: 1 - F for the pixel and the Rand error, F for V_Rand and V_Info, at the best threshold.
    threshold : float or None
        The best threshold, the first one if several are equally good; None if F is 0 at all of them.
    precision, recall : float
        Both sides of F at the best threshold, NaN without one. For the Rand error, V_Rand and V_Info
        precision is the merge side, lowered where the proposal merges cells, and recall the split side,
        lowered where it splits them; for the pixel error they are those of the class cell.
    thresholds : ndarray of float64, shape (T,)
    values : ndarray of float64, shape (T,)
        The metric of the stack at each threshold.
    per_slice : ndarray of float64, shape (T, Z)
        The metric of each slice alone. V_Rand and V_Info of a stack are its means; the pixel and the Rand
        error are not, since they pool the counts of all slices.
    """

    value: float
    threshold: float | None
    precision: float
    recall: float
    thresholds: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    per_slice: np.ndarray = field(repr=False)


def best_f_score(
    scores: np.ndarray,
    precision: np.ndarray,
    recall: np.ndarray,
    thresholds: tuple[float, ...],
    per_slice: np.ndarray,
    *,
    error: bool,
) -> FScoreResult:
    """The first maximum above 0 over the thresholds (axis 0) as an `FScoreResult`; `error` reports 1 - F."""
    scores = np.asarray(scores)
    best = int(np.argmax(scores))
    found = bool(scores[best] > 0)
    value = float(scores[best]) if found else 0.0
    return FScoreResult(
        value=1.0 - value if error else value,
        threshold=thresholds[best] if found else None,
        precision=float(precision[best]) if found else np.nan,
        recall=float(recall[best]) if found else np.nan,
        thresholds=np.array(thresholds),
        values=1.0 - scores if error else scores,
        per_slice=1.0 - per_slice if error else per_slice,
    )
