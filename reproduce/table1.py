"""Table 1: train, predict and score on the EM segmentation challenge, by five-fold cross-validation.

Each fold holds out six contiguous slices of the training stack; every slice is scored by a network that never
saw it. ``--final`` trains on all thirty slices and writes maps of the test volume in the challenge's format,
whose labels were hidden until after the paper: ``--test`` scores the maps where the labels are at hand.
"""

import argparse
import re

from reproduce.experiment.options import add_run_arguments, connection, departed, recipe_arguments
from unet_paper.command import whole
from unet_paper.errors import InputError


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    add_run_arguments(parser)
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="continue trainings that were stopped, or start those anew (default: --resume)",
    )
    parser.add_argument(
        "--average",
        type=whole(0),
        nargs="+",
        metavar="SEED",
        help="train with each of these seeds in place of --seed, and score the mean of their maps",
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
    """Run the command."""
    from reproduce.baselines.unet import build  # torch, only now
    from reproduce.data import load_data, with_test_labels
    from reproduce.experiment.execute import execute, recorded
    from reproduce.experiment.run import Run, every_slice, splits
    from reproduce.figures.montage import montage_of_record
    from unet_paper.recipe import recipe_config

    final = arguments.final or arguments.test
    if final and arguments.folds:
        raise InputError("--final and --test train on all slices; --folds must be left out")
    if arguments.rows and not arguments.test:
        raise InputError("--rows names rows of the labels that --test scores by; it must go with --test")
    seeds = tuple(sorted(set(arguments.average or [arguments.seed])))
    if arguments.average and len(seeds) < 2:
        raise InputError(f"--average has the seed {seeds[0]} alone; it must have two different ones or more")
    data = load_data(arguments.data)
    if arguments.test:
        data = with_test_labels(data, arguments.data, arguments.rows)
    config = recipe_config(arguments.device, **recipe_arguments(arguments))
    method = departed(build(config), config)
    chosen = (every_slice(len(data.images)),) if final else splits(len(data.images), arguments.folds)
    width = {"base_channels": config.network.base_channels}
    row = Run("table1", method, chosen, seeds, tuple(arguments.rotations), width)
    execute(
        [row], data, device=arguments.device, out=arguments.out, resume=arguments.resume, connect=connection(arguments)
    )
    if not final and (made := recorded([row], data, arguments.out)):
        print(f"figure: {montage_of_record(made[0], data, arguments.out)}")
