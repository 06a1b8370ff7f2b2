"""``python -m data_scripts.phantom``: write a synthetic stack as the files the challenge has.

train-volume.tif, train-labels.tif, test-volume.tif and test-labels.tif; training and test stack are
two pieces of the same kind of tissue.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from unet_paper.errors import InputError
from unet_paper.files import make_folder
from unet_paper.phantom import UNIT, VOXEL_SIZE, make_phantom
from unet_paper.tiff import write_stack


def main(argv=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m data_scripts.phantom", description=__doc__.split("\n\n")[1])
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="made if need be")
    parser.add_argument("--slices", type=int, default=30, help="slices of each stack (default: 30)")
    parser.add_argument("--size", type=int, default=512, help="height and width in pixels (default: 512)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments = parser.parse_args(argv)
    try:
        write_phantom(arguments.out, n_slices=arguments.slices, size=arguments.size, seed=arguments.seed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"{arguments.out} now holds a synthetic stack in the challenge's format")
    return 0


def write_phantom(folder, *, n_slices, size, seed):
    """Write the four files into `folder`, which is made if need be.

    Parameters
    ----------
    folder : path-like
    n_slices, size : int
        Slices of each stack; height and width in pixels.
    seed : int
        At least 0; the same seed gives the same files.

    Raises
    ------
    InputError
        If a size or the seed is illegal or a file cannot be written.
    """
    if seed < 0:
        raise InputError(f"seed {seed} is negative; legal: 0 or more")
    folder = Path(folder)
    stacks = {}
    for number, part in enumerate(("train", "test")):
        images, labels = make_phantom(n_slices, size, size, seed=np.random.default_rng([seed, number]))
        stacks |= {f"{part}-volume.tif": images, f"{part}-labels.tif": labels}
    make_folder(folder)
    for name, stack in stacks.items():
        write_stack(folder / name, stack, voxel_size=VOXEL_SIZE, unit=UNIT)


if __name__ == "__main__":
    sys.exit(main())
