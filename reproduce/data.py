"""The stack a command works on: the challenge's, or for figures and benchmarks a synthetic one without it."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_scripts.phantom import make_phantom
from unet_paper.errors import InputError
from unet_paper.isbi import find_data, load_isbi, pixel_sha256
from unet_paper.tiff import read_labels

SLICES, SIDE = 30, 512  # those of the challenge
TEST_LABELS = "test-labels.tif"


class Data(NamedTuple):
    """The challenge's stacks, or others in the same format.

    Attributes
    ----------
    images, test_images : ndarray, float32, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, uint8, (Z, H, W)
        0 = membrane, 1 = cell.
    sha256 : dict of str
        SHA-256 of the pixels of each file by its name without suffix.
    test_labels : ndarray, uint8, or None
        Only where a command was asked to score the test volume.
    test_rows : tuple of int or None
        First and last image row that the test labels cover; None for all.
    folder : Path or None
        Where the stacks were read.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    sha256: dict[str, str]
    test_labels: np.ndarray | None = None
    test_rows: tuple[int, int] | None = None
    folder: Path | None = None

    @property
    def training_sha256(self) -> dict[str, str]:
        """Those of the files that a network is trained on."""
        return {name: self.sha256[name] for name in ("train-volume", "train-labels")}


class Example(NamedTuple):
    """Images in [0, 1] and labels 0 and 1, both (Z, H, W); "ISBI" or "synthetic"; hashes for a record."""

    images: np.ndarray
    labels: np.ndarray
    name: str
    sha256: dict[str, str]

    @property
    def title(self) -> str:
        """What a figure calls one of the slices."""
        return {"ISBI": "ISBI 2012 training slice"}.get(self.name, f"{self.name} slice")


def load_data(folder: Path | None) -> Data:
    """The ISBI stacks in `folder`, or where `find_data` finds them; prints what was converted in reading."""
    folder = find_data(folder).absolute()
    found = load_isbi(folder)
    for note in found.notes:
        print(f"note: {note}")
    return Data(found.images, found.labels, found.test_images, found.sha256, folder=folder)


def with_test_labels(data: Data, folder: Path | None, rows: tuple[int, int] | None = None) -> Data:
    """`data` with the labels of the test volume, which cover all of it or the image rows `rows`, first and last."""
    path = find_data(folder) / TEST_LABELS
    if not path.exists():
        raise InputError(f"{path} does not exist; scoring the test volume needs its labels")
    labels = read_labels(path).array
    slices, height, width = data.test_images.shape
    first, last = rows or (0, height - 1)
    if not 0 <= first <= last < height:
        raise InputError(f"the rows are {first}-{last}; they must lie in 0-{height - 1}")
    if labels.shape != (slices, last - first + 1, width):
        raise InputError(
            f"{path} has the shape {labels.shape}; it must be {(slices, last - first + 1, width)}, "
            "or --rows must name the rows that it covers"
        )
    if np.count_nonzero(np.unique(labels)) > 1:
        raise InputError(f"{path} has several values other than 0; it must be 0 for membrane and one for cell")
    sha256 = data.sha256 | {"test-labels": pixel_sha256(labels)}
    return data._replace(test_labels=(labels > 0).astype(np.uint8), test_rows=rows, sha256=sha256)


def load_example(folder: Path | None = None, n_slices: int = SLICES) -> Example:
    """The first training slices, or synthetic ones without the data.

    Raises `InputError` if `folder` or ISBI2012_DIR is given and has no data, or the data is damaged.
    """
    try:
        find_data(folder)
    except InputError as error:
        if folder is not None or "ISBI2012_DIR" in os.environ:
            raise
        print(f"note: a synthetic stack is used; {error}")
        images, labels = make_phantom(n_slices, SIDE, SIDE, seed=0)
        sha256 = {"synthetic": "seed 0"}
        return Example(images.astype(np.float32) / 255, (labels > 0).astype(np.uint8), "synthetic", sha256)
    data = load_data(folder)
    return Example(data.images[:n_slices], data.labels[:n_slices], "ISBI", data.sha256)
