"""Prediction (sections 2 and 3.1): a stack through a trained network, and weights in files.

Each slice is normalised, predicted by overlap-tile in several rotated versions, rotated back and
averaged as probabilities. Which seven rotations the paper means is not said (S12): ``eight`` takes
the exact symmetries of the square, ``seven`` the multiples of 360/7 degrees, ``none`` the slice alone.
"""

import itertools
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from unet_paper import shapes
from unet_paper.elastic import resample, tile_coordinates
from unet_paper.errors import InputError
from unet_paper.files import atomic_write
from unet_paper.model import UNet, centre_crop
from unet_paper.overlap_tile import check_tile, predict_overlap_tile

ROTATIONS = ("none", "eight", "seven")
PRECISIONS = ("bfloat16", "float32")
CUDA_BATCH = 8  # versions of a slice that go through the network at once
METADATA = "unet_paper"  # key of the JSON text in a weights file


def choose_device(name="auto"):
    """Name of the torch device for "auto", "cpu" or "cuda"; "auto" takes CUDA where there is one.

    Raises
    ------
    InputError
        If the name is another, or CUDA is asked for and absent.

    Examples
    --------
    >>> choose_device("cpu")
    'cpu'
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda is not available on this machine; legal here: auto, cpu")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def cell_probability(logits):
    """Softmax probability of class 1, cell.

    Parameters
    ----------
    logits : Tensor, (N, 2, h, w)

    Returns
    -------
    Tensor, float32, (N, h, w)
        0 = membrane, 1 = cell.

    Examples
    --------
    >>> cell_probability(torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)).tolist()
    [[[0.75]]]
    """
    return torch.softmax(logits.float(), dim=1)[:, 1]


def predict_stack(
    model,
    images,
    *,
    mean,
    std,
    rotations="eight",
    tile=516,
    depth=4,
    margin=None,
    padding="reflect",
    probability=cell_probability,
    device="cpu",
    precision="bfloat16",
    batch=None,
    progress=None,
):
    """Probability of cell for every pixel of a stack.

    Parameters
    ----------
    model : Module
        Moved to `device` and set to evaluation mode.
    images : ndarray, float, (Z, H, W)
        Gray values in [0, 1].
    mean, std : float
        The network sees ``(images - mean) / std``.
    rotations : {"eight", "seven", "none"}
        Versions of each slice whose probabilities are averaged.
    tile : int
        Largest output side of a tile, in pixels; slices that need less get the smallest legal tile.
    depth, margin, padding
        As in `predict_overlap_tile`. For a network whose output is as large as its input, `margin`
        is the context that is cut off; `tile` is then taken as it is.
    probability : callable
        Maps what the network returns to (N, h, w) float32 in [0, 1].
    device : str
    precision : {"bfloat16", "float32"}
        Of the network; probabilities and their average are float32.
    batch : int, optional
        Versions that go through the network at once: by default 8 on CUDA, 1 on the CPU.
    progress : callable, optional
        Called as ``progress(done, total)`` after every slice.

    Returns
    -------
    ndarray, float32, (Z, H, W)
        0 = membrane, 1 = cell.

    Raises
    ------
    InputError
        If an argument is illegal or a slice is not finite.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), sections 2 and 4, doi:10.1007/978-3-319-24574-4_28.

    Examples
    --------
    >>> model = UNet(base_channels=1)
    >>> _ = torch.nn.init.zeros_(model.score.weight)  # both classes are then equally likely
    >>> predict_stack(model, np.ones((1, 2, 3)), mean=0.5, std=0.25).tolist()
    [[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]]
    """
    images = np.asarray(images)
    if images.ndim != 3 or 0 in images.shape:
        raise InputError(f"the stack has shape {images.shape}; legal: (Z, H, W), not empty")
    for name, value, legal in (("rotations", rotations, ROTATIONS), ("precision", precision, PRECISIONS)):
        if value not in legal:
            raise InputError(f"{name} {value!r} is not one of {', '.join(legal)}")
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise InputError(f"mean {mean} and standard deviation {std} must be finite, the latter positive")
    if margin is None:
        check_tile(tile, depth)
    batch = batch or (CUDA_BATCH if torch.device(device).type == "cuda" else 1)
    model = model.to(device, memory_format=torch.channels_last).eval()

    def predict_slice(image):  # (H, W)
        versions = [(forward(image), backward) for forward, backward in _versions(rotations, image.shape)]
        total = torch.zeros_like(image)
        for _, alike in itertools.groupby(versions, key=lambda version: version[0].shape):
            for chunk in itertools.batched_(alike, batch):
                maps = predict_versions(torch.stack([version for version, _ in chunk]))
                for (_, backward), version_map in zip(chunk, maps):
                    total += backward(version_map)
        return total / len(versions)

    def predict_versions(versions):  # (V, H, W): rotated versions of one slice travel as channels
        side = tile if margin is not None else min(tile, _smallest_tile(max(versions.shape), depth))

        def predict(x):  # (1, V, h, w)
            with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bfloat16"):
                output = model(x[0][:, None].contiguous(memory_format=torch.channels_last))  # (V, 2, h - 184, w - 184)
            return centre_crop(probability(output), (side, side))[None]

        stride = side - side % shapes.period(depth) or side
        return predict_overlap_tile(
            predict, versions, tile=side, stride=stride, depth=depth, margin=margin, padding=padding
        )

    result = np.empty(images.shape, np.float32)
    with torch.inference_mode():
        for done, image in enumerate(images, 1):
            normalised = (torch.tensor(image, dtype=torch.float32, device=device) - mean) / std
            result[done - 1] = predict_slice(normalised).cpu().numpy()
            if progress is not None:
                progress(done, len(images))
    return result
