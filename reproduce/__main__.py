"""``python -m reproduce``: one sub-command for each table and figure of the paper."""

import argparse
import importlib
import sys
from pathlib import Path

from reproduce.records import RESULTS
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss
from unet_paper.files import check_folder

COMMANDS = {
    "list": ("claims", "each claim of the paper, its place, the command that checks it, the status"),
    "quick": ("quick", "train, predict, score and render on a synthetic stack: minutes, no download, no GPU"),
    "figure1": ("figures.figure1", "the network of Figure 1 with its measured sizes"),
    "figure2": ("figures.figure2", "overlap-tile with mirrored context, Figure 2"),
    "figure3": ("figures.figure3", "cells and the weight map, Figure 3"),
    "table1": ("table1", "train, predict and score on ISBI 2012, Table 1"),
    "elastic": ("figures.elastic", "elastic deformation of a grid and of a slice, section 3.1"),
    "segmentation": ("figures.segmentation", "a slice of any stack with its probability and its cells"),
    "sweep": ("sweep", "learning rates and steps on one fold"),
    "ablations": ("ablations", "what each part of the recipe brings"),
    "systems": ("compare_systems", "every other system as a row of the same table"),
    "benchmark": ("benchmark", "speed and memory of training, inference, weight map and metrics"),
    "render": ("render", "tables and figures from the records"),
    "compare": ("compare", "two record files side by side, with a verdict"),
}

WITHOUT_DEVICE = ("list", "segmentation", "render", "compare")


def parser(chosen=None):
    """The command line as an argparse parser, complete for the command `chosen` or, by default, for all."""
    top = argparse.ArgumentParser(prog="python -m reproduce", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--data", type=Path, help="folder with the ISBI 2012 stacks (default: $ISBI2012_DIR, then data/isbi2012)"
        )
        sub.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
        sub.add_argument("--seed", type=int, default=0, help="default: 0")
        sub.add_argument("--out", type=Path, default=RESULTS, help="folder for results (default: results)")
        if chosen in (None, name):  # the others' modules need not be imported
            importlib.import_module(f"reproduce.{module}").add_arguments(sub)
    return top


def check(arguments):
    """Raise `InputError` for numbers and folders that no command can use."""
    for name, least in (
        ("seed", 0),
        ("seeds", 0),
        ("average", 0),
        ("steps", 1),
        ("warmup", 0),
        ("learning_rates", 0),
        ("base_channels", 1),
    ):
        values = getattr(arguments, name, None)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not value >= least:
                raise InputError(f"--{name.replace('_', '-')} {value} is illegal; legal: at least {least}")
    check_folder(arguments.out)


def main(argv=None):
    """Run one command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(next(iter(argv), "")).parse_args(argv)
    try:
        check(arguments)
        if arguments.command not in WITHOUT_DEVICE:
            from unet_paper.predict import choose_device

            arguments.device = choose_device(arguments.device)
        return importlib.import_module(f"reproduce.{COMMANDS[arguments.command][0]}").run(arguments)
    except (InputError, NonFiniteLoss, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
