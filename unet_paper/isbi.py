"""The three stacks of the ISBI 2012 challenge, and the folds of the cross-validation."""

import hashlib
import os
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unet_paper.errors import InputError
from unet_paper.tiff import check_same_shape, read_images, read_labels, read_stack

DEFAULT_FOLDER = Path("data") / "isbi2012"
VOLUMES = ("train-volume", "train-labels", "test-volume")


class IsbiData(NamedTuple):
    """The challenge's data, or a stack in the same format.

    Attributes
    ----------
    images : ndarray of float32, (30, 512, 512)
        Training images in [0, 1].
    labels : ndarray of uint8, (30, 512, 512)
        0 = membrane, 1 = cell.
    test_images : ndarray of float32, (30, 512, 512)
        Test images in [0, 1].
    sha256 : dict of str
        SHA-256 of the pixels of each file by its name without suffix.
    notes : tuple of str
        One sentence for each file whose pixels were converted in a way the user should know of.
    folder : Path or None
        Where the stacks were read.
    test_labels : ndarray of uint8 or None
        Of the test images; `load_isbi` leaves them to those who score by them.
    test_rows : tuple of int or None
        First and last image row that the test labels cover; None for all.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    sha256: dict[str, str]
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    test_labels: np.ndarray | None = None
    test_rows: tuple[int, int] | None = None

    @property
    def training_sha256(self) -> dict[str, str]:
        """Those of the files that a network is trained on."""
        return {name: self.sha256[name] for name in ("train-volume", "train-labels")}


class Fold(NamedTuple):
    """Slice numbers, from 0, to train on and to hold out."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def pixel_sha256(*arrays: np.ndarray) -> str:
    """SHA-256 of the pixels of arrays in C order, one array after the other, as hexadecimal digits.

    Examples
    --------
    >>> pixel_sha256(np.zeros(1, np.uint8))[:8]
    '6e340b9c'
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def find_data(folder: str | Path | None = None) -> Path:
    """The folder of the challenge's data: `folder`, or else $ISBI2012_DIR, or else data/isbi2012.

    Raises
    ------
    InputError
        If a stack is missing there; the message says how to get it.
    """
    chosen = Path(folder or os.environ.get("ISBI2012_DIR") or DEFAULT_FOLDER)
    missing = [f"{name}.tif" for name in VOLUMES if not (chosen / f"{name}.tif").is_file()]
    if missing:
        raise InputError(
            f"{chosen} lacks {', '.join(missing)}: run python -m data_scripts.isbi2012 in the repository's folder, "
            "or name the folder that has them with --data or ISBI2012_DIR"
        )
    return chosen


def load_isbi(folder: str | Path) -> IsbiData:
    """Read the training and test stacks of the challenge, or stacks in the same format.

    Parameters
    ----------
    folder : path-like
        Folder with train-volume.tif, train-labels.tif (0 = membrane, one other value = cell) and test-volume.tif.

    Returns
    -------
    IsbiData

    Raises
    ------
    InputError
        If a file is missing or illegal, images and labels differ in shape, or the labels number cells.
    """
    paths = {name: Path(folder) / f"{name}.tif" for name in VOLUMES}
    images, test_images = read_images(paths["train-volume"]), read_images(paths["test-volume"])
    labels = read_labels(paths["train-labels"])
    check_same_shape(images.array, labels.array, str(paths["train-volume"]), str(paths["train-labels"]))
    n_cell_values = np.count_nonzero(np.unique(labels.array))
    if n_cell_values > 1:
        raise InputError(f"{paths['train-labels']} has {n_cell_values} values other than 0; it must have one, for cell")
    notes = tuple(stack.note for stack in (images, labels, test_images) if stack.note)
    sha256 = {name: pixel_sha256(read_stack(path).array) for name, path in paths.items()}
    cells = (labels.array > 0).astype(np.uint8)
    return IsbiData(images.array, cells, test_images.array, sha256, notes, Path(folder))


def folds(n_slices: int = 30, n_folds: int = 5) -> tuple[Fold, ...]:
    """Split the slices into contiguous folds, each held out once.

    Parameters
    ----------
    n_slices, n_folds : int
        The folds' sizes differ by at most one.

    Returns
    -------
    tuple of Fold

    Examples
    --------
    >>> folds()[4].held_out
    (24, 25, 26, 27, 28, 29)
    >>> folds(3, 3)[1]
    Fold(train=(0, 2), held_out=(1,))
    """
    if not 2 <= n_folds <= n_slices:
        raise InputError(f"cannot split {n_slices} slices into {n_folds} folds; it must be 2 to {n_slices}")
    edges = [number * n_slices // n_folds for number in range(n_folds + 1)]
    held_out = [tuple(range(start, stop)) for start, stop in pairwise(edges)]
    return tuple(Fold(tuple(s for s in range(n_slices) if s not in out), out) for out in held_out)
