"""The weight map of Equation 2 (section 3): the loss must not miss the narrow gaps between cells.

The equation needs the distances to the nearest and the second nearest cell. The first is one SciPy
transform; the second an exact separable pass that keeps the two nearest distinct cells of every
pixel. Both cost what the area costs, however many cells there are. `cells_from_membranes` numbers
the cells of a membrane annotation. Neither distances nor map are smoothed or approximated.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from math import inf, log, prod, sqrt
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, label

from unet_paper.compiled import compiled
from unet_paper.config import WeightMapConfig
from unet_paper.errors import InputError, LabelWarning

NEGLIGIBLE = 1e-8  # a border term below this counts as zero, which bounds the search for the second cell
BLOCK = 1024  # pixels a side of the pieces in which large images are computed, for the processor's caches
SMALLEST, LARGEST = 1e-30, 1e30  # of numbers whose squares float64 holds, and float32 the larger itself
FEW = 0.25  # of neighbouring cell pixels have different labels: in label images below 3 %, in gray ones above 69 %


def unet_weight_map(
    labels: ArrayLike,
    *,
    w0: float = WeightMapConfig.w0,
    sigma: float = WeightMapConfig.sigma,
    class_weights: str | Sequence[float] | Mapping[int, float] | None = WeightMapConfig.class_weights,
    background_only: bool = WeightMapConfig.background_only,
    sampling: Sequence[float] | None = None,
) -> np.ndarray:
    r"""Weight of every pixel in the loss, Equation 2 of the U-Net paper.

    Parameters
    ----------
    labels : array_like of int, shape (H, W) or (Z, H, W)
        0 is background (membrane), any other number names a cell. Numbers may have gaps, and a cell
        may be in several pieces: of binary labels all cells are one, which `cells_from_membranes` numbers
        first. A 3-D array is one volume, with distances across its slices; for a
        stack of independent slices call once per slice:
        ``np.stack([unet_weight_map(cells) for cells in cells_from_membranes(stack)])``.
    w0 : float
        Height of the border term, at least 0.
    sigma : float
        Width of the border term, above 0; in pixels, or in the unit of `sampling`. Like all other numbers
        at most 1e30.
    class_weights : {"balanced", None}, pair or mapping
        The first term, w_c. "balanced" is the inverse class frequency
        ``n_pixels / (2 * n_pixels_of_class)``, so that both classes get the same total and a balanced
        image weights of 1; a class that is alone gets 1. ``(background, cell)`` or
        ``{0: background, 1: cell}`` are two weights of at least 0, whole or not. None leaves w_c out:
        the border term alone.
    background_only : bool
        Whether the border term is for background pixels only, as in the authors' later tool, or for
        pixels of cells too, where d1 is 0. Cells that touch without background between them have no
        border term unless this is False.
    sampling : sequence of float, optional
        Size of a pixel along each axis, above 0. By default 1.

    Returns
    -------
    ndarray of float32, shape of `labels`
        The weight of every pixel.

    Raises
    ------
    InputError
        If `labels` are not whole numbers of at least 0 in two or three dimensions, or an option is
        outside its range.

    Warns
    -----
    LabelWarning
        If the labels are one number in several pieces, or cells touch and `background_only` keeps the
        border term from them, or they touch only from slice to slice, or the labels look like a gray image.

    Notes
    -----
    .. math:: w(x) = w_c(x) + w_0 \exp\left(-\frac{(d_1(x) + d_2(x))^2}{2 \sigma^2}\right)

    where :math:`d_1` and :math:`d_2` are the Euclidean distances from x to the nearest pixel of the
    nearest and of the second nearest cell. With fewer than two cells the border term is zero. Border
    terms below 1e-8 are left out, all others are exact.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
       Segmentation", MICCAI 2015. :doi:`10.1007/978-3-319-24574-4_28`

    Examples
    --------
    d1 + d2 is 4 all over a gap of three pixels, and 2 in a gap of one:

    >>> unet_weight_map([[1, 0, 0, 0, 2, 0, 3]], class_weights=None).round(2)
    array([[0.  , 7.26, 7.26, 7.26, 0.  , 9.23, 0.  ]], dtype=float32)

    One pixel in four is background, so it weighs three times as much as a pixel of the only cell:

    >>> unet_weight_map([[7, 0], [7, 7]]).round(2)
    array([[0.67, 2.  ],
           [0.67, 0.67]], dtype=float32)
    """
    labels = _compact(_whole_numbers(labels))
    if not _is_number(w0, least=0):
        raise InputError(f"w0 is {w0!r}; it must be a number of 0 to {LARGEST:g}")
    if not _is_number(sigma, least=SMALLEST):
        raise InputError(f"sigma is {sigma!r}; it must be a positive number, {SMALLEST:g} to {LARGEST:g}")
    w0, sigma = float(w0), float(sigma)  # or a small integer or half float would compute in its own range
    steps = _steps(sampling, labels.ndim)
    weights = _class_weights(class_weights, labels)
    _warn_of_labels(labels, has_term_between_touching_cells=w0 == 0 or not background_only)
    for block, grown, inside in _blocks(labels.shape, steps, _reach(w0, sigma)):
        weights[block] += _border_term(labels[grown], w0, sigma, background_only, steps)[inside]
    return weights


def cells_from_membranes(labels: ArrayLike) -> np.ndarray:
    """Number the cells of a membrane annotation: the 4-connected components of every slice.

    Parameters
    ----------
    labels : array_like of int or bool, shape (H, W) or (Z, H, W)
        0 is membrane, any other number is cell.

    Returns
    -------
    ndarray of int32, shape of `labels`
        0 is membrane; the cells of every slice are numbered from 1, so that the same number in two
        slices means nothing: give `unet_weight_map` one slice at a time. Across slices nearly all cells of
        a volume would be one component.

    Raises
    ------
    InputError
        If `labels` are not whole numbers of at least 0 in two or three dimensions.

    Examples
    --------
    >>> cells_from_membranes([[255, 255, 0], [0, 0, 255]])
    array([[1, 1, 0],
           [0, 0, 2]], dtype=int32)
    """
    labels = _whole_numbers(labels)
    if labels.ndim == 2:
        return label(labels != 0, output=np.int32)[0]
    return np.stack([cells_from_membranes(slice_labels) for slice_labels in labels])


def balanced_class_weights(labels: np.ndarray) -> tuple[float, float]:
    """Inverse frequency of background and cells, ``n_pixels / (2 * n_pixels_of_class)`` (S2).

    Parameters
    ----------
    labels : ndarray of int or bool
        Of any shape, the training data set as a whole; 0 is background.

    Returns
    -------
    tuple of float
        Weight of a background and of a cell pixel; both 1 where a class is alone.

    Examples
    --------
    >>> balanced_class_weights(np.array([0, 1, 1, 2]))
    (2.0, 0.6666666666666666)
    """
    n_cells = int(np.count_nonzero(labels))
    counts = labels.size - n_cells, n_cells
    return tuple(labels.size / (2 * n) if 0 < n < labels.size else 1.0 for n in counts)


def _border_term(labels, w0, sigma, background_only, steps):
    """The second term of Equation 2."""
    background = labels == 0
    wanted = background if background_only else np.ones_like(background)
    d1 = distance_transform_edt(background, sampling=steps)
    d2 = _distance_to_second_cell(labels, steps, wanted, _reach(w0, sigma))
    return wanted * w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))


def _reach(w0, sigma):
    """The d1 + d2 at which the border term falls to NEGLIGIBLE."""
    return sigma * sqrt(2 * log(w0 / NEGLIGIBLE)) if w0 > NEGLIGIBLE else 0.0


def _blocks(shape, steps, reach):
    """Cut an array: yield each block, the block grown by `reach` on all sides, and the one's place in the other.

    A term that counts depends on nothing farther away than `reach`, so the grown block determines the block.
    """
    halo = [int(min(n, reach / step + 1)) for n, step in zip(shape, steps)]
    for start in product(*(range(0, n, BLOCK) for n in shape)):
        grown = tuple(slice(max(0, s - h), s + BLOCK + h) for s, h in zip(start, halo))
        inside = tuple(slice(s - g.start, s - g.start + BLOCK) for s, g in zip(start, grown))
        yield tuple(slice(s, s + BLOCK) for s in start), grown, inside


def _distance_to_second_cell(labels, steps, wanted, reach):
    """Distance from the `wanted` pixels to the second nearest cell, where that is at most `reach`; inf elsewhere.

    Separable like the distance transform itself: a squared distance is a sum over axes, so the pass along
    one axis works on the result of the passes before. The two nearest distinct cells of each pixel are
    enough to hand on, because a cell that is third there is never nearer than both of them elsewhere.
    """
    squared = np.full((*labels.shape, 2), inf)  # (..., 2): nearest, second nearest
    cells = np.zeros((*labels.shape, 2), np.int32)
    length = labels.shape[-1]
    _two_nearest_in_row(
        np.ascontiguousarray(labels).reshape(-1, length),
        steps[-1],
        squared.reshape(-1, length, 2),
        cells.reshape(-1, length, 2),
    )
    for axis in reversed(range(labels.ndim - 1)):
        lines = (prod(labels.shape[:axis]), labels.shape[axis], -1)  # before, along and after the axis
        needed = wanted if axis == 0 else np.ones_like(wanted)
        _two_nearest_along(
            steps[axis], reach * reach, needed.reshape(lines), squared.reshape(*lines, 2), cells.reshape(*lines, 2)
        )
    return np.sqrt(squared[..., 1])


@compiled
def _closer_two(d1, cell1, d2, cell2, d, cell):
    """The two nearest distinct cells, given two and a candidate that is nearer than the second."""
    if cell == cell1:
        return min(d, d1), cell1, d2, cell2
    if d < d1:
        return d, cell, d1, cell1
    return d1, cell1, d, cell


@compiled
def _two_nearest_in_row(labels, step, squared, cells):
    """First pass, along the last axis: one sweep each way that remembers the last two distinct cells seen."""
    rows, length = labels.shape
    for row in range(rows):
        for start, stop, way in ((0, length, 1), (length - 1, -1, -1)):
            last, last_at, other, other_at = 0, 0, 0, 0
            for i in range(start, stop, way):
                cell = labels[row, i]
                if cell != 0:
                    if cell != last:
                        other, other_at = last, last_at
                    last, last_at = cell, i
                d1, d2 = squared[row, i]
                cell1, cell2 = cells[row, i]
                for seen, at in ((last, last_at), (other, other_at)):
                    d = (step * (i - at)) ** 2
                    if seen != 0 and d < d2:
                        d1, cell1, d2, cell2 = _closer_two(d1, cell1, d2, cell2, d, seen)
                squared[row, i, 0], squared[row, i, 1] = d1, d2
                cells[row, i, 0], cells[row, i, 1] = cell1, cell2


@compiled
def _two_nearest_along(step, reach_squared, needed, squared, cells):
    """Every other pass: look outwards along the middle axis until the second nearest cell cannot get nearer."""
    n_before, length, n_after = needed.shape
    for a in range(n_before):
        for b in range(n_after):
            squared_line, cells_line = squared[a, :, b].copy(), cells[a, :, b].copy()  # (length, 2) each
            for i in range(length):
                if not needed[a, i, b]:
                    continue
                d1, d2 = squared_line[i]
                cell1, cell2 = cells_line[i]
                for offset in range(1, length):
                    along = (step * offset) ** 2
                    if along >= d2 or along > reach_squared:
                        break
                    for j in (i - offset, i + offset):
                        if 0 <= j < length:
                            for k in range(2):
                                d = along + squared_line[j, k]
                                if d < d2:
                                    d1, cell1, d2, cell2 = _closer_two(d1, cell1, d2, cell2, d, cells_line[j, k])
                squared[a, i, b] = d1, d2
                cells[a, i, b] = cell1, cell2


def _warn_of_labels(labels, *, has_term_between_touching_cells):
    """Warn of labels that are legal, but hardly what the caller means."""
    cells = labels[labels != 0]
    if cells.size and (cells == cells[0]).all():
        if label(labels != 0)[1] > 1:
            _warn(
                "the labels are one number in several pieces, which count as one cell: number them first, with "
                "cells_from_membranes"
            )
        return
    counts = [_touching(labels, axis) for axis in range(labels.ndim)]
    touching, pairs = np.sum(counts, axis=0)
    if touching > FEW * pairs:
        _warn(
            "most neighbouring pixels have different labels, as in a gray image; labels give all pixels of a cell one "
            "number"
        )
    elif touching and labels.ndim == 3 and touching == counts[0][0]:
        advice = "; of a volume, background_only=False (--everywhere) puts the border term on such cells as well"
        _warn(
            "cells touch only from slice to slice, as in a stack of independent slices: give those one by one"
            + ("" if has_term_between_touching_cells else advice)
        )
    elif touching and not has_term_between_touching_cells:
        _warn(
            "cells touch without background between them, where the border term is left out: "
            "background_only=False (--everywhere) puts it on the cells as well"
        )


def _touching(labels, axis):
    """How many neighbours along an axis are of different cells, and of how many both are of cells."""
    along = np.moveaxis(labels, axis, 0)
    here, there = along[:-1], along[1:]
    both = (here != 0) & (there != 0)
    return np.count_nonzero(both & (here != there)), np.count_nonzero(both)


def _warn(text):
    warnings.warn(text, LabelWarning, stacklevel=4)  # at the caller of unet_weight_map


def _is_number(value, least):
    value = value.item() if isinstance(value, np.generic) else value  # or the limits would overflow in its type
    return isinstance(value, Real) and least <= value <= LARGEST


def _whole_numbers(labels):
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3) or labels.size == 0:
        raise InputError(f"labels have the shape {labels.shape}; they must be (H, W) or (Z, H, W), and not empty")
    if labels.dtype.kind not in "biuf":
        raise InputError(f"labels are of the type {labels.dtype}; they must be whole numbers")
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
        raise InputError("labels hold fractions, NaN or infinity; they must be whole numbers")
    if labels.min() < 0:
        raise InputError(f"labels hold {labels.min()}; they must be at least 0 (0 is background)")
    return labels


def _compact(labels):
    """The same cells in int32, renumbered only if their numbers do not fit."""
    if labels.max() > np.iinfo(np.int32).max:
        numbers, labels = np.unique(labels, return_inverse=True)
        labels = labels + (numbers[0] != 0)
    return labels.astype(np.int32, copy=False)


def _class_weights(class_weights, labels):
    """w_c of every pixel, float32."""
    background = labels == 0
    if class_weights is None:
        pair = 0.0, 0.0
    elif isinstance(class_weights, str) and class_weights == "balanced":
        pair = balanced_class_weights(labels)
    elif isinstance(class_weights, Mapping):
        pair = tuple(class_weights[key] for key in (0, 1)) if set(class_weights) == {0, 1} else ()
    else:
        pair = tuple(class_weights) if isinstance(class_weights, Iterable) else ()
    if len(pair) != 2 or not all(_is_number(weight, least=0) for weight in pair):
        raise InputError(
            f"class_weights is {class_weights!r}; it must be 'balanced', None, (background, cell) or "
            f"{{0: background, 1: cell}} with two numbers of 0 to {LARGEST:g}"
        )
    return np.where(background, *np.float32(pair))


def _steps(sampling, ndim):
    """Size of a pixel along each axis as floats."""
    if sampling is None:
        return (1.0,) * ndim
    steps = tuple(sampling) if isinstance(sampling, Iterable) else ()
    if len(steps) != ndim or not all(_is_number(step, least=SMALLEST) for step in steps):
        raise InputError(
            f"sampling is {sampling!r}; it must be {ndim} numbers, one for each axis, of {SMALLEST:g} to {LARGEST:g}"
        )
    return tuple(float(step) for step in steps)
