"""Probability of cell by a trained network.

The images should look like those the network was trained on: for the network in the package membranes dark, and
pixels of about 4 nm.

examples:
  %(prog)s stack.tif probability.tif
  %(prog)s 12-bit.tif probability.tif --weights weights.safetensors --scale 4095 --rotations none
"""

import argparse
from functools import partial

from unet_paper.command import note, whole
from unet_paper.commands.common import STACK, add_file, add_weights, check_output, chosen_weights, read_images
from unet_paper.errors import InputError
from unet_paper.files import HDF5, check_readable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_file(
        parser,
        "stack",
        "STACK.tif",
        f"8 or 16 bits, or float from 0 to 1; {STACK}; with OUT.zarr also IN.zarr or FILE.h5:/path",
    )
    add_file(
        parser,
        "probability",
        "PROBABILITY.tif",
        "float32 TIFF to write, 0 is membrane, 1 is cell; or OUT.zarr, OME-Zarr of uint8, block by block and resumable",
    )
    add_weights(parser)
    parser.add_argument(
        "--scale",
        type=float,
        metavar="WHITE",
        help="the largest gray value there could be, for example 4095 for 12 bits (default: what the file says, "
        "else 255, 65535, or 1 for float)",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    parser.add_argument(
        "--rotations",
        default="eight",
        choices=("eight", "seven", "none"),
        help="average over the eight symmetries of the square, over seven rotations (not for OUT.zarr), or none, which "
        "takes an eighth of the time (default: %(default)s)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=whole(1), metavar="N", help="processes for OUT.zarr; GPUs go round")
    where.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers make OUT.zarr")


def run(arguments: argparse.Namespace) -> None:
    """Write the probability of cell that a trained network gives to a stack."""
    arguments.weights = chosen_weights(arguments.weights)
    if arguments.probability.suffix == ".zarr":
        return predict_zarr(arguments)
    if arguments.workers or arguments.scheduler:
        raise InputError(
            f"{arguments.probability} is made by one process; with --workers or --scheduler it must be .zarr"
        )
    from unet_paper.tiff import write_slices

    if arguments.stack.is_dir() or HDF5.fullmatch(str(arguments.stack)):
        raise InputError(f"{arguments.stack} is segmented block by block; {arguments.probability} must be .zarr")
    check_output(arguments.probability, arguments.stack, arguments.weights)
    stack = read_images(arguments.stack, full_range=arguments.scale)
    check_readable(arguments.weights)
    from tqdm import tqdm

    from unet_paper.checkpoint import load_weights
    from unet_paper.device import choose_device
    from unet_paper.predict import predict_stack
    from unet_paper.trained import voxel_size_note

    device = choose_device(arguments.device)
    model, metadata = load_weights(arguments.weights)
    sizes = model.config
    if (sizes.in_channels, sizes.n_classes) != (1, 2):
        raise InputError(
            f"{arguments.weights} holds a network of {sizes.in_channels} channels and {sizes.n_classes} classes; "
            "it must have 1 channel (gray) and 2 classes (membrane, cell)"
        )
    mean, std = metadata["image_mean"], metadata["image_std"]
    _compare_gray_values(arguments.stack, stack.array, mean, std)
    if sentence := voxel_size_note(arguments.stack, stack.voxel_size, stack.unit, metadata):
        note(sentence)

    with tqdm(desc="predict", unit="tile", disable=None) as bar:

        def slices():
            for z in range(len(stack.array)):
                yield predict_stack(
                    model,
                    stack.array[z : z + 1],
                    mean=mean,
                    std=std,
                    rotations=arguments.rotations,
                    device=device,
                    depth=sizes.depth,  # one tile side and stride are legal for any depth up to 9
                    progress=partial(progress, z),
                )[0]

        def progress(z, done, total):
            bar.total = total * len(stack.array)
            bar.update(z * total + done - bar.n)

        write_slices(
            arguments.probability,
            slices(),
            shape=stack.array.shape,
            dtype="float32",
            voxel_size=stack.voxel_size,
            unit=stack.unit,
        )
    print(f"wrote {arguments.probability}: 0 is membrane, 1 is cell")


def predict_zarr(arguments: argparse.Namespace) -> None:
    """Write the same of a volume of any size, block by block."""
    from unet_paper.engine import cluster
    from unet_paper.volume import predict_volume

    predict_volume(
        arguments.stack,
        arguments.probability,
        arguments.weights,
        rotations=arguments.rotations,
        full_range=arguments.scale,
        device=arguments.device,
        connect=partial(cluster, workers=arguments.workers, scheduler=arguments.scheduler, note=note),
        note=note,
        inspect=_compare_gray_values,
    )
    print(f"wrote {arguments.probability}: 0 is membrane, 255 is cell")


def _compare_gray_values(path, images, mean, std):
    """Note if mean or deviation of the images are far from those the network was trained on."""
    import numpy as np

    own_mean = np.mean([plane.mean(dtype=np.float64) for plane in images])
    own_std = np.sqrt(np.mean([np.square(plane - own_mean).mean() for plane in images]))
    if abs(own_mean - mean) > std or not std / 2 <= own_std <= 2 * std:
        note(
            f"gray values of {path} are {own_mean:.2f} on average and deviate by {own_std:.2f}, but the network was "
            f"trained on {mean:.2f} and {std:.2f}; --scale names the value of white, if that is the reason"
        )
