"""Warping error: which errors remain when the ground truth may bend, but not tear?

Pixels of the ground truth are flipped towards the proposal wherever that leaves its topology as it
is (simple points; Jain et al. 2010). What then still differs is a topological error, and its
neighbourhood tells whether it merges cells, splits one, or is an object or hole too many or too few.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from unet_paper.compiled import compiled
from unet_paper.metrics._proposal import Metric, evaluate

MISMATCHES = ("object addition", "hole deletion", "merge", "hole addition", "object deletion", "split")
OBJECT_ADDITION, HOLE_DELETION, MERGE, HOLE_ADDITION, OBJECT_DELETION, SPLIT = range(6)
RADIUS = 20  # pixels, of the window in which a cell has to fall apart for a split
RING = np.array([(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)])  # (y, x), a round from the east


@dataclass(frozen=True, eq=False)
class WarpingResult:
    """The warping error, at its best threshold and at every other.

    Attributes
    ----------
    value : float
        Merge and split pixels as a fraction of all pixels, at the best threshold; the error of the challenge.
    threshold : float
        The best threshold, the first one if several are equally good.
    classic : float
        The least fraction of all remaining mismatches, of whatever type, over the thresholds.
    thresholds : ndarray of float64, shape (T,)
        0, 0.1, ... 0.9; only 0 for a binary proposal.
    values, classic_values : ndarray of float64, shape (T,)
        Both errors of the stack at each threshold.
    per_slice : ndarray of float64, shape (T, Z)
        Merge and split pixels as a fraction of the pixels of each slice.
    counts : ndarray of int64, shape (T, Z, 6)
        Remaining mismatches of each type, in the order of `MISMATCHES`: object addition, hole deletion, merge,
        hole addition, object deletion, split.
    merges, splits : ndarray of bool, shape (Z, H, W)
        Where the merges and splits lie at the best threshold.
    """

    value: float
    threshold: float
    classic: float
    thresholds: np.ndarray = field(repr=False)
    values: np.ndarray = field(repr=False)
    classic_values: np.ndarray = field(repr=False)
    per_slice: np.ndarray = field(repr=False)
    counts: np.ndarray = field(repr=False)
    merges: np.ndarray = field(repr=False)
    splits: np.ndarray = field(repr=False)


def warping_error(
    labels: ArrayLike, probability: ArrayLike, *, progress: Callable | None = None, workers: int | None = None
) -> WarpingResult:
    r"""Warping error of a cell-probability map: its merges and splits.

    Parameters
    ----------
    labels, probability : array_like, shape (Z, H, W) or (H, W)
        Binary ground truth and probability of cell, in the forms of `unet_paper.metrics.score`.
    progress, workers : callable and int, optional
        As of `unet_paper.metrics.score`.

    Returns
    -------
    WarpingResult
        ``value`` is the error at the best of the thresholds 0, 0.1, ... 0.9; 0 is perfect. ``merges`` and
        ``splits`` are masks to draw.

    Raises
    ------
    InputError
        As from `unet_paper.metrics.score`: for other shapes, labels or probabilities.

    Notes
    -----
    In each slice L starts as the ground truth. Its mismatches with the proposal at threshold t are visited by
    decreasing :math:`|p - t|`, column by column where that ties, and flipped at once if simple in L for 4-connected
    cells and 8-connected membrane; this is repeated until a round flips nothing. Each remaining mismatch is then
    classified by the cells of L among its eight neighbours (merge, split, object or hole), and the error is

    .. math:: \min_t \frac{\text{merge pixels} + \text{split pixels}}{Z H W}

    A pixel between one cell and membrane whose removal leaves that cell in one piece within 20 pixels is a hole
    deletion rather than a split. The order of the visits is part of the definition: the transposed stack may
    score a little differently.

    A proposal without cells has no mergers, and splits only where a cell encloses membrane: all other cells shrink
    to single pixels, which are object deletions. So a map that never exceeds 0.9 has a warping error at or near 0
    at that threshold, however poor it is. The official implementation does the same. Where the two differ: it
    misclassifies the mismatches of a slice whose labels are all cell.

    References
    ----------
    V. Jain et al., Boundary learning by optimization with topological constraints, CVPR 2010,
    doi:10.1109/CVPR.2010.5539950.

    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    The proposal moves the border between two cells, which costs nothing, and opens it at one place.

    >>> import numpy as np
    >>> labels = np.array([[1, 1, 0, 1, 1]] * 4)
    >>> moved = np.array([[1, 0, 1, 1, 1]] * 4, float)
    >>> warping_error(labels, moved).value
    0.0
    >>> moved[2] = 1
    >>> result = warping_error(labels, moved)
    >>> result.value, result.merges.sum(), result.splits.sum()
    (0.05, np.int64(1), np.int64(0))
    """
    return evaluate([WARPING], labels, probability, progress, workers)[0]


def _simple_patterns():
    """Which of the 256 rings around a pixel make it simple; bit k is the pixel RING[k].

    For 4-connected foreground a pixel is simple if its crossing number (Yokoi, Toriwaki and Fukumura 1975,
    doi:10.1016/0146-664X(75)90005-X) is one: sum over the four sides k of x_k - x_k x_{k+1} x_{k+2}.
    """
    ring = (np.arange(256)[:, None] >> np.arange(8)) & 1
    following, second = np.roll(ring, -1, axis=1), np.roll(ring, -2, axis=1)
    return (ring - ring * following * second)[:, ::2].sum(axis=1) == 1


SIMPLE = _simple_patterns()


class Mismatches(NamedTuple):
    """What remains of one slice at one threshold after warping."""

    counts: np.ndarray  # (6,), in the order of MISMATCHES
    merges: np.ndarray  # flat indices
    splits: np.ndarray


def warp(cells: np.ndarray, probability: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Warp numbered cells (H, W) towards the proposal: the cells after it, padded by one pixel, and the rest.

    A simple point joins or leaves exactly one cell, so the numbers stay those of the connected components.
    """
    height, width = cells.shape
    differs = (cells > 0) != (probability > np.float64(threshold))
    x, y = np.divmod(np.flatnonzero(differs.T), height)  # column by column
    distance = np.abs(probability[y, x].astype(np.float64) - threshold).astype(np.float32)
    order = np.argsort(-distance, kind="stable")
    remaining = (y[order] + 1) * (width + 2) + x[order] + 1
    warped = np.pad(np.ascontiguousarray(cells), 1)  # _warp works on its flat view
    n_remaining = _warp(warped, remaining, np.ones(warped.shape, bool), RING[:, 0] * (width + 2) + RING[:, 1], SIMPLE)
    y, x = np.divmod(remaining[:n_remaining], width + 2)
    return warped, y - 1, x - 1


@compiled
def _warp(warped, remaining, changed, ring, simple):
    """Rounds over `remaining`, which keeps its order; only a pixel with a changed neighbourhood is tested again."""
    cells, changed = warped.ravel(), changed.ravel()
    n_remaining = len(remaining)
    while True:
        kept = 0
        for k in range(n_remaining):
            pixel = remaining[k]
            if changed[pixel]:
                changed[pixel] = False
                pattern = 0
                cell = 0
                for bit in range(8):
                    neighbour = cells[pixel + ring[bit]]
                    if neighbour > 0:
                        pattern |= 1 << bit
                        if bit % 2 == 0:  # the even ones share a side
                            cell = neighbour
                if simple[pattern]:
                    cells[pixel] = 0 if cells[pixel] > 0 else cell
                    for bit in range(8):
                        changed[pixel + ring[bit]] = True
                    continue
            remaining[kept] = pixel
            kept += 1
        if kept == n_remaining:
            return kept
        n_remaining = kept


def classify(warped: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Type of each remaining mismatch at (y, x), an index into MISMATCHES."""
    types = np.empty(len(y), np.int64)
    _classify(warped, y + 1, x + 1, RING, np.full(warped.shape, -1, np.int32), np.empty(warped.size, np.int64), types)
    return types


@compiled
def _classify(warped, ys, xs, ring, mark, stack, types):
    height, width = warped.shape[0] - 2, warped.shape[1] - 2
    whole = width < RADIUS or height < RADIUS
    ids = np.empty(8, np.int64)
    for k in range(len(ys)):
        y, x = ys[k], xs[k]
        n_ids = 0
        n_inside = 0
        for dy, dx in ring:
            v, u = y + dy, x + dx
            if 1 <= v <= height and 1 <= u <= width:
                n_inside += 1
                cell = warped[v, u]
                known = False
                for i in range(n_ids):
                    known = known or ids[i] == cell
                if not known:
                    ids[n_ids] = cell
                    n_ids += 1
        is_cell = warped[y, x] > 0
        if n_ids > 2:
            types[k] = SPLIT if is_cell else MERGE
        elif n_ids < 2:
            if n_ids == 0 or ids[0] == 0:
                types[k] = OBJECT_DELETION if is_cell else OBJECT_ADDITION
            else:
                types[k] = HOLE_ADDITION if is_cell else HOLE_DELETION
        elif not is_cell:
            types[k] = HOLE_ADDITION
        else:  # does its cell, without this pixel, fall apart in the window?
            top, bottom = (1, height) if whole else (max(y - RADIUS, 1), min(y + RADIUS, height))
            left, right = (1, width) if whole else (max(x - RADIUS, 1), min(x + RADIUS, width))
            mark[y, x] = k
            n_values = 0  # distinct components around the pixel, membrane and outside together one of them
            membrane = n_inside < 8
            for dy, dx in ring:
                v, u = y + dy, x + dx
                if warped[v, u] == 0:
                    membrane = True
                elif mark[v, u] != k:
                    n_values += 1
                    mark[v, u] = k
                    stack[0] = v * (width + 2) + u
                    n_stack = 1
                    while n_stack > 0:
                        n_stack -= 1
                        b, a = divmod(stack[n_stack], width + 2)
                        for step in range(0, 8, 2):
                            d, c = b + ring[step, 0], a + ring[step, 1]
                            if top <= d <= bottom and left <= c <= right and warped[d, c] > 0 and mark[d, c] != k:
                                mark[d, c] = k
                                stack[n_stack] = d * (width + 2) + c
                                n_stack += 1
            types[k] = SPLIT if n_values + membrane > 2 else HOLE_DELETION


def _measure(proposal):
    width = proposal.probability.shape[1]
    warped, y, x = warp(proposal.truth.cells, proposal.probability, proposal.threshold)
    types = classify(warped, y, x)
    pixels = (y * width + x).astype(np.int32)
    return Mismatches(np.bincount(types, minlength=len(MISMATCHES)), pixels[types == MERGE], pixels[types == SPLIT])


def _summarise(measured, thresholds, shape):
    n_slices, area = shape[0], shape[1] * shape[2]
    counts = np.array([[at.counts for at in one_slice] for one_slice in measured]).swapaxes(0, 1)  # (T, Z, 6)
    wrong = counts[..., MERGE] + counts[..., SPLIT]
    values = wrong.sum(axis=1) / (area * n_slices)
    classic_values = (counts.sum(axis=2) / area).mean(axis=1)
    best = int(np.argmin(values))
    merges, splits = np.zeros((2, n_slices, area), bool)
    for z, one_slice in enumerate(measured):
        merges[z, one_slice[best].merges] = True
        splits[z, one_slice[best].splits] = True
    return WarpingResult(
        value=float(values[best]),
        threshold=thresholds[best],
        classic=float(classic_values.min()),
        thresholds=np.array(thresholds),
        values=values,
        classic_values=classic_values,
        per_slice=wrong / area,
        counts=counts,
        merges=merges.reshape(shape),
        splits=splits.reshape(shape),
    )


WARPING = Metric(_measure, _summarise, n_thresholds=10)
