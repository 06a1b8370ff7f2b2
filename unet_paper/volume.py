"""Segmentation of volumes that do not fit in memory, block by block, on one worker or many.

The result is that of `unet_paper.predict.predict_stack` in steps of 1/255. A block is one chunk of the output; it
is computed from a window around it, mirrored where the slice ends. A network repeats itself only under shifts
of ``2**depth`` pixels, and the grid of its poolings hangs on the first row and column of what it is given. When a
slice is turned these are other borders, so the window is chosen such that every turn meets the grid it has in
the whole slice.
"""

import hashlib
import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from unet_paper import shapes
from unet_paper.checkpoint import differences, load_weights
from unet_paper.device import DEVICES, PRECISIONS, choose_device, choose_precision, keep_freed_memory
from unet_paper.engine import run_tasks
from unet_paper.errors import InputError
from unet_paper.files import check_folder, locked
from unet_paper.model import UNet
from unet_paper.overlap_tile import mirrored
from unet_paper.predict import average_of_eight, cell_probability
from unet_paper.trained import voxel_size_note
from unet_paper.volume_io import (
    Volume,
    create_output,
    fingerprint,
    missing_blocks,
    open_output,
    open_volume,
    read_manifest,
    sample,
)

ROTATIONS = ("none", "eight")
BLOCK = 512  # pixels; the stride of `predict_stack`


@dataclass(frozen=True)
class Job:
    """What a worker needs to know to compute any block."""

    source: str
    input_sha256: str
    out: str
    weights: str
    weights_sha256: str
    rotations: str
    device: str
    precision: str
    block: int
    full_range: float


def predict_volume(
    source: str | Path,
    out: str | Path,
    weights: str | Path,
    *,
    rotations: str = "eight",
    full_range: float | None = None,
    device: str = "auto",
    precision: str | None = None,
    connect: Callable = nullcontext,
    note: Callable[[str], None] | None = None,
    inspect: Callable | None = None,
    block: int = BLOCK,
) -> None:
    """Write the probability of cell of a volume as OME-Zarr 0.5, uint8 in steps of 1/255; continue if it was begun.

    Parameters
    ----------
    source : path-like
        As in `unet_paper.volume_io.open_volume`.
    out : path
        Folder to make, in a folder that exists.
    weights : path
        Of a network of one channel and two classes.
    rotations : {"eight", "none"}
        Average over the eight symmetries of the square, or no average.
    full_range : float, optional
        As in `unet_paper.volume_io.open_volume`.
    device : {"auto", "cpu", "cuda"}
        Of every worker.
    precision : {"bfloat16", "float32"}, optional
        By default the one that is fast on the device.
    connect : callable
        Returns a context that yields a client for `unet_paper.engine.run_tasks`, or None.
    note : callable, optional
        Told what the user should know, in sentences.
    inspect : callable, optional
        Called as ``inspect(source, parts, mean, std)`` with some of the gray values and those of the training.
    block : int
        Side of a block in pixels, a multiple of ``2**depth``.

    Raises
    ------
    InputError
        If something is illegal, `out` was begun with other weights, rotations, precision, block, full range or input,
        another process fills it, or a block cannot be read or written; blocks that are finished stay.

    Notes
    -----
    Progress is drawn on a terminal. Without workers this process keeps the memory that it frees from then on, as
    `unet_paper.device.keep_freed_memory` says.

    References
    ----------
    OME-Zarr 0.5, https://ngff.openmicroscopy.org/0.5/.
    """
    out = Path(out).absolute()
    if rotations not in ROTATIONS:
        raise InputError(f"rotations is {rotations!r}; for a volume it must be one of {', '.join(ROTATIONS)}")
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if device not in DEVICES:
        raise InputError(f"the device is {device!r}; it must be one of {', '.join(DEVICES)}")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: the folder does not exist")
    check_folder(out.parent)
    volume = open_volume(source, full_range=full_range)
    model, metadata = load_weights(weights)
    if (model.config.in_channels, model.config.n_classes) != (1, 2):
        raise InputError(f"{weights} holds a network of other than 1 channel and 2 classes")
    if block < 1 or block % shapes.period(model.config.depth):
        raise InputError(f"block is {block}; it must be a positive multiple of {shapes.period(model.config.depth)}")
    for sentence in (volume.note, voxel_size_note(source, volume.voxel_size, volume.unit, metadata)):
        if sentence and note:
            note(sentence)
    blocks = list(split(volume.shape, block))
    parts = sample(volume, blocks)
    if inspect:
        inspect(source, parts, metadata["image_mean"], metadata["image_std"])
    manifest = {
        "input_sha256": fingerprint(volume.shape, parts),
        "weights_sha256": sha256(weights),
        "rotations": rotations,
        "block": block,
        "full_range": float(volume.full_range),
        **{key: metadata[key] for key in ("image_mean", "image_std")},
    }
    begun = read_manifest(out) if out.exists() else None
    if begun is not None:
        manifest["precision"] = precision or begun.get("precision")
        if changed := list(differences(begun, manifest)):
            raise InputError(f"{out} was begun with {', '.join(changed)}; it must be the same, or OUT be another")
    with ExitStack() as held:
        for cache in (opened, reopened):  # without workers, of this process
            held.callback(cache.cache_clear)
        if begun is not None:
            held.enter_context(locked(out))
            missing = missing_blocks(out, blocks, block)
            if not missing:
                return
        client = held.enter_context(connect())
        if begun is None:
            if volume.may_exceed:
                check = partial(check_block, _absolute(source), manifest["input_sha256"], volume.full_range)
                follow(run_tasks(client, check, blocks), len(blocks), "check")
            manifest["precision"] = precision or next(run_tasks(client, fast_precision, [device]))
            create_output(out, volume, block, manifest)
            held.enter_context(locked(out))
            missing = blocks
        job = Job(
            source=_absolute(source),
            input_sha256=manifest["input_sha256"],
            out=str(out),
            weights=_absolute(weights),
            weights_sha256=manifest["weights_sha256"],
            rotations=rotations,
            device=device,
            precision=manifest["precision"],
            block=block,
            full_range=volume.full_range,
        )
        results = run_tasks(client, partial(predict_block, job), missing)
        follow(results, len(blocks), "predict", done=len(blocks) - len(missing))


def split(shape: tuple[int, int, int], block: int) -> Iterator[tuple[int, slice, slice]]:
    """Slice, rows and columns of each block of a volume (Z, H, W).

    Examples
    --------
    >>> list(split((1, 3, 2), 2))
    [(0, slice(0, 2, None), slice(0, 2, None)), (0, slice(2, 3, None), slice(0, 2, None))]
    """
    spans = ([slice(at, min(at + block, side)) for at in range(0, side, block)] for side in shape[1:])
    return product(range(shape[0]), *spans)


def follow(results: Iterable, total: int, title: str, *, done: int = 0) -> None:
    """Take all results, with the time left on a terminal."""
    for _ in tqdm(results, desc=title, initial=done, total=total, unit="block", disable=None):
        pass


def predict_block(job: Job, place: tuple[int, slice, slice]) -> None:
    """Compute one block and write it; raises `InputError` if it cannot be read or written."""
    model, metadata, volume, target, device = opened(job)
    probability = block_probability(
        model,
        volume,
        place,
        mean=metadata["image_mean"],
        std=metadata["image_std"],
        rotations=job.rotations,
        precision=job.precision,
        device=device,
        block=job.block,
    )
    try:
        target[place] = np.rint(probability * 255).astype(np.uint8)
    except OSError as error:
        raise InputError(f"cannot write {job.out}: {error.strerror or error}; finished blocks are kept") from error


def block_probability(
    model: UNet,
    volume: Volume,
    place: tuple[int, slice, slice],
    *,
    mean: float,
    std: float,
    rotations: str,
    precision: str,
    device: str,
    block: int = BLOCK,
) -> np.ndarray:
    """Probability of cell of one block, as `predict_stack` gives it with a stride of `block`.

    Parameters
    ----------
    model : UNet
        In evaluation mode, on `device`, in the memory format of `predict_stack`.
    volume : Volume
    place : tuple of int, slice, slice
        Slice, rows and columns of the block, which begins at multiples of `block`.
    mean, std, rotations, precision, device
        As in `unet_paper.predict.predict_stack`.
    block : int
        Side of a whole block, in pixels.

    Returns
    -------
    ndarray, float32, (h, w)
    """
    depth = model.config.depth
    margin, period = shapes.context(depth), shapes.period(depth)
    lead = period if rotations == "eight" else 0
    side = shapes.input_size_for(block + lead, depth)  # 700 or 716 px
    output = side - 2 * margin

    def window(start, size):
        """Positions in the slice, mirrored: from phase 0 of the first border to phase 0 of the last."""
        first = start - margin - lead
        phase = (size + margin - first - side) % period if lead else 0
        return mirrored(np.arange(first, first + side + phase), size)

    def segment(image):
        result = torch.zeros_like(image)
        piece = image[None, None, :side, :side].contiguous()
        result[margin : margin + output, margin : margin + output] = cell_probability(model, piece, precision)[0, 0]
        return result

    z, *spans = place
    rows, columns = (window(span.start, size) for span, size in zip(spans, volume.shape[1:]))
    part = volume.read(z, *(slice(int(i.min()), int(i.max()) + 1) for i in (rows, columns)))
    image = part[(rows - rows.min())[:, None], columns - columns.min()]
    with torch.inference_mode():
        image = torch.as_tensor((image - mean) / std, dtype=torch.float32, device=device)
        probability = average_of_eight(segment, image) if rotations == "eight" else segment(image)
        inside = (slice(margin + lead, margin + lead + span.stop - span.start) for span in spans)
        return probability[tuple(inside)].clamp(0, 1).cpu().numpy()


def check_block(source: str, input_sha256: str, full_range: float, place: tuple[int, slice, slice]) -> None:
    """Raise `InputError` if a block cannot be read or holds pixels beyond the full range."""
    reopened(source, input_sha256, full_range).read(*place)


def fast_precision(device: str) -> str:
    """The precision that is fast where this runs."""
    return choose_precision(choose_device(device))


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1)
def reopened(source: str, input_sha256: str, full_range: float) -> Volume:
    """The input of a hash, opened once a process."""
    return open_volume(source, full_range=full_range)


@lru_cache(maxsize=1)
def opened(job: Job) -> tuple:
    """Network, its metadata, input, output and device, once a process."""
    if not Path(job.out).exists():
        raise InputError(f"{job.out} is not there for the worker on {platform.node()}; its folder must be shared")
    if not Path(job.weights).exists():
        raise InputError(f"{job.weights} is not there for the worker on {platform.node()}; its folder must be shared")
    if sha256(job.weights) != job.weights_sha256:
        raise InputError(f"{job.weights} was changed; it must stay as it was when the prediction began")
    device = choose_device(job.device)
    keep_freed_memory(device)
    model, metadata = load_weights(job.weights)
    model = model.to(device, memory_format=torch.channels_last).eval()
    return model, metadata, reopened(job.source, job.input_sha256, job.full_range), open_output(Path(job.out)), device


def _absolute(path):
    return str(Path(path).absolute())
