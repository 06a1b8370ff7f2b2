"""The stack a command works on: the challenge's, or for figures and benchmarks a synthetic one without it."""

import os
from typing import NamedTuple

import numpy as np

from data_scripts.phantom import make_phantom
from unet_paper.errors import InputError
from unet_paper.isbi import find_data, load_isbi

SLICES, SIDE = 30, 512  # those of the challenge


class Example(NamedTuple):
    """Images in [0, 1] and labels 0 and 1, both (Z, H, W); "ISBI" or "synthetic"; hashes for a record."""

    images: np.ndarray
    labels: np.ndarray
    name: str
    sha256: dict[str, str]

    @property
    def title(self):
        """What a figure calls one of the slices."""
        return {"ISBI": "ISBI 2012 training slice"}.get(self.name, f"{self.name} slice")


def load_data(folder):
    """The ISBI stacks in `folder`, or where `find_data` finds them; prints what was converted in reading."""
    data = load_isbi(find_data(folder))
    for note in data.notes:
        print(f"note: {note}")
    return data


def load_example(folder=None, n_slices=SLICES):
    """The first training slices, or synthetic ones without the data.

    Raises `InputError` if `folder` or ISBI2012_DIR is given and has no data, or the data is damaged.
    """
    try:
        found = find_data(folder)
    except InputError as error:
        if folder is not None or "ISBI2012_DIR" in os.environ:
            raise
        print(f"note: a synthetic stack is used; {error}")
        images, labels = make_phantom(n_slices, SIDE, SIDE, seed=0)
        sha256 = {"synthetic": "seed 0"}
        return Example(images.astype(np.float32) / 255, (labels > 0).astype(np.uint8), "synthetic", sha256)
    data = load_data(found)
    return Example(data.images[:n_slices], data.labels[:n_slices], "ISBI", data.sha256)
