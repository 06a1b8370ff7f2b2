"""A network of your own, by the paper's recipe.

One tile a step, with elastic deformation, weight map and dropout. A training that was stopped goes on when the same
command is given again; until it ends it lies in a folder beside WEIGHTS.safetensors.

examples:
  %(prog)s images.tif labels.tif weights.safetensors --hold-out 2
  %(prog)s images.tif labels.tif weights.safetensors --base-channels 16 --optimizer adam --learning-rate 1e-3
"""

import argparse
from contextlib import suppress

from unet_paper.command import file_name, note, positive, whole
from unet_paper.commands.common import SCORES, STACK, add_file, print_scores, read_images, read_labels
from unet_paper.config import ADAM, NetworkConfig, TrainingConfig
from unet_paper.errors import InputError
from unet_paper.files import check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_file(parser, "images", "IMAGES.tif", f"8 or 16 bits, or float from 0 to 1; {STACK}")
    add_file(parser, "labels", "LABELS.tif", "of the same shape: 0 is membrane or background, anything else is cell")
    add_file(parser, "weights", "WEIGHTS.safetensors", "network to write")
    parser.add_argument(
        "--hold-out", type=whole(1), metavar="N", help="score the last N slices instead of training on them"
    )
    parser.add_argument("--steps", type=whole(1), metavar="N", help=f"default: {TrainingConfig.steps}")
    parser.add_argument(
        "--base-channels",
        type=whole(1),
        metavar="N",
        help=f"channels of the first level (default: {NetworkConfig.base_channels}; 16 take an eighth of the time)",
    )
    parser.add_argument(
        "--optimizer", choices=("sgd", "adam"), help="default: sgd, the paper's; adam is the later tool's"
    )
    parser.add_argument(
        "--learning-rate",
        type=positive,
        metavar="RATE",
        help=f"peak (default: {TrainingConfig.learning_rate:g}; of adam {ADAM['learning_rate']:g}, low for a short "
        "training of few channels)",
    )
    parser.add_argument("--init", type=file_name, metavar="WEIGHTS.safetensors", help="network to go on from")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: %(default)s")


def run(arguments: argparse.Namespace) -> None:
    """Train a network on a labelled stack and, where slices are held out, score it on them."""
    import numpy as np

    from unet_paper.files import locked, make_folder
    from unet_paper.tiff import check_same_shape

    inputs = filter(None, [arguments.images, arguments.labels, arguments.init])
    check_writable(arguments.weights, inputs=inputs)
    if arguments.weights.suffix != ".safetensors":
        raise InputError(f"cannot write {arguments.weights}: weights are safetensors, so its name must end so")
    stack, labels = read_images(arguments.images), read_labels(arguments.labels).array
    images = stack.array
    check_same_shape(images, labels, str(arguments.images), str(arguments.labels))
    n_train = len(images) - (arguments.hold_out or 0)
    if n_train < 1:
        raise InputError(f"--hold-out {arguments.hold_out} leaves no slice; it must be below {len(images)}, the slices")
    truth = (labels > 0).astype(np.uint8)
    if truth[:n_train].min() == truth[:n_train].max():
        raise InputError(
            f"{arguments.labels} has no {'membrane' if truth[0].any() else 'cell'} in the slices to train on; "
            "it must be 0 in membrane or background, anything else in cells"
        )
    if _cells_touch(labels):
        note(f"cells of {arguments.labels} touch without 0 between them; there they are trained on as one")
    from tqdm import tqdm

    from unet_paper.checkpoint import CHECKPOINT, load_weights, save_weights
    from unet_paper.device import choose_device
    from unet_paper.recipe import paper_recipe, recipe_config
    from unet_paper.train import gray_statistics
    from unet_paper.train import train as train_network
    from unet_paper.trained import in_nanometres

    device = choose_device(arguments.device)
    begun, past = None, {}
    if arguments.init:
        begun, past = load_weights(arguments.init)
        paper = NetworkConfig(base_channels=begun.config.base_channels, dropout=begun.config.dropout)
        if begun.config != paper:
            raise InputError(f"{arguments.init} holds {begun.config}; it must be the paper's but for width and dropout")
        if arguments.base_channels not in (None, begun.config.base_channels):
            raise InputError(
                f"{arguments.init} has {begun.config.base_channels} base channels; --base-channels must be so"
            )
    config = recipe_config(
        device,
        steps=arguments.steps,
        base_channels=begun.config.base_channels if begun else arguments.base_channels,
        optimizer=arguments.optimizer,
        learning_rate=arguments.learning_rate,
    )
    recipe = paper_recipe(config)
    folder = make_folder(arguments.weights.with_name(f".{arguments.weights.stem}-training"))
    with locked(folder):
        try:
            with tqdm(total=recipe.steps, desc="train", unit="step", disable=None) as bar:

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
            metadata |= {"init": past} if begun else {}
            if size := in_nanometres(stack.voxel_size, stack.unit):
                metadata["voxel_nm"] = size
            save_weights(arguments.weights, model, metadata)
            print(f"wrote {arguments.weights}: trained on {n_train} slices", flush=True)
            if arguments.hold_out:
                held_out = _held_out_scores(model, images[n_train:], truth[n_train:], metadata, device)
                held_out |= {"slices": list(range(n_train, len(images))), "train_slices": n_train}
                save_weights(arguments.weights, model, metadata | {"held_out": held_out})
            for own in (CHECKPOINT, f".{CHECKPOINT.removesuffix('.safetensors')}-*"):
                for left in folder.glob(own):
                    left.unlink()
        finally:
            with suppress(OSError):  # it holds the checkpoint of a training that was stopped
                folder.rmdir()


def _cells_touch(labels):
    """Whether pixels of different cells are neighbours in a slice."""
    beside = [(labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])]
    return any(((a != b) & (a != 0) & (b != 0)).any() for a, b in beside)


def _held_out_scores(model, images, truth, metadata, device):
    """Scores and thresholds of slices that were not trained on, which are printed."""
    from unet_paper import metrics
    from unet_paper.predict import predict_stack

    mean, std = metadata["image_mean"], metadata["image_std"]
    rotations = "eight"  # for which `segment` cuts
    scores = metrics.score(truth, predict_stack(model, images, mean=mean, std=std, rotations=rotations, device=device))
    print(f"on the {len(images)} slices held out:")
    print_scores(scores)
    found = {name: getattr(scores, name) for name in SCORES}
    return {
        "scores": {name: float(result.value) for name, result in found.items()},
        "thresholds": {name: result.threshold for name, result in found.items()},
        "rotations": rotations,
    }
