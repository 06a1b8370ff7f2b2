"""The one pass over a stack that all the metrics share.

A `Proposal` is the segmentation of one slice at one threshold. It makes components, thinned
components and contingency tables on demand and once, so that metrics measured together share them.
A `Metric` first measures every proposal, then summarises the measurements of the whole stack,
because one threshold has to serve all its slices.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage, sparse

from unet_paper.errors import InputError
from unet_paper.metrics._common import read_pair, thresholds_for
from unet_paper.metrics.thinning import thin_borders


class Metric(NamedTuple):
    """How to measure one proposal, and how to turn the measurements [z][threshold] into a result."""

    measure: Callable  # (Proposal) -> counts
    summarise: Callable  # (counts per slice and threshold, thresholds, shape of the stack) -> result
    n_thresholds: int = 11


class Contingency(NamedTuple):
    """Pixels of ground-truth cell i in proposal segment j, and the sums of the table."""

    joint: np.ndarray  # the entries above 0 with i, j >= 1, in no particular order
    cells: np.ndarray  # pixels of every cell, a_i
    segments: np.ndarray  # pixels of every segment inside cells, b_j with j >= 1
    membrane: int  # pixels of cells where the proposal has membrane, n_0


class Truth:
    """One slice of the ground truth."""

    def __init__(self, foreground: np.ndarray) -> None:
        self.foreground = foreground  # (H, W) bool

    @cached_property
    def cells(self) -> np.ndarray:
        """4-connected components, (H, W) int32."""
        return ndimage.label(self.foreground)[0]

    @cached_property
    def inside(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of the cell pixels, and the cell of each."""
        pixels = np.flatnonzero(self.foreground)
        return pixels, self.cells.ravel()[pixels]


class Proposal:
    """One slice of a probability map at one threshold."""

    def __init__(self, truth: Truth | None, probability: np.ndarray, threshold: float) -> None:
        self.truth, self.probability, self.threshold = truth, probability, threshold
        self.foreground = probability > np.float64(threshold)  # compared in float64

    @cached_property
    def segments(self) -> np.ndarray:
        """4-connected components, (H, W) int32."""
        return ndimage.label(self.foreground)[0]

    @property
    def thinned_segments(self) -> np.ndarray:
        """After border thinning, (H, W) int32."""
        return thin_borders(self.segments)

    @cached_property
    def contingency(self) -> Contingency:
        """Against the segments as they are."""
        return contingency_table(*self.truth.inside, self.segments)

    @cached_property
    def thinned_contingency(self) -> Contingency:
        """Against the segments after border thinning."""
        return contingency_table(*self.truth.inside, self.thinned_segments)


def contingency_table(pixels: np.ndarray, cells: np.ndarray, segments: np.ndarray) -> Contingency:
    """The table as one sparse matrix: every pixel of a cell adds 1 at (its cell, its segment)."""
    pairs = (cells, segments.ravel()[pixels])
    shape = (int(cells.max(initial=0)) + 1, int(segments.max()) + 1)
    table = sparse.coo_array((np.ones(len(pixels), np.int64), pairs), shape=shape).tocsr()
    by_segment = table.sum(axis=0)
    return Contingency(table.data[table.indices > 0], table.sum(axis=1)[1:], by_segment[1:], int(by_segment[0]))


def evaluate(
    metrics: Sequence[Metric], labels: ArrayLike, probability: ArrayLike, progress: Callable | None, workers: int | None
) -> list:
    """One result for each metric, from one pass over the slices."""
    if workers is not None and workers < 1:
        raise InputError(f"workers is {workers}; it must be at least 1, or None for the number of cores")
    truth, probability = read_pair(labels, probability)
    thresholds = thresholds_for(probability)

    def measure_slice(z):
        truth_slice = Truth(truth[z])
        measured = [[] for _ in metrics]
        for k, threshold in enumerate(thresholds):
            proposal = Proposal(truth_slice, probability[z], threshold)
            for metric, rows in zip(metrics, measured):
                if k < metric.n_thresholds:
                    rows.append(metric.measure(proposal))
        return measured

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        slices = pool.map(measure_slice, range(len(truth)))
        if progress is not None:
            slices = progress(slices, total=len(truth))
        by_metric = zip(*slices)
        return [
            metric.summarise(rows, thresholds[: metric.n_thresholds], truth.shape)
            for metric, rows in zip(metrics, by_metric)
        ]
