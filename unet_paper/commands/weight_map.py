"""Weight map of Equation 2, slice by slice, with one pair of class weights for all.

The cells of binary labels are their 4-connected components.

examples:
  %(prog)s train-labels.tif weights.tif
  %(prog)s cells.tif weights.tif --w0 10 --sigma 5 --everywhere
"""

import argparse

from unet_paper.command import note
from unet_paper.commands.common import STACK, add_file, check_output, progress, read_labels
from unet_paper.config import WeightMapConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_file(parser, "labels", "LABELS.tif", f"0 is membrane, else the number of the cell; {STACK}")
    add_file(parser, "weights", "WEIGHTS.tif", "float32 TIFF to write")
    parser.add_argument(
        "--w0", type=float, default=WeightMapConfig.w0, help="height of the border term (default: %(default)g)"
    )
    parser.add_argument(
        "--sigma", type=float, default=WeightMapConfig.sigma, help="its width in pixels (default: %(default)g)"
    )
    parser.add_argument(
        "--everywhere", action="store_true", help="border term inside the cells too, also if they touch"
    )
    parser.add_argument("--border-only", action="store_true", help="leave the class weights out")


def run(arguments: argparse.Namespace) -> None:
    """Write the weight map of a label stack."""
    import numpy as np

    from unet_paper.tiff import write_slices
    from unet_paper.weight_map import balanced_class_weights, cells_from_membranes, unet_weight_map

    check_output(arguments.weights, arguments.labels)
    labels = read_labels(arguments.labels)
    cells = labels.array
    if np.isin(cells, (0, cells.max())).all():
        cells = cells_from_membranes(cells)
        note(f"{arguments.labels} is binary: the cells are the 4-connected components of each slice")
    class_weights = None if arguments.border_only else balanced_class_weights(cells)
    extremes = []

    def slices():
        for plane in progress(cells, desc="weight map"):
            weights = unet_weight_map(
                plane,
                w0=arguments.w0,
                sigma=arguments.sigma,
                class_weights=class_weights,
                background_only=not arguments.everywhere,
            )
            extremes.extend((weights.min(), weights.max()))
            yield weights

    write_slices(
        arguments.weights, slices(), shape=cells.shape, dtype="float32", voxel_size=labels.voxel_size, unit=labels.unit
    )
    print(f"wrote {arguments.weights}: weights from {min(extremes):.4g} to {max(extremes):.4g}")
