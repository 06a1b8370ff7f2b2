"""``python -m unet_paper``: the weight map, the scores, training, prediction and cells as commands.

Stacks come and go as TIFF. Only ``train`` and ``predict`` need torch. What a command needs is imported when
it runs, so that help comes at once.
"""

import argparse
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from unet_paper import __version__
from unet_paper.command import HelpFormatter, exit_status, file_name, note
from unet_paper.config import NetworkConfig, TrainingConfig, WeightMapConfig
from unet_paper.errors import InputError
from unet_paper.files import check_readable, check_writable

THRESHOLD = 0.5  # of `segment`
SCORES = {
    "warping_error": "warping error",
    "rand_error": "Rand error",
    "pixel_error": "pixel error",
    "v_rand": "V_Rand",
    "v_info": "V_Info",
}
STACK = "one image or a stack of slices, one channel, compressed or not, BigTIFF and OME-TIFF too"
EXAMPLES = {
    "weight-map": """
  %(prog)s train-labels.tif weights.tif
  %(prog)s cells.tif weights.tif --w0 10 --sigma 5 --everywhere""",
    "score": """
  %(prog)s train-labels.tif probability.tif
  %(prog)s train-labels.tif probability.tif --slices 24-29""",
    "predict": """
  %(prog)s stack.tif probability.tif --weights weights.safetensors
  %(prog)s 12-bit.tif probability.tif --weights weights.safetensors --scale 4095 --rotations none""",
    "train": """
  %(prog)s images.tif labels.tif weights.safetensors --hold-out 2
  %(prog)s images.tif labels.tif weights.safetensors --base-channels 16 --optimizer adam --steps 2000""",
    "segment": """
  %(prog)s probability.tif cells.tif
  %(prog)s probability.tif cells.tif --labels train-labels.tif""",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return exit_status(_run, argv)


def parser() -> argparse.ArgumentParser:
    """The command line as an argparse parser."""
    script = Path(sys.argv[0]).name
    top = argparse.ArgumentParser(
        prog=script if script.startswith("unet-paper") else "python -m unet_paper",
        description="The weight map of the U-Net paper, the scores of the ISBI 2012 challenge, and a network's "
        "training, prediction and cells. Stacks come and go as TIFF.",
        epilog="COMMAND --help has the options, their units and defaults, and examples.",
    )
    top.add_argument("--version", action="version", version=f"unet-paper {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    weights = _command(
        commands,
        "weight-map",
        weight_map,
        "weight map of Equation 2, slice by slice",
        "The cells of binary labels are their 4-connected components.",
    )
    _add_file(weights, "labels", "LABELS.tif", f"0 is membrane, else the number of the cell; {STACK}")
    _add_file(weights, "weights", "WEIGHTS.tif", "float32 TIFF to write")
    weights.add_argument(
        "--w0", type=float, default=WeightMapConfig.w0, help="height of the border term (default: %(default)g)"
    )
    weights.add_argument(
        "--sigma", type=float, default=WeightMapConfig.sigma, help="its width in pixels (default: %(default)g)"
    )
    weights.add_argument(
        "--everywhere", action="store_true", help="border term inside the cells too, also if they touch"
    )
    weights.add_argument("--border-only", action="store_true", help="leave the class weights out")

    scores = _command(
        commands,
        "score",
        score,
        "the five metrics of the challenge, at their best thresholds",
        "Both stacks have the same slices, or --slices names those of the labels that the map is of.",
    )
    _add_file(scores, "labels", "LABELS.tif", f"0 is membrane, 1 or 255 is cell; {STACK}")
    _add_file(scores, "probability", "PROBABILITY.tif", "probability of cell: float from 0 to 1, or 8 or 16 bits")
    scores.add_argument(
        "--slices", type=_slices, metavar="FIRST-LAST", help="counted from 0: 24, 24-29 or 0-5+24-29 (default: all)"
    )

    predicts = _command(
        commands,
        "predict",
        predict,
        "probability of cell by a trained network",
        "The images should look like those the network was trained on: pixels of about the same size (4 nm for the "
        "challenge's), membranes dark.",
    )
    _add_file(
        predicts,
        "stack",
        "STACK.tif",
        f"8 or 16 bits, or float from 0 to 1; {STACK}; with OUT.zarr also IN.zarr or FILE.h5:/path",
    )
    _add_file(
        predicts,
        "probability",
        "PROBABILITY.tif",
        "float32 TIFF to write, 0 is membrane, 1 is cell; or OUT.zarr, OME-Zarr of uint8, block by block and resumable",
    )
    predicts.add_argument(
        "--weights", type=file_name, required=True, metavar="FILE.safetensors", help="written by a training"
    )
    predicts.add_argument(
        "--scale",
        type=float,
        metavar="WHITE",
        help="the largest gray value there could be, for example 4095 for 12 bits (default: what the file says, "
        "else 255, 65535, or 1 for float)",
    )
    predicts.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")
    predicts.add_argument(
        "--rotations",
        default="eight",
        choices=("eight", "seven", "none"),
        help="average over the eight symmetries of the square, over seven rotations, or none, which takes an eighth of "
        "the time (default: %(default)s)",
    )

    where = predicts.add_mutually_exclusive_group()
    where.add_argument("--workers", type=_count, metavar="N", help="processes for OUT.zarr; GPUs go round")
    where.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers make OUT.zarr")

    trains = _command(
        commands,
        "train",
        train,
        "a network of your own, by the paper's recipe",
        "One tile a step, with elastic deformation, weight map and dropout. A training that was stopped goes on when "
        "the same command is given again; until it ends it lies in a folder beside WEIGHTS.safetensors.",
    )
    _add_file(trains, "images", "IMAGES.tif", f"8 or 16 bits, or float from 0 to 1; {STACK}")
    _add_file(trains, "labels", "LABELS.tif", "of the same shape: 0 is membrane or background, anything else is cell")
    _add_file(trains, "weights", "WEIGHTS.safetensors", "network to write")
    trains.add_argument(
        "--hold-out", type=_count, metavar="N", help="score the last N slices instead of training on them"
    )
    trains.add_argument("--steps", type=_count, metavar="N", help=f"default: {TrainingConfig.steps}")
    trains.add_argument(
        "--base-channels",
        type=_count,
        metavar="N",
        help=f"channels of the first level (default: {NetworkConfig.base_channels}; 16 take an eighth of the time)",
    )
    trains.add_argument("--optimizer", choices=("sgd", "adam"), help="default: sgd, the paper's; adam learns sooner")
    trains.add_argument("--init", type=file_name, metavar="WEIGHTS.safetensors", help="network to go on from")
    trains.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    trains.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")

    cells = _command(
        commands,
        "segment",
        segment,
        "numbered cells of a probability map, as the challenge scores them",
        "Slices are independent: the same number in two of them means nothing.",
    )
    _add_file(cells, "probability", "PROBABILITY.tif", "probability of cell: float from 0 to 1, or 8 or 16 bits")
    _add_file(cells, "cells", "LABELS.tif", "TIFF of 16 or 32 bits to write: 0 is membrane, cells from 1")
    choice = cells.add_mutually_exclusive_group()
    choice.add_argument(
        "--threshold", type=float, default=THRESHOLD, help="cells are above it, from 0 to 1 (default: %(default)s)"
    )
    choice.add_argument(
        "--labels", type=file_name, metavar="TRUE.tif", help="take the threshold of the best V_Rand against these"
    )
    return top


def weight_map(arguments: argparse.Namespace) -> None:
    """Write the weight map of a label stack, each slice for itself."""
    import numpy as np

    from unet_paper.tiff import write_slices
    from unet_paper.weight_map import cells_from_membranes, unet_weight_map

    _check_output(arguments.weights, arguments.labels)
    labels = _read_labels(arguments.labels)
    cells = labels.array
    if np.isin(cells, (0, cells.max())).all():
        cells = cells_from_membranes(cells)
        note(f"{arguments.labels} is binary: the cells are the 4-connected components of each slice")
    extremes = []

    def slices():
        for plane in _progress(cells, desc="weight map"):
            weights = unet_weight_map(
                plane,
                w0=arguments.w0,
                sigma=arguments.sigma,
                class_weights=None if arguments.border_only else WeightMapConfig.class_weights,
                background_only=not arguments.everywhere,
            )
            extremes.extend((weights.min(), weights.max()))
            yield weights

    write_slices(
        arguments.weights,
        slices(),
        shape=cells.shape,
        dtype="float32",
        voxel_size=labels.voxel_size,
        unit=labels.unit,
    )
    print(f"wrote {arguments.weights}: weights from {min(extremes):.4g} to {max(extremes):.4g}")


def score(arguments: argparse.Namespace) -> None:
    """Print the five metrics of a stored probability map."""
    from unet_paper import metrics

    labels, probability = _read_labels(arguments.labels), _read_probability(arguments.probability)
    truth = _chosen(labels.array, probability.array, arguments)
    if (value := probability.array.flat[0]) == probability.array.min() == probability.array.max():
        note(f"{arguments.probability} is {value:g} everywhere; by definition the warping error of such a map can be 0")
    scores = metrics.score(truth, probability.array, progress=partial(_progress, desc="score"))
    _print_scores(scores)


def predict(arguments: argparse.Namespace) -> None:
    """Write the probability of cell that a trained network gives to a stack."""
    if arguments.probability.suffix == ".zarr":
        return predict_zarr(arguments)
    if arguments.workers or arguments.scheduler:
        raise InputError(
            f"{arguments.probability} is made by one process; with --workers or --scheduler it must be .zarr"
        )
    from unet_paper.tiff import write_slices

    _check_output(arguments.probability, arguments.stack, arguments.weights)
    stack = _read_images(arguments.stack, full_range=arguments.scale)
    check_readable(arguments.weights)
    from tqdm import tqdm

    from unet_paper.checkpoint import load_weights
    from unet_paper.device import choose_device
    from unet_paper.predict import predict_stack

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


def train(arguments: argparse.Namespace) -> None:
    """Train a network on a labelled stack and, where slices are held out, score it on them."""
    import numpy as np

    from unet_paper.files import locked, make_folder
    from unet_paper.tiff import check_same_shape

    check_writable(arguments.weights, inputs=(arguments.images, arguments.labels))
    if arguments.weights.suffix != ".safetensors":
        raise InputError(f"cannot write {arguments.weights}: weights are safetensors, so its name must end so")
    images, labels = _read_images(arguments.images).array, _read_labels(arguments.labels).array
    check_same_shape(images, labels, str(arguments.images), str(arguments.labels))
    truth = (labels > 0).astype(np.uint8)
    n_train = len(images) - (arguments.hold_out or 0)
    if n_train < 1:
        raise InputError(f"--hold-out {arguments.hold_out} leaves no slice; it must be below {len(images)}, the slices")
    from tqdm import tqdm

    from unet_paper.checkpoint import load_weights, save_weights
    from unet_paper.device import choose_device
    from unet_paper.recipe import paper_recipe, recipe_config
    from unet_paper.train import gray_statistics
    from unet_paper.train import train as train_network

    device = choose_device(arguments.device)
    begun = None
    if arguments.init:
        begun, _ = load_weights(arguments.init)
        if arguments.base_channels not in (None, begun.config.base_channels):
            raise InputError(
                f"{arguments.init} has {begun.config.base_channels} base channels; --base-channels must be so"
            )
    config = recipe_config(
        device,
        steps=arguments.steps,
        base_channels=begun.config.base_channels if begun else arguments.base_channels,
        optimizer=arguments.optimizer,
    )
    recipe = paper_recipe(config)
    folder = make_folder(arguments.weights.with_name(f".{arguments.weights.stem}-training"))
    try:
        with locked(folder), tqdm(total=recipe.steps, desc="train", unit="step", disable=None) as bar:

            def report(step, loss):
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update(step - bar.n)

            model, _ = train_network(
                recipe,
                images[:n_train],
                truth[:n_train],
                seed=arguments.seed,
                device=device,
                folder=folder,
                resume=True,
                report=report,
                weights=begun.state_dict() if begun else None,
            )
            metadata = gray_statistics(images[:n_train]) | {"recipe": recipe.configuration, "seed": arguments.seed}
            save_weights(arguments.weights, model, metadata)
            for left in folder.iterdir():
                left.unlink()
    finally:
        with suppress(OSError):  # it holds the checkpoint of a training that was stopped
            folder.rmdir()
    print(f"wrote {arguments.weights}: trained on {n_train} slices")
    if arguments.hold_out:
        _score_held_out(model, images[n_train:], truth[n_train:], metadata, device)


def _score_held_out(model, images, truth, metadata, device):
    """Print the scores of slices that were not trained on."""
    from unet_paper import metrics
    from unet_paper.predict import predict_stack

    mean, std = metadata["image_mean"], metadata["image_std"]
    scores = metrics.score(truth, predict_stack(model, images, mean=mean, std=std, device=device))
    print(f"on the {len(images)} slices held out:")
    _print_scores(scores)


def _print_scores(scores):
    for name, title in SCORES.items():
        result = getattr(scores, name)
        where = "no threshold" if result.threshold is None else f"at threshold {result.threshold:.1f}"
        print(f"{title:14} {result.value:.6f}  {where}")


def segment(arguments: argparse.Namespace) -> None:
    """Write the numbered cells of a stored probability map."""
    from unet_paper import metrics, segment
    from unet_paper.tiff import check_same_shape, write_stack

    _check_output(arguments.cells, arguments.probability, *filter(None, [arguments.labels]))
    stack, threshold = _read_probability(arguments.probability), arguments.threshold
    _check_no_labels(arguments.probability, stack.array)
    if arguments.labels:
        truth = _read_labels(arguments.labels).array
        check_same_shape(truth, stack.array, str(arguments.labels), str(arguments.probability))
        v_rand = metrics.v_rand(truth, stack.array, progress=partial(_progress, desc="threshold"))
        threshold = v_rand.threshold or 0.0
        print(f"threshold {threshold:.1f}: V_Rand {v_rand.value:.6f}")
    cells = segment.segment(stack.array, threshold=threshold)
    write_stack(arguments.cells, cells, voxel_size=stack.voxel_size, unit=stack.unit)
    print(f"wrote {arguments.cells}: {cells.max(axis=(1, 2)).mean():.0f} cells a slice")


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
    )
    print(f"wrote {arguments.probability}: 0 is membrane, 255 is cell")


def _count(text):
    """A number of at least one."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _run(argv):
    arguments = parser().parse_args(argv)
    arguments.run(arguments)


def _command(commands, name, run, text, more):
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}. {more}",
        epilog=f"examples:{EXAMPLES[name]}",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_file(command, name, metavar, text):
    command.add_argument(name, type=file_name, metavar=metavar, help=text)


def _slices(text):
    """First and last slice of each range of 24, 24-29 or 0-5+24-29, counted from 0."""
    ranges = []
    for run in text.split("+"):
        first, dash, last = run.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise argparse.ArgumentTypeError(f"{run!r} must be a slice or FIRST-LAST, counted from 0")
        ranges.append((int(first), int(last)))
    return ranges


def _chosen(truth, probability, arguments):
    """The slices of the labels that the map is of."""
    import numpy as np

    from unet_paper.tiff import check_same_shape

    labels, path = arguments.labels, arguments.probability
    if arguments.slices:
        most = max(last for _, last in arguments.slices)
        if most >= len(truth):
            raise InputError(f"--slices: {labels} has slices 0 to {len(truth) - 1}, not {most}")
        truth = np.concatenate([truth[first : last + 1] for first, last in arguments.slices])
        if len(truth) != len(probability):
            raise InputError(
                f"--slices names {len(truth)} of the slices of {labels}, but {path} has {len(probability)}"
            )
    if len(truth) != len(probability):
        raise InputError(
            f"{labels} has {len(truth)} slices and {path} {len(probability)}; --slices FIRST-LAST must name the slices "
            f"of {labels} that the map is of"
        )
    check_same_shape(truth, probability, str(labels), str(path))
    return truth


def _check_output(path, *inputs):
    check_writable(path, inputs=inputs)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"cannot write {path}: a TIFF is written, so its name must end in .tif or .tiff")


def _read_images(path, *, full_range=None):
    from unet_paper.tiff import read_images

    stack = read_images(path, full_range=full_range)
    if stack.note:
        note(stack.note)
    return stack


def _read_labels(path):
    from unet_paper.tiff import read_labels

    labels = read_labels(path)
    if labels.note:
        note(labels.note)
    return labels


def _read_probability(path):
    """A stored map; one of whole numbers up to 1 comes as it is, for the metrics to judge and not scaled to nothing."""
    from unet_paper.tiff import read_stack

    stack = read_stack(path)
    return stack if stack.array.dtype.kind == "u" and stack.array.max() == 1 else _read_images(path)


def _check_no_labels(path, array):
    """In a map neighbouring pixels differ (in 69 to 94 % of pairs of stored maps), in labels hardly (below 3 %)."""
    import numpy as np

    left, right = array[..., :-1], array[..., 1:]
    pairs = (np.minimum(left, right) > 0) & (np.minimum(left, right) < array.max())
    if pairs.any() and (left != right)[pairs].mean() < 0.25:
        raise InputError(f"{path} holds areas of equal pixels, as labels do; it must be a probability map")


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


def _progress(slices, **options):
    """Progress with time left on a terminal's standard error."""
    from tqdm import tqdm

    return tqdm(slices, unit="slice", disable=None, **options)


if __name__ == "__main__":
    sys.exit(main())
