"""What the commands share: reading with notes, checks, progress, and the printed scores."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from unet_paper.command import file_name, note
from unet_paper.errors import InputError
from unet_paper.files import check_writable

if TYPE_CHECKING:
    from unet_paper.metrics import Scores
    from unet_paper.tiff import Stack

STACK = "one image or a stack of slices, one channel, compressed or not, BigTIFF and OME-TIFF too"
SCORES = {
    "warping_error": "warping error",
    "rand_error": "Rand error",
    "pixel_error": "pixel error",
    "v_rand": "V_Rand",
    "v_info": "V_Info",
}


def add_file(parser: argparse.ArgumentParser, name: str, metavar: str, text: str) -> None:
    """Add a file that a command reads or writes."""
    parser.add_argument(name, type=file_name, metavar=metavar, help=text)


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add the weights that `chosen_weights` takes."""
    about = "written by a training (default: the network in the package)"
    parser.add_argument("--weights", type=file_name, metavar="FILE.safetensors", help=about)


def check_output(path: Path, *inputs: Path) -> None:
    """`InputError` unless a TIFF can be written there that is none of the inputs."""
    check_writable(path, inputs=inputs)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"cannot write {path}: a TIFF is written, so its name must end in .tif or .tiff")


def chosen_weights(path: Path | None) -> Path:
    """The weights that were named, or else those in the package, which is told."""
    from unet_paper import trained

    if path:
        return path
    metadata = trained.pretrained_metadata()
    held_out = metadata["held_out"]
    note(
        f"the network in the package is used: {metadata['title']}, trained on ISBI 2012 (V_Rand "
        f"{held_out['scores']['v_rand']:.3f} by the same recipe on {len(held_out['slices'])} slices held out)"
    )
    return trained.WEIGHTS


def read_images(path: Path, *, full_range: float | None = None) -> "Stack":
    """`unet_paper.tiff.read_images`, with its note told."""
    from unet_paper import tiff

    return _noted(tiff.read_images(path, full_range=full_range))


def read_labels(path: Path) -> "Stack":
    """`unet_paper.tiff.read_labels`, with its note told."""
    from unet_paper import tiff

    return _noted(tiff.read_labels(path))


def read_probability(path: Path) -> "Stack":
    """A stored map; one of whole numbers up to 1 comes as it is, for the metrics to judge and not scaled to nothing."""
    from unet_paper.tiff import read_stack

    stack = read_stack(path)
    return stack if stack.array.dtype.kind == "u" and stack.array.max() == 1 else read_images(path)


def print_scores(scores: "Scores") -> None:
    """Print the five metrics with their thresholds."""
    for name, title in SCORES.items():
        result = getattr(scores, name)
        where = "no threshold" if result.threshold is None else f"at threshold {result.threshold:.1f}"
        print(f"{title:14} {result.value:.6f}  {where}")


def progress(slices: Iterable, **options: object) -> Iterable:
    """Progress with time left on a terminal's standard error."""
    from tqdm import tqdm

    return tqdm(slices, unit="slice", disable=None, **options)


def _noted(stack):
    if stack.note:
        note(stack.note)
    return stack
