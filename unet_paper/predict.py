"""Segmentation (sections 1 and 4): stacks through a trained network, averaged over rotated versions.

Every slice is segmented by overlap-tile. The paper averages "7 rotated versions of the input data"; the
default here are the eight symmetries of the square, which need no interpolation (D3). Probabilities
are averaged, after the softmax (S12).
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from unet_paper.config import ROTATIONS
from unet_paper.device import PRECISIONS, choose_device, choose_precision, keep_freed_memory
from unet_paper.elastic import resample, tile_coordinates
from unet_paper.errors import InputError
from unet_paper.overlap_tile import count_tiles, predict_overlap_tile
from unet_paper.tiff import check_gray_values

SEVENTHS = [2 * math.pi * k / 7 for k in range(7)]  # radians
CELL = 1  # channel of the cell class, S10


def predict_stack(
    model: torch.nn.Module,
    images: np.ndarray,
    *,
    mean: float,
    std: float,
    rotations: str = "eight",
    device: str = "cpu",
    precision: str | None = None,
    tile: int = 516,
    stride: int = 512,
    depth: int = 4,
    margin: int | None = None,
    padding: str = "reflect",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Probability of cell for every pixel of a stack.

    Parameters
    ----------
    model : Module
        Maps (1, 1, h, w) to logits (1, 2, h - 2 margin, w - 2 margin); left in evaluation mode, on `device`.
    images : ndarray, float32, (Z, H, W)
        Gray values in [0, 1].
    mean, std : float
        Of the images the network was trained on, in [0, 1] as `images`.
    rotations : {"eight", "seven", "none"}
        Average over the eight symmetries of the square, over 7 rotations by k * 360/7 degrees, or no average.
    device : str
        As PyTorch names it: "cpu", "cuda", "cuda:1"; or "auto".
    precision : {"bfloat16", "float32"}, optional
        Of the network; the softmax and the average are float32. By default the one that is fast on `device`.
    tile, stride, depth, margin, padding
        As in `unet_paper.overlap_tile.predict_overlap_tile`; by default one tile covers a 512 x 512 slice.
    progress : callable, optional
        Called as ``progress(done, total)`` after each tile, of all slices and rotations; so not as that of the metrics.

    Returns
    -------
    ndarray, float32, (Z, H, W)
        Probability of cell, in [0, 1].

    Raises
    ------
    InputError
        If an argument is illegal.

    Notes
    -----
    `model` is moved to the memory format ``channels_last``. On Linux the process keeps the memory that it frees from
    then on, as `unet_paper.device.keep_freed_memory` says.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), sections 1 and 4, doi:10.1007/978-3-319-24574-4_28.

    Examples
    --------
    >>> from unet_paper.model import UNet
    >>> model = UNet(base_channels=2)
    >>> predict_stack(model, np.zeros((1, 30, 40), np.float32), mean=0.5, std=0.1, tile=20, stride=16).shape
    (1, 30, 40)
    """
    if rotations not in ROTATIONS:
        raise InputError(f"rotations is {rotations!r}; it must be one of {', '.join(ROTATIONS)}")
    device = choose_device(device) if device == "auto" else device
    precision = precision or choose_precision(device)
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if not (0 <= mean <= 1 and 0 < std <= 1):
        raise InputError(f"mean and std are {mean} and {std}; they must be in [0, 1] as the images, the second above 0")
    images = np.asarray(images)
    if images.ndim != 3 or images.size == 0:
        raise InputError(f"the images have shape {images.shape}; it must be (Z, H, W), not empty")
    check_gray_values(images, "the images")
    keep_freed_memory(device)
    model = model.to(device, memory_format=torch.channels_last).eval()
    done, total = 0, len(images) * sum(count_tiles(view, tile, stride) for view in views(images.shape[1:], rotations))

    def network(piece):
        nonlocal done
        result = cell_probability(model, piece, precision)
        done += 1
        if progress is not None:
            progress(done, total)
        return result

    def segment(image):  # (H, W) to (H, W)
        return predict_overlap_tile(
            network, image, tile=tile, stride=stride, depth=depth, margin=margin, padding=padding
        )[0]

    average = {"none": lambda f, image: f(image), "eight": average_of_eight, "seven": average_of_seven}[rotations]
    result = np.empty(images.shape, np.float32)
    with torch.inference_mode():
        for z in range(len(images)):
            image = torch.as_tensor((images[z] - mean) / std, dtype=torch.float32, device=device)
            result[z] = average(segment, image).clamp(0, 1).cpu().numpy()
    return result


def cell_probability(model: torch.nn.Module, piece: torch.Tensor, precision: str) -> torch.Tensor:
    """Probability of cell (1, 1, h, w), float32, of what `model` gives to a piece (1, 1, H, W)."""
    with torch.autocast(piece.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        logits = model(piece.contiguous(memory_format=torch.channels_last))
    if logits.shape[1] != 2:
        raise InputError(f"the network has {logits.shape[1]} classes; it must have 2, membrane and cell")
    return logits.float().softmax(1)[:, CELL : CELL + 1]


def views(size: tuple[int, int], rotations: str) -> list[tuple[int, int]]:
    """Sides (H, W) of each version of an image of `size` that the average needs.

    Examples
    --------
    >>> views((512, 300), "none"), views((512, 300), "eight").count((300, 512)), len(views((512, 300), "seven"))
    ([(512, 300)], 4, 7)
    """
    turned = {"none": [size], "eight": [size, size[::-1]] * 4, "seven": [canvas(size, angle) for angle in SEVENTHS]}
    return turned[rotations]


def canvas(size: tuple[int, int], angle: float) -> tuple[int, int]:
    """Sides of the canvas that holds all of an image of `size` rotated by `angle` radians.

    Examples
    --------
    >>> canvas((100, 50), 0.0), canvas((100, 50), math.pi / 2)
    ((100, 50), (53, 102))
    """
    if angle == 0:
        return size
    (height, width), cos, sin = size, abs(math.cos(angle)), abs(math.sin(angle))
    return math.ceil(height * cos + width * sin) + 2, math.ceil(height * sin + width * cos) + 2


def average_of_eight(segment: Callable, image: torch.Tensor) -> torch.Tensor:
    """Mean of ``segment`` over the four quarter turns of `image` (H, W) and of its mirror image, turned back.

    Examples
    --------
    >>> image = torch.arange(6.0).view(2, 3)
    >>> torch.equal(average_of_eight(lambda x: x, image), image)
    True
    """
    total = torch.zeros_like(image)
    for turns in range(4):
        total += torch.rot90(segment(torch.rot90(image, turns)), -turns)
        total += torch.rot90(segment(torch.rot90(image, turns).flip(1)).flip(1), -turns)
    return total / 8


def average_of_seven(segment: Callable, image: torch.Tensor) -> torch.Tensor:
    """Mean of ``segment`` over `image` (H, W) rotated by k * 360/7 degrees, rotated back.

    The rotated image is resampled cubically on a canvas that holds all of it, mirrored beyond its
    border; its segmentation is rotated back linearly.

    Examples
    --------
    >>> image = torch.full((5, 4), 2.0)
    >>> torch.allclose(average_of_seven(lambda x: x, image), image)
    True
    """
    total = segment(image).clone()
    for angle in SEVENTHS[1:]:
        turned = rotate(image, angle, canvas(image.shape, angle), "cubic")
        total += rotate(segment(turned), -angle, image.shape, "linear")
    return total / 7


def rotate(image: torch.Tensor, angle: float, size: tuple[int, int], mode: str) -> torch.Tensor:
    """Rotate `image` (H, W) about its centre by `angle` radians onto a canvas of `size` with the same centre."""
    centre = [[(side - 1) / 2 for side in image.shape]]
    still = torch.zeros(1, 2, *size, device=image.device)
    turn = torch.tensor([angle], dtype=torch.float32, device=image.device)
    at = tile_coordinates(torch.tensor(centre, device=image.device), turn, still)
    return resample(image[None, None], at, mode)[0, 0]
