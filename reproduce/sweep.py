"""Sweep: learning rates, numbers of steps and warm-ups on one fold (S13).

The paper gives none of them. Every combination is trained on training slices of one fold and scored on
the last six of them, which it leaves out: the fold's held-out slices, for which a score is reported, are
not looked at. Other folds hold out slices that the choice has seen. All are recorded, also those whose
loss became infinite.
"""

import itertools

from reproduce.experiment.options import add_worker_arguments, connection, recipe_conditions
from unet_paper.command import positive, whole
from unet_paper.config import ADAM, ROTATIONS, ExperimentConfig

RATES = [5e-4, 1e-3, 2e-3, 4e-3]
NETWORK, TRAINING = ExperimentConfig().network, ExperimentConfig().training


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--fold", type=whole(0, 4), default=4, help="default: 4")
    parser.add_argument(
        "--learning-rates",
        type=positive,
        nargs="+",
        default=RATES,
        metavar="RATE",
        help=f"peaks (default: {' '.join(map(str, RATES))})",
    )
    parser.add_argument(
        "--steps", type=whole(1), nargs="+", default=[TRAINING.steps], help=f"default: {TRAINING.steps}"
    )
    parser.add_argument(
        "--warmup",
        type=whole(0),
        nargs="+",
        default=[None],
        metavar="N",
        help=f"steps (default: {TRAINING.warmup_steps}, of adam {ADAM['warmup_steps']}, "
        "but at most a third of the training)",
    )
    parser.add_argument("--optimizer", choices=("sgd", "adam"), help="default: sgd, the paper's")
    parser.add_argument(
        "--base-channels",
        type=whole(1),
        default=NETWORK.base_channels,
        metavar="N",
        help=f"default: {NETWORK.base_channels}; a narrower network tells sooner which schedules fail",
    )
    add_worker_arguments(parser)
    parser.add_argument("--rotations", default="none", choices=ROTATIONS, help="default: none")


def run(arguments):
    """Run the command."""
    from reproduce.data import load_data  # torch, only now
    from reproduce.experiment.execute import execute
    from reproduce.experiment.run import Run, inner, splits
    from unet_paper.recipe import recipe_config

    data = load_data(arguments.data)
    split = inner(*splits(len(data.images), [arguments.fold]))
    rotations = (arguments.rotations,)
    configs = [
        recipe_config(
            arguments.device,
            steps=steps,
            base_channels=arguments.base_channels,
            optimizer=arguments.optimizer,
            learning_rate=rate,
            warmup=warmup,
        )
        for steps, warmup, rate in itertools.product(
            sorted(arguments.steps), arguments.warmup, arguments.learning_rates
        )
    ]
    runs = [
        Run("sweep", build(config), (split,), (arguments.seed,), rotations, recipe_conditions(config))
        for config in configs
    ]
    execute(runs, data, device=arguments.device, out=arguments.out, connect=connection(arguments))


def build(config):
    """The `Method` of one try; `InputError` if its warm-up is not shorter than its training."""
    from reproduce.experiment.run import Method
    from unet_paper.recipe import paper_recipe

    training, width = config.training, config.network.base_channels
    title = (
        f"{width} base channels, {training.optimizer}, learning rate {training.learning_rate:g}, "
        f"{training.steps} steps, warm-up {training.warmup_steps}"
    )
    return Method("sweep", title, paper_recipe(config), {"depth": config.network.depth})
