"""The weight map of the U-Net paper, the scores of the ISBI 2012 challenge, and a network's training, prediction,
cells and package. Stacks come and go as TIFF; predict alone reads volumes larger than memory, as zarr or HDF5 too, and
writes them as OME-Zarr.

COMMAND --help has the options, their units and defaults, and examples.
"""

import argparse
import importlib
import sys
from pathlib import Path

from unet_paper import __version__
from unet_paper.command import command_line, exit_status

COMMANDS = {
    "weight-map": "unet_paper.commands.weight_map",
    "score": "unet_paper.commands.score",
    "predict": "unet_paper.commands.predict",
    "train": "unet_paper.commands.train",
    "segment": "unet_paper.commands.segment",
    "export": "unet_paper.commands.export",
}


def parser(chosen: str = "") -> argparse.ArgumentParser:
    """The command line as an argparse parser, complete for the command `chosen` alone: others are not imported."""
    script = Path(sys.argv[0]).name
    prog = script if script.startswith("unet-paper") else "python -m unet_paper"
    top, command = command_line(prog, __doc__, {"commands": COMMANDS}, chosen)
    top.add_argument("--version", action="version", version=f"unet-paper {__version__}")
    if command:
        importlib.import_module(COMMANDS[chosen]).add_arguments(command)
    return top


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return exit_status(_main, sys.argv[1:] if argv is None else list(argv))


def _main(argv):
    arguments = parser(next(iter(argv), "")).parse_args(argv)
    return importlib.import_module(COMMANDS[arguments.command]).run(arguments)


if __name__ == "__main__":
    sys.exit(main())
