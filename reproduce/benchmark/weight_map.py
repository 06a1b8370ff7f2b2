"""Cost of the weight map beside the recipe that is usually copied, on several real slices.

Every operation is measured next to the weight map of the same slice, both warm and with the same number of
repeats; what counts are the ratios of their medians. A large image of many small cells shows that the cost
grows with the area and not with the number of cells.
"""

import statistics
import tracemalloc
from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.ndimage import distance_transform_edt

from reproduce.benchmark.timing import Bench
from reproduce.data import Example
from reproduce.records import Record
from unet_paper.config import WeightMapConfig
from unet_paper.weight_map import cells_from_membranes, unet_weight_map

EVERY = 3  # which slices are measured
REPEATS = 3
SQUARES_SIDE = 2048  # pixels


def copied_recipe(labels, *, w0=WeightMapConfig.w0, sigma=WeightMapConfig.sigma):
    """Border term of Equation 2 with one whole-image transform for each cell, sorted along the last axis.

    Parameters are those of `unet_weight_map`, with ``class_weights=None``; labels (H, W). The form is that of
    an answer that is copied most, https://stackoverflow.com/questions/50255438.
    """
    cells = np.unique(labels[labels > 0])
    distances = np.stack([distance_transform_edt(labels != cell) for cell in cells], axis=-1)
    distances = np.sort(distances, axis=-1)  # (H, W, cells)
    d1, d2 = distances[..., 0], distances[..., 1]
    return (labels == 0) * w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))


def benchmark_weight_map(bench: Bench, stack: Example) -> Iterator[Record]:
    """Rows of the weight map, the copied recipe and a single distance transform, the least that is needed."""
    slices = list(cells_from_membranes(stack.labels[::EVERY]))
    many = [squares(SQUARES_SIDE)] * len(slices)
    for title, operation, image, images in (
        ("weight map", unet_weight_map, f"{stack.name} slice", slices),
        ("copied recipe", copied_recipe, f"{stack.name} slice", slices),
        ("one whole-image transform", lambda cells: distance_transform_edt(cells == 0), f"{stack.name} slice", slices),
        ("weight map", unet_weight_map, "squares", many),
    ):
        build = partial(relative_measures, bench, operation, images, slices)
        yield bench.row("weight map", title, {"image": image}, build)


def relative_measures(bench, operation, images, slices) -> dict:
    """Time of `operation` on each image beside that of the weight map of a slice, and peak memory.

    Memory is the most on the image with most cells, above what was allocated before, in bytes.
    """

    def seconds(call, cells):
        return bench.measure(lambda: call(cells), repeats=REPEATS)["median_seconds"]

    pairs = [(seconds(operation, a), seconds(unet_weight_map, b)) for a, b in zip(images, slices)]
    ratios = [time / time_of_the_map for time, time_of_the_map in pairs]
    counts = [len(np.unique(cells[cells > 0])) for cells in images]
    tracemalloc.start()
    operation(images[counts.index(max(counts))])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "median_seconds": statistics.median(time for time, _ in pairs),
        "relative_time": statistics.median(ratios),
        "least_relative_time": min(ratios),
        "greatest_relative_time": max(ratios),
        "slices_count": len(slices),
        "fewest_cells_count": min(counts),
        "most_cells_count": max(counts),
        "side_pixels": len(images[0]),
        "peak_bytes": peak,
    }


def squares(side, period=28, gap=4):
    """Thousands of small cells: squares on a grid."""
    place, inside = np.arange(side) // period, np.arange(side) % period >= gap
    numbers = 1 + place[:, None] * (side // period + 1) + place
    return np.where(inside[:, None] & inside, numbers, 0).astype(np.int32)
