"""Segmentation (sections 2 and 4): stacks through a trained network, averaged over rotated versions.

Every slice is segmented by overlap-tile. The paper averages "7 rotated versions of the input data"; the
default here are the eight symmetries of the square, which need no interpolation (D3). Probabilities
are averaged, after the softmax (S12). Trained weights are kept as safetensors with their metadata.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unet_paper.elastic import resample, tile_coordinates
from unet_paper.errors import InputError
from unet_paper.files import atomic_write, make_folder
from unet_paper.model import UNet
from unet_paper.overlap_tile import predict_overlap_tile

ROTATIONS = ("none", "eight", "seven")
METADATA = "unet_paper"  # key of the JSON metadata in a weights file
CELL = 1  # channel of the cell class, S10


def choose_device(name):
    """The device "auto", "cpu" or "cuda" stands for; `InputError` if there is no such device.

    Examples
    --------
    >>> choose_device("cpu")
    'cpu'
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch finds none here; legal: cpu, auto")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def predict_stack(
    model,
    images,
    *,
    mean,
    std,
    rotations="eight",
    device="cpu",
    precision="bfloat16",
    tile=516,
    stride=512,
    depth=4,
    margin=None,
    padding="reflect",
    progress=None,
):
    """Probability of cell for every pixel of a stack.

    Parameters
    ----------
    model : Module
        Maps (1, 1, h, w) to logits (1, 2, h - 2 margin, w - 2 margin); left in evaluation mode, on `device`.
    images : ndarray, float32, (Z, H, W)
        Gray values in [0, 1].
    mean, std : float
        Of the images the network was trained on.
    rotations : {"eight", "seven", "none"}
        Average over the eight symmetries of the square, over 7 rotations by k * 360/7 degrees, or no average.
    device : str
    precision : {"bfloat16", "float32"}
        Of the network; the softmax and the average are float32.
    tile, stride, depth, margin, padding
        As in `unet_paper.overlap_tile.predict_overlap_tile`; by default one tile covers a 512 x 512 slice.
    progress : callable, optional
        Wraps the iterator over slices and is called as ``progress(iterator, total=Z)``, for example ``tqdm.tqdm``.

    Returns
    -------
    ndarray, float32, (Z, H, W)
        Probability of cell, in [0, 1].

    Raises
    ------
    InputError
        If an argument is illegal.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), sections 2 and 4, doi:10.1007/978-3-319-24574-4_28.

    Examples
    --------
    >>> model = UNet(base_channels=2)
    >>> predict_stack(model, np.zeros((1, 30, 40), np.float32), mean=0.5, std=0.1, tile=20, stride=16).shape
    (1, 30, 40)
    """
    if rotations not in ROTATIONS:
        raise InputError(f"rotations {rotations!r} is not one of {', '.join(ROTATIONS)}")
    if precision not in ("bfloat16", "float32"):
        raise InputError(f"precision {precision!r} is not one of bfloat16, float32")
    if not std > 0:
        raise InputError(f"std {std} is not positive")
    images = np.asarray(images)
    if images.ndim != 3 or images.size == 0:
        raise InputError(f"the images have shape {images.shape}; legal: (Z, H, W), not empty")
    model = model.to(device, memory_format=torch.channels_last).eval()
    kind = torch.device(device).type

    def network(piece):
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = model(piece.contiguous(memory_format=torch.channels_last))
        return logits.float().softmax(1)[:, CELL : CELL + 1]

    def segment(image):  # (H, W) to (H, W)
        return predict_overlap_tile(
            network, image, tile=tile, stride=stride, depth=depth, margin=margin, padding=padding
        )[0]

    average = {"none": lambda f, image: f(image), "eight": average_of_eight, "seven": average_of_seven}[rotations]
    planes = range(len(images))
    result = np.empty(images.shape, np.float32)
    with torch.inference_mode():
        for z in planes if progress is None else progress(planes, total=len(images)):
            image = torch.as_tensor((images[z] - mean) / std, dtype=torch.float32, device=device)
            result[z] = average(segment, image).clamp(0, 1).cpu().numpy()
    return result


def average_of_eight(segment, image):
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


def average_of_seven(segment, image):
    """Mean of ``segment`` over `image` (H, W) rotated by k * 360/7 degrees, rotated back.

    The rotated image is resampled cubically on a canvas that holds all of it, mirrored beyond its
    border; its segmentation is rotated back linearly.

    Examples
    --------
    >>> image = torch.full((5, 4), 2.0)
    >>> torch.allclose(average_of_seven(lambda x: x, image), image)
    True
    """
    height, width = image.shape
    total = segment(image).clone()
    for k in range(1, 7):
        angle = 2 * math.pi * k / 7
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        canvas = math.ceil(height * cos + width * sin) + 2, math.ceil(height * sin + width * cos) + 2
        turned = rotate(image, angle, canvas, "cubic")
        total += rotate(segment(turned), -angle, (height, width), "linear")
    return total / 7


def rotate(image, angle, size, mode):
    """Rotate `image` (H, W) about its centre by `angle` radians onto a canvas of `size` with the same centre."""
    centre = [[(side - 1) / 2 for side in image.shape]]
    still = torch.zeros(1, 2, *size, device=image.device)
    turn = torch.tensor([angle], dtype=torch.float32, device=image.device)
    at = tile_coordinates(torch.tensor(centre, device=image.device), turn, still)
    return resample(image[None, None], at, mode)[0, 0]


def save_weights(path, model, metadata):
    """Write the weights of `model` with `metadata` as safetensors, atomically.

    Parameters
    ----------
    path : path
        The file to write; its folder is made if need be.
    model : Module
    metadata : dict
        JSON-able. `load_weights` and the commands need ``image_mean`` and ``image_std``; the sizes of a
        `UNet` are added as ``network``.
    """
    path = Path(path)
    if type(model) is UNet:  # a variant would come back as the paper's network
        metadata = {"network": asdict(model.config), **metadata}
    state = {name: value.cpu() for name, value in model.state_dict().items()}
    tensors = {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    make_folder(path.parent)
    with atomic_write(path, failures=(OSError, SafetensorError)) as temporary:
        save_file(tensors, temporary, {METADATA: json.dumps(metadata)})


def read_weights(path, model=None):
    """Read a weights file, into `model` if one is given; returns its metadata and the tensors by name.

    Raises `InputError` if the file is missing, no safetensors, has no metadata, or does not fit `model`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; a weights file (.safetensors) is needed")
    try:
        with safe_open(path, "pt") as file:
            metadata = (file.metadata() or {}).get(METADATA)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from error
    try:
        metadata = json.loads(metadata or "")
        numbers = [float(metadata[key]) for key in ("image_mean", "image_std")]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} lacks the metadata that save_weights writes: image_mean, image_std") from error
    if not (all(map(math.isfinite, numbers)) and numbers[1] > 0):
        raise InputError(f"{path} has image_mean and image_std {numbers}; they must be finite, the second positive")
    if model is not None:
        check_shapes(path, tensors, model.state_dict())
        model.load_state_dict(tensors)
    return metadata, tensors


def check_shapes(path, have, want):
    """Raise `InputError` naming the first tensor of `have` that is not as in `want`."""
    for name in sorted(have.keys() | want.keys()):
        there, needed = (str(list(t[name].shape)) if name in t else "absent" for t in (have, want))
        if there != needed:
            raise InputError(f"{path} does not fit the network: {name} is {there}, needed: {needed}")


def load_weights(path):
    """Read a `UNet` and its metadata from a weights file.

    Parameters
    ----------
    path : path

    Returns
    -------
    model : UNet
        On the CPU, in evaluation mode.
    metadata : dict
        With ``image_mean`` and ``image_std``.

    Raises
    ------
    InputError
        If the file is missing, no safetensors, has no metadata, or holds another network than it says.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save_weights(path, UNet(base_channels=2), {"image_mean": 0.5, "image_std": 0.2})
    >>> model, metadata = load_weights(path)
    >>> model.config.base_channels, metadata["image_mean"]
    (2, 0.5)
    """
    metadata, tensors = read_weights(path)
    try:
        with torch.device("meta"):
            model = UNet(**metadata["network"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold a U-Net of this program: its metadata has no sizes of one") from error
    check_shapes(path, tensors, model.state_dict())
    model.load_state_dict(tensors, assign=True)
    return model.eval(), metadata
