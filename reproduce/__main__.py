"""One sub-command for each table and figure of the U-Net paper. Run it from a checkout of the repository."""

import importlib
import sys
from pathlib import Path

from unet_paper.command import INTERRUPTED, command_line, exit_status, whole
from unet_paper.config import AugmentationConfig
from unet_paper.errors import Interrupted
from unet_paper.files import check_folder

GROUPS = {
    "reproduce the paper": {
        "quick": "reproduce.quick",
        "table1": "reproduce.table1",
        "figure1": "reproduce.figures.figure1",
        "figure2": "reproduce.figures.figure2",
        "figure3": "reproduce.figures.figure3",
        "elastic": "reproduce.figures.elastic",
        "segmentation": "reproduce.figures.segmentation",
    },
    "measure": {
        "sweep": "reproduce.sweep",
        "ablations": "reproduce.ablations",
        "systems": "reproduce.systems",
        "benchmark": "reproduce.benchmark.command",
    },
    "report": {
        "list": "reproduce.report.claims",
        "render": "reproduce.report.render",
        "compare": "reproduce.report.compare",
        "verify": "reproduce.verify",
        "pretrained": "reproduce.pretrained",
        "publish": "reproduce.publish",
    },
}
ARGUMENTS = {  # here, of commands that have none and of those that draw, whose modules import torch and matplotlib
    "list": {},
    "verify": {},
    "figure1": {"--input-size": {"type": whole(1), "default": 572, "help": "side of the tile, pixels (default: 572)"}},
    "figure2": {"--weights": {"type": Path, "help": "of a trained network (default: untrained, 8 channels)"}},
    "figure3": {
        "--slice": {"type": whole(0), "default": 0, "help": "slice of the training stack, from 0 (default: 0)"},
        "--crop": {"type": whole(1), "default": 256, "help": "side of the part that is drawn, pixels (default: 256)"},
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
        "--slice": {"type": whole(0), "default": 0, "help": "slice of the stack, from 0 (default: 0)"},
    },
}
COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}
MEASURED = ("table1", "figure2", "sweep", "ablations", "systems", "benchmark", "pretrained")
WITH_DATA = (*MEASURED, "figure3", "elastic", "verify")
WITH_DEVICE = (*MEASURED, "quick")
WITH_SEED = ("quick", "table1", "figure2", "elastic", "sweep")
OF_RESULTS = ("list", "render", "verify")
READS = ("list", "verify")


def parser(chosen):
    """The command line as an argparse parser, complete for the command `chosen` alone: others are not imported."""
    from reproduce.records import RESULTS, RUNS

    top, command = command_line("python -m reproduce", __doc__, GROUPS, chosen)
    if not command:
        return top
    if chosen in WITH_DATA:
        command.add_argument(
            "--data", type=Path, help="folder of the ISBI 2012 stacks (default: $ISBI2012_DIR, then data/isbi2012)"
        )
    if chosen in WITH_DEVICE:
        command.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    if chosen in WITH_SEED:
        command.add_argument("--seed", type=whole(0), default=0, help="default: 0")
    if chosen in OF_RESULTS:
        command.add_argument("--out", type=Path, default=RESULTS, help="folder of the records (default: results)")
    elif chosen != "compare":
        command.add_argument("--out", type=Path, default=RUNS, help="folder of what is run (default: runs)")
    for flag, options in ARGUMENTS.get(chosen, {}).items():
        command.add_argument(flag, **options)
    if chosen not in ARGUMENTS:
        importlib.import_module(COMMANDS[chosen]).add_arguments(command)
    return top


def main(argv=None):
    """Run one command; returns the exit status."""
    return exit_status(_main, sys.argv[1:] if argv is None else list(argv))


def _main(argv):
    arguments = parser(next(iter(argv), "")).parse_args(argv)
    if hasattr(arguments, "out"):
        check_folder(arguments.out, writable=not (arguments.command in READS or getattr(arguments, "check", False)))
    if hasattr(arguments, "device"):
        from unet_paper.device import choose_device  # torch, only now

        arguments.device = choose_device(arguments.device)
    try:
        return importlib.import_module(COMMANDS[arguments.command]).run(arguments)
    except Interrupted as stopped:
        if getattr(arguments, "resume", True):
            raise
        print(f"{stopped}; the same command without --no-resume continues", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
