"""A trained network as a bioimage.io model package.

ilastik, QuPath and deepImageJ read that format: weights as a PyTorch state dict, TorchScript and ONNX, with their
documentation and a test image, by which "bioimageio test PACKAGE.zip" checks them.

examples:
  %(prog)s unet.zip
  %(prog)s mine.zip --weights weights.safetensors
"""

import argparse

from unet_paper.command import file_name
from unet_paper.commands.common import add_weights, chosen_weights
from unet_paper.files import check_readable, check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("package", type=file_name, metavar="PACKAGE.zip", help="package to write")
    add_weights(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write a package of a trained network."""
    weights = chosen_weights(arguments.weights)
    check_writable(arguments.package, inputs=[weights])
    check_readable(weights)
    from unet_paper.checkpoint import load_weights
    from unet_paper.export import export

    export(arguments.package, *load_weights(weights))
    print(f"wrote {arguments.package}")
