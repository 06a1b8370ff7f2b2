"""``python -m data_scripts.phantom``: synthetic membranes in the format of the challenge.

For tests and for a first run without download. Every slice cuts a 3-D Voronoi tessellation of cells, so
that cells drift, swell and vanish from slice to slice. Membranes are its borders, dark on textured
cytoplasm; they fade in places, and dark bodies inside the cells look like pieces of them, so that gray
values alone do not tell cell from membrane. Nothing else of real tissue is imitated.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial import cKDTree

from unet_paper.command import exit_status, file_name
from unet_paper.errors import InputError
from unet_paper.files import make_folder
from unet_paper.tiff import write_stack

VOXEL_SIZE, UNIT = (50.0, 4.0, 4.0), "nm"  # those of the challenge, z y x

# Lengths in pixels, gray values on the scale of uint8.
SPACING = 62  # mean distance of cell centres
SLICE_STEP = 7  # depth between slices: cells are longer than wide, as neurites are
WIGGLE, WIGGLE_LENGTH = 4, 12  # borders are not straight
HALF_WIDTH = 2.2  # of the annotated membrane, varied by a quarter
CYTOPLASM, MEMBRANE = 160, 80
CELL_CONTRAST, TEXTURE, NOISE = 12, 10, 22
FADING_LENGTH = 7  # of the places where a membrane loses contrast
FAINTEST = 0.3  # contrast left there
BODIES = 1 / 1200  # dark bodies a pixel


def make_phantom(n_slices, height, width, *, seed):
    """Draw a synthetic stack of membranes.

    Parameters
    ----------
    n_slices, height, width : int
        Shape of the stack; at least 1 slice of 32 x 32 pixels.
    seed : int or numpy.random.Generator
        The same seed gives the same stack.

    Returns
    -------
    images : ndarray of uint8, (n_slices, height, width)
        Gray values.
    labels : ndarray of uint8, (n_slices, height, width)
        0 = membrane, 255 = cell.

    Raises
    ------
    InputError
        If the stack is too small.

    Examples
    --------
    >>> images, labels = make_phantom(2, 64, 48, seed=0)
    >>> images.shape, np.unique(labels).tolist()
    ((2, 64, 48), [0, 255])
    >>> bool(images[labels == 0].mean() < images[labels == 255].mean())
    True
    """
    if n_slices < 1 or min(height, width) < 32:
        raise InputError(f"a phantom of {n_slices} slices of {height} x {width} is too small; it needs 1 of 32 x 32")
    rng = np.random.default_rng(seed)
    plane = height, width
    centres = _cell_centres(rng, n_slices * SLICE_STEP, height, width)
    brightness = rng.normal(0, CELL_CONTRAST, len(centres))
    wiggle = WIGGLE * np.stack([_smooth_noise(rng, plane, WIGGLE_LENGTH) for _ in "yx"])
    tree = cKDTree(centres)
    images, labels = np.empty((2, n_slices, height, width), np.uint8)
    for z in range(n_slices):
        y, x = np.indices(plane) + wiggle
        cells = tree.query(np.stack([np.full(plane, z * SLICE_STEP), y, x], axis=-1))[1]
        borders = _borders(cells)
        to_border = distance_transform_edt(~borders) if borders.any() else np.full(plane, np.inf)
        half_width = HALF_WIDTH * (1 + 0.25 * np.clip(_smooth_noise(rng, plane, WIGGLE_LENGTH), -1.5, 1.5))
        labels[z] = np.where(to_border > half_width, 255, 0)
        images[z] = _gray_values(rng, brightness[cells], to_border, half_width)
    return images, labels


def write_phantom(folder, *, n_slices, size, seed):
    """Write train- and test-volume.tif and -labels.tif, two pieces of one tissue, into `folder`.

    Parameters
    ----------
    folder : path-like
        Made if need be.
    n_slices, size : int
        Slices of each stack; height and width in pixels.
    seed : int
        At least 0; the same seed gives the same files.

    Raises
    ------
    InputError
        If a size or the seed is illegal or a file cannot be written.
    """
    if seed < 0:
        raise InputError(f"seed {seed} is negative; it must be 0 or more")
    folder = Path(folder)
    stacks = {}
    for number, part in enumerate(("train", "test")):
        images, labels = make_phantom(n_slices, size, size, seed=np.random.default_rng([seed, number]))
        stacks |= {f"{part}-volume.tif": images, f"{part}-labels.tif": labels}
    make_folder(folder)
    for name, stack in stacks.items():
        write_stack(folder / name, stack, voxel_size=VOXEL_SIZE, unit=UNIT)


def main(argv=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.phantom", description="Write a synthetic stack as the challenge's files."
    )
    parser.add_argument("--out", type=file_name, required=True, metavar="FOLDER", help="made if need be")
    parser.add_argument("--slices", type=int, default=30, help="slices of each stack (default: 30)")
    parser.add_argument("--size", type=int, default=512, help="height and width in pixels (default: 512)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    return exit_status(_write, parser.parse_args(argv))


def _write(arguments):
    for name in (f"{part}-{kind}.tif" for part in ("train", "test") for kind in ("volume", "labels")):
        if (arguments.out / name).exists():
            raise InputError(f"{arguments.out} already holds {name}; it must be another folder, or remove the file")
    write_phantom(arguments.out, n_slices=arguments.slices, size=arguments.size, seed=arguments.seed)
    print(f"{arguments.out} now holds a synthetic stack in the challenge's format")


def _cell_centres(rng, depth, height, width):
    """Points spread evenly at random over the stack and its surroundings, (n, 3) in pixels."""
    low = np.full(3, -SPACING)
    high = np.array([depth, height, width]) + SPACING
    return rng.uniform(low, high, (round(np.prod((high - low) / SPACING)), 3))


def _borders(cells):
    """Pixels with another cell below or to the right."""
    below = np.pad(cells[1:] != cells[:-1], ((0, 1), (0, 0)))
    right = np.pad(cells[:, 1:] != cells[:, :-1], ((0, 0), (0, 1)))
    return below | right


def _gray_values(rng, brightness, to_border, half_width):
    shape = to_border.shape
    image = CYTOPLASM + brightness + TEXTURE * (_smooth_noise(rng, shape, 2) + _smooth_noise(rng, shape, 7))
    fading = np.clip(1.7 + 0.8 * _smooth_noise(rng, shape, FADING_LENGTH), FAINTEST, 1)
    darkness = fading * np.exp(-((to_border / (1.2 * half_width)) ** 4))
    darkness = np.maximum(darkness, _dark_bodies(rng, to_border, half_width))
    image += darkness * (MEMBRANE - image)
    image = gaussian_filter(image + rng.normal(0, NOISE, shape), 0.6)
    return np.clip(np.rint(image), 0, 255)


def _dark_bodies(rng, to_border, half_width):
    """Ellipses inside the cells as dark as membranes, half of them hollow: darkness in [0, 1]."""
    height, width = to_border.shape
    darkness = np.zeros((height, width))
    for _ in range(round(height * width * BODIES)):
        centre_y, centre_x = rng.integers(height), rng.integers(width)
        long, short = np.sort(rng.uniform(2, 13, 2))[::-1]
        angle, hollow = rng.uniform(0, np.pi), rng.random() < 0.5
        if to_border[centre_y, centre_x] < short + 2 * half_width[centre_y, centre_x]:
            continue
        reach = int(long) + 3
        rows = np.arange(max(centre_y - reach, 0), min(centre_y + reach + 1, height))
        columns = np.arange(max(centre_x - reach, 0), min(centre_x + reach + 1, width))
        window = np.ix_(rows, columns)
        y, x = (rows - centre_y)[:, None], columns - centre_x
        along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        radius = np.hypot(along / long, across / short)
        shape = np.exp(-(((radius - 0.8) / 0.3) ** 4)) if hollow else np.exp(-(radius**4))
        inside = to_border[window] > 1.5 * half_width[window]
        darkness[window] = np.maximum(darkness[window], shape * inside)
    return darkness


def _smooth_noise(rng, shape, length):
    """Gaussian noise smooth over `length` pixels, of variance 1."""
    noise = gaussian_filter(rng.standard_normal(shape), length, mode="wrap")
    return noise / noise.std()


if __name__ == "__main__":
    sys.exit(main())
