"""One sub-command for each table and figure of the U-Net paper. Run it from a checkout of the repository."""

import argparse
import importlib
import sys
from pathlib import Path

from unet_paper.command import INTERRUPTED, exit_status
from unet_paper.config import AugmentationConfig
from unet_paper.errors import Interrupted
from unet_paper.files import check_folder

GROUPS = {
    "reproduce the paper": {
        "quick": ("quick", "train, predict and score on a synthetic stack: minutes, no download, no GPU"),
        "table1": ("table1", "train, predict and score on ISBI 2012, Table 1"),
        "figure1": ("figures.figure1", "the network of Figure 1 with its measured sizes"),
        "figure2": ("figures.figure2", "overlap-tile with mirrored context, Figure 2"),
        "figure3": ("figures.figure3", "cells and the weight map, Figure 3"),
        "elastic": ("figures.elastic", "elastic deformation of a grid and of a slice, section 3.1"),
        "segmentation": ("figures.segmentation", "a slice, its probability map and its cells as a picture"),
    },
    "measure": {
        "sweep": ("sweep", "learning rates and steps on training slices of one fold"),
        "ablations": ("ablations", "what each part of the recipe brings; the learning curve"),
        "systems": ("systems", "other methods as rows of the same table"),
        "benchmark": ("benchmark.command", "speed and memory of training, inference, volumes, weight map and metrics"),
    },
    "report": {
        "list": ("report.claims", "each claim of the paper, the command that checks it, the verdict"),
        "render": ("report.render", "tables and figures from the records"),
        "compare": ("report.compare", "two record files side by side, with a verdict"),
        "verify": ("verify", "score every stored map again and compare with its record"),
        "publish": ("publish", "take what was run into results/"),
    },
}
FIGURES = {  # arguments here, since the modules that draw import torch and matplotlib
    "figure1": {"--input-size": {"type": int, "default": 572, "help": "side of the tile, pixels (default: 572)"}},
    "figure2": {"--weights": {"type": Path, "help": "of a trained network (default: untrained, 8 channels)"}},
    "figure3": {
        "--slice": {"type": int, "default": 0, "help": "slice of the training stack, from 0 (default: 0)"},
        "--crop": {"type": int, "default": 256, "help": "side of the part that is drawn, pixels (default: 256)"},
    },
    "elastic": {
        "--sigma": {
            "type": float,
            "default": AugmentationConfig.sigma,
            "help": f"standard deviation of the nodes, pixels (default: {AugmentationConfig.sigma:g})",
        }
    },
    "segmentation": {
        "stack": {"type": Path, "metavar": "STACK.tif"},
        "probability": {"type": Path, "metavar": "PROBABILITY.tif", "help": "written by unet-paper predict"},
        "labels": {"type": Path, "metavar": "LABELS.tif", "help": "written by unet-paper segment"},
        "--slice": {"type": int, "default": 0, "help": "slice of the stack, from 0 (default: 0)"},
    },
}
COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}
WITH_DATA = ("table1", "figure2", "figure3", "elastic", "sweep", "ablations", "systems", "benchmark", "verify")
WITH_DEVICE = ("quick", "table1", "figure2", "sweep", "ablations", "systems", "benchmark")
WITH_SEED = ("quick", "table1", "figure2", "elastic", "sweep", "ablations", "systems")
OF_RESULTS = ("list", "render", "verify")


def parser(chosen):
    """The command line as an argparse parser, complete for the command `chosen` alone: others are not imported."""
    from reproduce.experiment.options import whole
    from reproduce.records import RESULTS, RUNS

    groups = [
        f"{group}:\n" + "\n".join(f"  {name:10} {text}" for name, (_, text) in commands.items())
        for group, commands in GROUPS.items()
    ]
    top = argparse.ArgumentParser(
        prog="python -m reproduce",
        description=__doc__,
        epilog="\n\n".join(groups),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", help="one of the following")
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, description=text)
        if name != chosen:
            continue
        if name in WITH_DATA:
            sub.add_argument(
                "--data", type=Path, help="folder of the ISBI 2012 stacks (default: $ISBI2012_DIR, then data/isbi2012)"
            )
        if name in WITH_DEVICE:
            sub.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
        if name in WITH_SEED:
            sub.add_argument("--seed", type=whole(0), default=0, help="default: 0")
        if name in OF_RESULTS:
            sub.add_argument("--out", type=Path, default=RESULTS, help="folder of the records (default: results)")
        elif name != "compare":
            sub.add_argument("--out", type=Path, default=RUNS, help="folder of what is run (default: runs)")
        for flag, options in FIGURES.get(name, {}).items():
            sub.add_argument(flag, **options)
        if name not in FIGURES:
            importlib.import_module(f"reproduce.{module}").add_arguments(sub)
    return top


def main(argv=None):
    """Run one command; returns the exit status."""
    return exit_status(_main, sys.argv[1:] if argv is None else list(argv))


def _main(argv):
    arguments = parser(next(iter(argv), "")).parse_args(argv)
    if hasattr(arguments, "out"):
        check_folder(arguments.out)
    if hasattr(arguments, "device"):
        from unet_paper.device import choose_device  # torch, only now

        arguments.device = choose_device(arguments.device)
    try:
        return importlib.import_module(f"reproduce.{COMMANDS[arguments.command][0]}").run(arguments)
    except Interrupted as stopped:
        if getattr(arguments, "resume", True):
            raise
        print(f"{stopped}; the same command without --no-resume continues", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
