"""Table 1: the EM segmentation challenge, by five-fold cross-validation on the training stack.

Each fold holds out six contiguous slices; every slice is scored by a network that never saw it. ``--final``
trains on all thirty slices and writes maps of the test volume in the challenge's format, whose labels were
hidden until after the paper: ``--test`` scores the maps where the labels are at hand.
"""

import argparse
import re

from reproduce.baselines.unet import build
from reproduce.data import load_data, with_test_labels
from reproduce.experiment.execute import execute
from reproduce.experiment.options import add_recipe_arguments, recipe_arguments, whole
from reproduce.experiment.run import Run, every_slice, splits
from reproduce.experiment.scoring import average
from reproduce.figures.montage import montage_of_record
from unet_paper.errors import InputError
from unet_paper.predict import ROTATIONS
from unet_paper.recipe import recipe_config


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--folds", type=whole(0, 4), nargs="+", help="folds to run, 0 to 4 (default: all)")
    parser.add_argument("--rotations", nargs="+", default=["eight"], choices=ROTATIONS, help="default: eight")
    add_recipe_arguments(parser)
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="continue trainings that were stopped, or start those anew (default: --resume)",
    )
    parser.add_argument(
        "--average", type=whole(0), nargs="+", metavar="SEED", help="score the mean of these seeds' maps"
    )
    parser.add_argument("--final", action="store_true", help="train on all slices and predict the test volume")
    parser.add_argument("--test", action="store_true", help="the same, and score it by test-labels.tif of the data")
    parser.add_argument("--rows", type=rows, metavar="FIRST-LAST", help="image rows that test-labels.tif covers")


def rows(text):
    """First and last row of words such as "67-511"."""
    found = re.fullmatch(r"(\d+)-(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} must be two rows, such as 67-511")
    return int(found[1]), int(found[2])


def run(arguments):
    """Run the command; returns the exit status."""
    final = arguments.final or arguments.test
    for name, legal in (("folds", not final), ("rows", arguments.test)):
        if getattr(arguments, name) is not None and not legal:
            raise InputError(f"--{name} does nothing here; it must go {'with --test' if name == 'rows' else 'alone'}")
    data = load_data(arguments.data)
    if arguments.test:
        data = with_test_labels(data, arguments.data, arguments.rows)
    method = build(recipe_config(arguments.device, **recipe_arguments(arguments)))
    chosen = (every_slice(len(data.images)),) if final else splits(len(data.images), arguments.folds)
    run = Run("table1", method, chosen, arguments.seed, tuple(arguments.rotations))
    if arguments.average:
        for rotation in arguments.rotations:
            average(
                Run("table1", method, chosen, arguments.seed, (rotation,)), arguments.average, data, out=arguments.out
            )
        return 0
    made = execute([run], data, device=arguments.device, out=arguments.out, resume=arguments.resume)
    if made and not final:
        print(f"figure: {montage_of_record(made[0], data, arguments.out)}")
    return 0
