"""``python -m unet_paper``: the weight map, the scores, the prediction of a network and its cells as commands.

Stacks come and go as TIFF. Only ``predict`` needs torch.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet_paper import __version__
from unet_paper.config import WeightMapConfig
from unet_paper.errors import InputError
from unet_paper.files import check_writable
from unet_paper.tiff import check_same_shape, read_images, read_labels, read_stack, write_stack

THRESHOLD = 0.5  # of `segment`
SCORES = {
    "warping_error": "warping error",
    "rand_error": "Rand error",
    "pixel_error": "pixel error",
    "v_rand": "V_Rand",
    "v_info": "V_Info",
}


def main(argv=None):
    """Run one command; returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
        return 0
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser():
    """The command line as an argparse parser."""
    top = argparse.ArgumentParser(prog="python -m unet_paper", description=__doc__.split("\n\n")[0])
    top.add_argument("--version", action="version", version=f"unet-paper {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    weights = _command(commands, "weight-map", weight_map, "weight map of Equation 2, slice by slice")
    weights.add_argument("labels", type=Path, metavar="LABELS.tif", help="0 is membrane, else number of the cell")
    weights.add_argument("weights", type=Path, metavar="WEIGHTS.tif", help="float32 TIFF to write")
    weights.add_argument("--w0", type=float, default=WeightMapConfig.w0, help="default: %(default)s")
    weights.add_argument("--sigma", type=float, default=WeightMapConfig.sigma, help="pixels, default: %(default)s")
    weights.add_argument("--everywhere", action="store_true", help="border term inside the cells too")
    weights.add_argument("--border-only", action="store_true", help="leave the class weights out")

    scores = _command(commands, "score", score, "the five metrics of the challenge, at their best thresholds")
    scores.add_argument("labels", type=Path, metavar="LABELS.tif", help="0 is membrane, 1 or 255 is cell")
    scores.add_argument("probability", type=Path, metavar="PROBABILITY.tif", help="probability of cell")
    scores.add_argument(
        "--slices", type=_slices, metavar="FIRST-LAST", help="slices of LABELS.tif that the map is of, also 0-5+24-29"
    )

    predicts = _command(commands, "predict", predict, "probability of cell by a trained network")
    predicts.add_argument("stack", type=Path, metavar="STACK.tif", help="or, with OUT.zarr, IN.zarr or FILE.h5:/path")
    predicts.add_argument(
        "probability", type=Path, metavar="PROBABILITY.tif", help="float32 TIFF to write, or OUT.zarr: OME-Zarr, uint8"
    )
    predicts.add_argument("--weights", type=Path, required=True, metavar="FILE.safetensors")
    predicts.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: auto")
    predicts.add_argument(
        "--rotations", default="eight", choices=("eight", "seven", "none"), help="versions to average, default: eight"
    )
    where = predicts.add_mutually_exclusive_group()
    where.add_argument("--workers", type=_count, metavar="N", help="processes for OUT.zarr; GPUs go round")
    where.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers make OUT.zarr")

    cells = _command(commands, "segment", segment, "numbered cells of a probability map, as the challenge scores them")
    cells.add_argument("probability", type=Path, metavar="PROBABILITY.tif", help="probability of cell")
    cells.add_argument("cells", type=Path, metavar="LABELS.tif", help="TIFF to write: 0 is membrane, cells from 1")
    choice = cells.add_mutually_exclusive_group()
    choice.add_argument("--threshold", type=float, default=THRESHOLD, help="cells are above it, default: %(default)s")
    choice.add_argument("--labels", type=Path, metavar="TRUE.tif", help="take the threshold of the best V_Rand")
    return top


def weight_map(arguments):
    """Write the weight map of a label stack, each slice for itself."""
    from unet_paper.weight_map import cells_from_membranes, unet_weight_map

    check_writable(arguments.weights)
    labels = read_labels(arguments.labels)
    cells = labels.array
    if np.isin(cells, (0, cells.max())).all():
        cells = cells_from_membranes(cells)
        _note(f"{arguments.labels} is binary: the cells are the 4-connected components of each slice")
    weights = [
        unet_weight_map(
            plane,
            w0=arguments.w0,
            sigma=arguments.sigma,
            class_weights=None if arguments.border_only else WeightMapConfig.class_weights,
            background_only=not arguments.everywhere,
        )
        for plane in _progress(cells, desc="weight map")
    ]
    weights = np.stack(weights)
    write_stack(arguments.weights, weights, voxel_size=labels.voxel_size, unit=labels.unit)
    print(f"wrote {arguments.weights}: weights from {weights.min():.4g} to {weights.max():.4g}")


def score(arguments):
    """Print the five metrics of a stored probability map."""
    from unet_paper import metrics

    labels, probability = read_labels(arguments.labels), _read_probability(arguments.probability)
    truth = labels.array
    if arguments.slices:
        most = max(last for _, last in arguments.slices)
        if most >= len(truth):
            raise InputError(f"--slices: {arguments.labels} has slices 0 to {len(truth) - 1}, not {most}")
        truth = np.concatenate([truth[first : last + 1] for first, last in arguments.slices])
    check_same_shape(truth, probability.array, str(arguments.labels), str(arguments.probability))
    scores = metrics.score(truth, probability.array, progress=partial(_progress, desc="score"))
    for name, title in SCORES.items():
        result = getattr(scores, name)
        where = "no threshold" if result.threshold is None else f"at threshold {result.threshold:.1f}"
        print(f"{title:14} {result.value:.6f}  {where}")


def predict(arguments):
    """Write the probability of cell that a trained network gives to a stack."""
    if arguments.probability.suffix == ".zarr":
        return predict_zarr(arguments)
    if arguments.workers or arguments.scheduler:
        raise InputError(
            f"{arguments.probability} is made by one process; with --workers or --scheduler it must be .zarr"
        )
    check_writable(arguments.probability)
    stack = _read_images(arguments.stack)
    from unet_paper.checkpoint import load_weights  # torch, only now
    from unet_paper.device import choose_device
    from unet_paper.predict import predict_stack

    device = choose_device(arguments.device)
    model, metadata = load_weights(arguments.weights)
    sizes = model.config
    if (sizes.in_channels, sizes.n_classes) != (1, 2):
        raise InputError(
            f"{arguments.weights} holds a network of {sizes.in_channels} channels and {sizes.n_classes} classes; "
            "legal: 1 channel (gray) and 2 classes (membrane, cell)"
        )
    with tqdm(desc="predict", unit="tile", disable=None) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        probability = predict_stack(
            model,
            stack.array,
            mean=metadata["image_mean"],
            std=metadata["image_std"],
            rotations=arguments.rotations,
            device=device,
            depth=sizes.depth,  # one tile side and stride are legal for any depth up to 9
            progress=progress,
        )
    write_stack(arguments.probability, probability.astype(np.float32), voxel_size=stack.voxel_size, unit=stack.unit)
    print(f"wrote {arguments.probability}: 0 is membrane, 1 is cell")


def predict_zarr(arguments):
    """Write the same of a volume of any size, block by block."""
    from unet_paper.engine import cluster
    from unet_paper.volume import predict_volume

    predict_volume(
        arguments.stack,
        arguments.probability,
        arguments.weights,
        rotations=arguments.rotations,
        device=arguments.device,
        connect=partial(cluster, workers=arguments.workers, scheduler=arguments.scheduler, note=_note),
        note=_note,
    )
    print(f"wrote {arguments.probability}: 0 is membrane, 255 is cell")


def _count(text):
    """A number of at least one."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def segment(arguments):
    """Write the numbered cells of a stored probability map."""
    from unet_paper import metrics, segment

    check_writable(arguments.cells)
    stack, threshold = _read_probability(arguments.probability), arguments.threshold
    _check_no_labels(arguments.probability, stack.array)
    if arguments.labels:
        truth = read_labels(arguments.labels).array
        check_same_shape(truth, stack.array, str(arguments.labels), str(arguments.probability))
        v_rand = metrics.v_rand(truth, stack.array, progress=partial(_progress, desc="threshold"))
        threshold = v_rand.threshold or 0.0
        print(f"threshold {threshold:.1f}: V_Rand {v_rand.value:.6f}")
    cells = segment.segment(stack.array, threshold=threshold)
    write_stack(arguments.cells, cells, voxel_size=stack.voxel_size, unit=stack.unit)
    print(f"wrote {arguments.cells}: {cells.max(axis=(1, 2)).mean():.0f} cells a slice")


def _slices(text):
    """First and last slice of each range of 24-29 or 0-5+24-29, counted from 0."""
    ranges = []
    for run in text.split("+"):
        first, _, last = run.partition("-")
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise argparse.ArgumentTypeError(f"{run!r} is no range of slices; legal: FIRST-LAST, counted from 0")
        ranges.append((int(first), int(last)))
    return ranges


def _command(commands, name, run, text):
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _read_images(path):
    stack = read_images(path)
    if stack.note:
        _note(stack.note)
    return stack


def _read_probability(path):
    """A stored map; one of whole numbers up to 1 comes as it is, for the metrics to judge and not scaled to nothing."""
    stack = read_stack(path)
    return stack if stack.array.dtype.kind == "u" and stack.array.max() == 1 else _read_images(path)


def _check_no_labels(path, array):
    """In a map neighbouring pixels differ (in 69 to 94 % of pairs of stored maps), in labels hardly (below 3 %)."""
    left, right = array[..., :-1], array[..., 1:]
    pairs = (np.minimum(left, right) > 0) & (np.minimum(left, right) < array.max())
    if pairs.any() and (left != right)[pairs].mean() < 0.25:
        raise InputError(f"{path} holds areas of equal pixels, as labels do; it must be a probability map")


def _note(text):
    print(f"note: {text}", file=sys.stderr)


def _progress(slices, **options):
    """Progress with time left on a terminal's standard error."""
    return tqdm(slices, unit="slice", disable=None, **options)


if __name__ == "__main__":
    sys.exit(main())
