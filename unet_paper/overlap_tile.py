"""Overlap-tile (section 1, Figure 2): seamless segmentation of images of any size, tile by tile.

Valid convolutions return less than they see, so every tile is given the context its output needs;
where the image ends, the context is the mirrored image (S11). Tiles are gathered by mirrored indices:
no padded copy of the image is made, and memory beyond the result is that of one tile.
A network with four poolings repeats itself only under shifts of 16 px, so tiles agree exactly with
one pass over the whole image when the stride is a multiple of 16; abutting 388-px tiles do not.
"""

import itertools
import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from unet_paper import shapes
from unet_paper.errors import InputError

PADDINGS = ("reflect", "zero")
Array = TypeVar("Array", np.ndarray, torch.Tensor)


def predict_overlap_tile(
    predict: Callable[[Array], Array],
    image: Array,
    *,
    tile: int = 388,
    stride: int = 384,
    depth: int = 4,
    margin: int | None = None,
    padding: str = "reflect",
) -> Array:
    """Apply `predict` to overlapping tiles of an image and stitch what it returns.

    Parameters
    ----------
    predict : callable
        Maps (1, C_in, tile + 2 * margin, tile + 2 * margin) float32 to (1, C, tile, tile): a NumPy
        array to a NumPy array if `image` is one, a tensor to a tensor on the same device otherwise.
        Called once a tile, without gradients; a network belongs in evaluation mode.
    image : ndarray or Tensor, real, (H, W) or (C_in, H, W)
        Any size of at least 1 x 1.
    tile : int
        Output side of a tile, in pixels; for the network of the paper 16 * k + 4.
    stride : int
        Distance of neighbouring tiles, in pixels, 1 to `tile`. A multiple of ``2**depth`` makes the
        result equal to one pass over the whole image.
    depth : int
        Number of poolings, which determines margin and legal tile sides.
    margin : int, optional
        Pixels of context on each side that `predict` is given and does not return. By default
        those of the U-Net, 92 for `depth` 4. If given, any `tile` is accepted here.
    padding : {"reflect", "zero"}
        Beyond the image: mirrored, without repeating the edge pixel, or zeros.

    Returns
    -------
    ndarray or Tensor, dtype of the prediction, (C, H, W)

    Raises
    ------
    InputError
        If an argument is illegal, the image is empty or not finite, or `predict` returns another
        shape.

    Notes
    -----
    Tiles start at multiples of `stride` from the upper left corner and all have the same shape; what
    lies beyond the image is cut off. Each pixel comes from exactly one tile: the last one, along both
    axes, that starts at or before it, except that the last tile needed to reach the border is the
    last there is.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), section 1, doi:10.1007/978-3-319-24574-4_28.

    Examples
    --------
    A predictor that returns the centre of what it sees gives back the image:

    >>> image = np.arange(12.0).reshape(3, 4)
    >>> def centre(x):
    ...     return x[:, :, 92:-92, 92:-92]
    >>> np.array_equal(predict_overlap_tile(centre, image, tile=20, stride=16)[0], image)
    True

    The pixel to the right of each one, mirrored at the border:

    >>> predict_overlap_tile(lambda x: x[:, :, 1:-1, 2:], image[:1], tile=2, stride=2, margin=1)
    array([[[1., 2., 3., 2.]]], dtype=float32)
    """
    if margin is None:
        check_tile(tile, depth)
        margin = shapes.context(depth)
    elif margin < 0 or tile < 1:
        raise InputError(f"margin {margin} and tile side {tile} must be at least 0 and 1")
    if padding not in PADDINGS:
        raise InputError(f"padding {padding!r} is not one of {', '.join(PADDINGS)}")
    image = _check_image(image)
    result = None
    with torch.no_grad():
        for (top, bottom), (left, right) in itertools.product(*(_spans(n, tile, stride) for n in image.shape[1:])):
            piece = _gather(image, top - margin, left - margin, tile + 2 * margin, padding)
            prediction = _check_prediction(predict(piece), image, tile, result)
            if result is None:
                result = _empty(prediction, (prediction.shape[1], *image.shape[1:]))
            result[:, top:bottom, left:right] = prediction[0, :, : bottom - top, : right - left]
    return result


def check_tile(tile: int, depth: int = 4) -> None:
    """Raise `InputError` naming the nearest legal output sides when the network has none of `tile` pixels.

    Examples
    --------
    >>> check_tile(388)
    >>> check_tile(512)
    Traceback (most recent call last):
    ...
    unet_paper.errors.InputError: tile side 512 is not 16*k + 4; nearest legal output sides: 500, 516
    """
    lost, period = 2 * shapes.context(depth), shapes.period(depth)
    if shapes.is_legal_input_size(tile + lost, depth):
        return
    above = shapes.input_size_for(tile, depth) - lost
    nearest = ", ".join(str(side) for side in (above - period, above) if side > 0)
    raise InputError(f"tile side {tile} is not {period}*k + {above % period}; nearest legal output sides: {nearest}")


def count_tiles(size: tuple[int, int], tile: int, stride: int) -> int:
    """How many tiles an image of `size` (H, W) takes.

    Examples
    --------
    >>> count_tiles((512, 513), 512, 512), count_tiles((100, 100), 388, 384)
    (2, 1)
    """
    return math.prod(len(_spans(side, tile, stride)) for side in size)


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Fold whole-number positions into 0 to ``size - 1``, mirrored at the first and the last as often as needed.

    Examples
    --------
    >>> mirrored(np.arange(-4, 7), 3).tolist()
    [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    >>> mirrored(np.arange(-2, 3), 1).tolist()
    [0, 0, 0, 0, 0]
    """
    period = max(2 * (size - 1), 1)
    index = index % period
    return np.minimum(index, period - index)


def _spans(size, tile, stride):
    """First and past-the-last pixel that each tile along an axis contributes."""
    if not 1 <= stride <= tile:
        raise InputError(f"stride {stride} is not in 1 to {tile}, the tile side")
    count = max(math.ceil((size - tile) / stride), 0) + 1
    starts = [i * stride for i in range(count)]
    return list(zip(starts, [*starts[1:], size]))


def _gather(image, top, left, side, padding):
    """The square of the image, (1, C_in, side, side) float32, with its surroundings."""
    height, width = image.shape[1:]
    rows = mirrored(np.arange(top, top + side), height)[:, None]
    columns = mirrored(np.arange(left, left + side), width)
    if isinstance(image, torch.Tensor):
        rows, columns = (torch.from_numpy(index).to(image.device) for index in (rows, columns))
        piece = image[:, rows, columns].float()
    else:
        piece = image[:, rows, columns].astype(np.float32, copy=False)
    if padding == "zero":
        piece[:, : max(-top, 0)] = 0
        piece[:, max(height - top, 0) :] = 0
        piece[:, :, : max(-left, 0)] = 0
        piece[:, :, max(width - left, 0) :] = 0
    return piece[None]


def _check_image(image):
    """The image as (C_in, H, W) of the kind it came."""
    if not isinstance(image, np.ndarray | torch.Tensor):
        raise InputError(f"the image is a {type(image).__name__}; it must be a NumPy array or a torch tensor")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(f"the image has shape {tuple(image.shape)}; it must be (H, W) or (C, H, W), not empty")
    if not all(math.isfinite(extreme) for extreme in (image.min(), image.max())):  # NaN passes through both
        raise InputError("the image has pixels that are NaN or infinite; all must be finite")
    return image if image.ndim == 3 else image[None]


def _check_prediction(prediction, image, tile, result):
    """What `predict` returned, if it is of the image's kind and of the shape that was asked for."""
    kind = torch.Tensor if isinstance(image, torch.Tensor) else np.ndarray
    if not isinstance(prediction, kind):
        raise InputError(f"predict returned a {type(prediction).__name__} for a {kind.__name__}")
    channels = "C" if result is None else result.shape[0]
    right = prediction.ndim == 4 and (1, tile, tile) == (prediction.shape[0], *prediction.shape[2:])
    if not right or channels not in ("C", prediction.shape[1]):
        raise InputError(f"predict returned shape {tuple(prediction.shape)} instead of (1, {channels}, {tile}, {tile})")
    return prediction


def _empty(like, shape):
    """Uninitialised array of the kind, dtype and device of `like`."""
    return like.new_empty(shape) if isinstance(like, torch.Tensor) else np.empty(shape, like.dtype)
