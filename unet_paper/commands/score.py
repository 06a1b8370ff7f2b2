"""The five metrics of the challenge, at their best thresholds.

Both stacks have the same slices, or --slices names those of the labels that the map is of.

examples:
  %(prog)s train-labels.tif probability.tif
  %(prog)s train-labels.tif probability.tif --slices 24-29
"""

import argparse
from functools import partial

from unet_paper.command import note
from unet_paper.commands.common import STACK, add_file, print_scores, progress, read_labels, read_probability
from unet_paper.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_file(parser, "labels", "LABELS.tif", f"0 is membrane, 1 or 255 is cell; {STACK}")
    add_file(parser, "probability", "PROBABILITY.tif", "probability of cell: float from 0 to 1, or 8 or 16 bits")
    parser.add_argument(
        "--slices", type=ranges, metavar="FIRST-LAST", help="counted from 0: 24, 24-29 or 0-5+24-29 (default: all)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the five metrics of a stored probability map."""
    from unet_paper import metrics

    labels, probability = read_labels(arguments.labels), read_probability(arguments.probability)
    truth = _chosen(labels.array, probability.array, arguments)
    if (value := probability.array.flat[0]) == probability.array.min() == probability.array.max():
        note(f"{arguments.probability} is {value:g} everywhere; by definition the warping error of such a map can be 0")
    print_scores(metrics.score(truth, probability.array, progress=partial(progress, desc="score")))


def ranges(text: str) -> list[tuple[int, int]]:
    """First and last slice of each range of 24, 24-29 or 0-5+24-29, counted from 0."""
    found = []
    for part in text.split("+"):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise argparse.ArgumentTypeError(f"{part!r} must be a slice or FIRST-LAST, counted from 0")
        found.append((int(first), int(last)))
    return found


def _chosen(truth, probability, arguments):
    """The slices of the labels that the map is of."""
    import numpy as np

    from unet_paper.tiff import check_same_shape

    labels, path = arguments.labels, arguments.probability
    if arguments.slices:
        most = max(last for _, last in arguments.slices)
        if most >= len(truth):
            raise InputError(f"--slices: {labels} has slices 0 to {len(truth) - 1}, not {most}")
        truth = np.concatenate([truth[first : last + 1] for first, last in arguments.slices])
        if len(truth) != len(probability):
            raise InputError(
                f"--slices names {len(truth)} of the slices of {labels}, but {path} has {len(probability)}"
            )
    if len(truth) != len(probability):
        raise InputError(
            f"{labels} has {len(truth)} slices and {path} {len(probability)}; --slices FIRST-LAST must name the slices "
            f"of {labels} that the map is of"
        )
    check_same_shape(truth, probability, str(labels), str(path))
    return truth
