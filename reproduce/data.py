"""The stack a command works on: the challenge's, or for figures and benchmarks a synthetic one without it."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_scripts.isbi2012 import SHA256
from data_scripts.phantom import make_phantom
from unet_paper.errors import InputError
from unet_paper.isbi import IsbiData, find_data, load_isbi, pixel_sha256
from unet_paper.tiff import read_labels

SLICES, SIDE = 30, 512  # those of the challenge
TEST_LABELS = "test-labels.tif"


class Example(NamedTuple):
    """Images in [0, 1] and labels 0 and 1, both (Z, H, W); "ISBI", "synthetic" or their folder; hashes for a record."""

    images: np.ndarray
    labels: np.ndarray
    name: str
    sha256: dict[str, str]

    @property
    def title(self) -> str:
        """What a figure calls one of the slices."""
        return {"ISBI": "ISBI 2012 training slice"}.get(self.name, f"{self.name} slice")


def load_data(folder: Path | None) -> IsbiData:
    """The ISBI stacks in `folder`, or where `find_data` finds them; prints what was converted in reading."""
    data = load_isbi(find_data(folder).absolute())
    for note in data.notes:
        print(f"note: {note}")
    return data


def with_test_labels(data: IsbiData, folder: Path | None, rows: tuple[int, int] | None = None) -> IsbiData:
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
    """The first training slices, or as many synthetic ones, up to the 30 of the challenge, without the data.

    Raises `InputError` if `folder` or ISBI2012_DIR is given and has no data, or the data is damaged.
    """
    try:
        found = find_data(folder)
    except InputError as error:
        if folder is not None or "ISBI2012_DIR" in os.environ:
            raise
        print(f"note: a synthetic stack is used; {error}")
        images, labels = make_phantom(min(n_slices, SLICES), SIDE, SIDE, seed=0)
        sha256 = {"synthetic": "seed 0"}
        return Example(images.astype(np.float32) / 255, (labels > 0).astype(np.uint8), "synthetic", sha256)
    data = load_data(folder)
    name = "ISBI" if data.sha256["train-labels"] == SHA256["train-labels.tif"] else found.absolute().name
    return Example(data.images[:n_slices], data.labels[:n_slices], name, data.sha256)
