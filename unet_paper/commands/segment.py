"""Numbered cells of a probability map, as the challenge scores them.

Slices are independent: the same number in two of them means nothing.

examples:
  %(prog)s probability.tif cells.tif
  %(prog)s probability.tif cells.tif --labels train-labels.tif
"""

import argparse
from functools import partial

from unet_paper.command import file_name, note
from unet_paper.commands.common import add_file, check_output, progress, read_labels, read_probability
from unet_paper.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_file(parser, "probability", "PROBABILITY.tif", "probability of cell: float from 0 to 1, or 8 or 16 bits")
    add_file(parser, "cells", "LABELS.tif", "TIFF of 16 or 32 bits to write: 0 is membrane, cells from 1")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--threshold",
        type=float,
        help="cells are above it, from 0 to 1 (default: of the packaged network's recipe, the best on held-out slices)",
    )
    choice.add_argument(
        "--labels", type=file_name, metavar="TRUE.tif", help="take the threshold of the best V_Rand against these"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the numbered cells of a stored probability map."""
    from unet_paper import metrics, segment, trained
    from unet_paper.tiff import check_same_shape, write_stack

    check_output(arguments.cells, arguments.probability, *filter(None, [arguments.labels]))
    stack, threshold = read_probability(arguments.probability), arguments.threshold
    _check_no_labels(arguments.probability, stack.array)
    if arguments.labels:
        truth = read_labels(arguments.labels).array
        check_same_shape(truth, stack.array, str(arguments.labels), str(arguments.probability))
        v_rand = metrics.v_rand(truth, stack.array, progress=partial(progress, desc="threshold"))
        threshold = v_rand.threshold or 0.0
        print(f"threshold {threshold:.1f}: V_Rand {v_rand.value:.6f}")
    elif threshold is None:
        threshold = trained.pretrained_metadata()["held_out"]["thresholds"]["v_rand"]
        print(f"threshold {threshold:.1f}, that of the recipe of the network in the package")
    cells = segment.segment(stack.array, threshold=threshold)
    last = min(threshold, metrics.THRESHOLDS[-1])
    if empty := [z for z, plane in enumerate(stack.array) if float(plane.max()) <= last]:
        note(f"nothing is above the threshold in slices {', '.join(map(str, empty))}; each counts as one cell")
    write_stack(arguments.cells, cells, voxel_size=stack.voxel_size, unit=stack.unit)
    print(f"wrote {arguments.cells}: {cells.max(axis=(1, 2)).mean():.0f} cells a slice")


def _check_no_labels(path, array):
    """In a map neighbouring pixels differ (in 69 to 94 % of pairs of stored maps), in labels hardly (below 3 %)."""
    import numpy as np

    from unet_paper.tiff import read_stack

    if read_stack(path).array.dtype.kind == "f":
        return
    left, right = array[..., :-1], array[..., 1:]
    pairs = (np.minimum(left, right) > 0) & (np.minimum(left, right) < array.max())
    if pairs.any() and (left != right)[pairs].mean() < 0.25:
        raise InputError(
            f"{path} holds areas of equal pixels, as labels do; it must be a probability map, "
            "which as float may have such areas"
        )
