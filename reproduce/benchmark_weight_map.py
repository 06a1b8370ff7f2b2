"""Cost of the weight map beside the recipe that is usually copied, on one slice in the same run.

The recipe transforms the whole image once for each cell, stacks the distances and sorts the stack.
It is the definition written down, so it is also the oracle of the tests. Processor time, the least of
a few repeats; times are to be read as ratios, since all rows come from the same machine and minute.
"""

import time
import tracemalloc

import numpy as np
from scipy.ndimage import distance_transform_edt

from unet_paper.config import WeightMapConfig
from unet_paper.weight_map import cells_from_membranes, unet_weight_map

MOSAIC = 4  # slices a side of the large image: 2048 pixels
REPEATS = 5


def copied_recipe(labels, *, w0=WeightMapConfig.w0, sigma=WeightMapConfig.sigma, sampling=None):
    """Border term of Equation 2 with one whole-image transform for each cell.

    Parameters are those of `unet_weight_map`, with ``class_weights=None``.
    """
    cells = np.unique(labels[labels > 0])
    distances = np.stack([distance_transform_edt(labels != cell, sampling=sampling) for cell in cells])
    d1, d2 = np.sort(distances, axis=0)[:2]
    return (labels == 0) * w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))


def benchmark_weight_map(stack):
    """Time and memory of the weight map, the copied recipe and a single distance transform.

    Parameters
    ----------
    stack : reproduce.stacks.Example
        At least 16 slices, of which a large image is made.

    Returns
    -------
    list of dict
        One row for each operation: ``operation``, ``image``, ``side_pixels``, ``cells_count``, ``seconds``,
        ``peak_bytes`` (above what was allocated before) and ``relative_time``, in units of the weight
        map of one slice.
    """
    image, slices = f"{stack.name} slice", cells_from_membranes(stack.labels[: MOSAIC**2])
    cells, mosaic = slices[0], _mosaic(slices)
    unet_weight_map(cells)  # compile
    rows = [
        _row("weight map", image, cells, unet_weight_map),
        _row("copied recipe", image, cells, copied_recipe, repeats=1),
        _row("one whole-image transform", image, cells, lambda labels: distance_transform_edt(labels == 0)),
        _row("weight map", f"mosaic of {image}s", mosaic, unet_weight_map),
        _row("weight map", "squares", _squares(len(mosaic)), unet_weight_map),
    ]
    return [row | {"relative_time": row["seconds"] / rows[0]["seconds"]} for row in rows]


def _mosaic(slices):
    """Slices side by side, every cell with a number of its own."""
    slices = [np.where(cells > 0, cells + cells.size * n, 0) for n, cells in enumerate(slices)]
    return np.block([slices[row : row + MOSAIC] for row in range(0, len(slices), MOSAIC)]).astype(np.int32)


def _squares(side, period=28, gap=4):
    """Thousands of small cells: squares on a grid."""
    place, inside = np.arange(side) // period, np.arange(side) % period >= gap
    numbers = 1 + place[:, None] * (side // period + 1) + place
    return np.where(inside[:, None] & inside, numbers, 0).astype(np.int32)


def _row(operation, image, cells, compute, repeats=REPEATS):
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        compute(cells)
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    compute(cells)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "operation": operation,
        "image": image,
        "side_pixels": len(cells),
        "cells_count": len(np.unique(cells[cells > 0])),
        "seconds": min(seconds),
        "peak_bytes": peak,
    }
