"""Sweep: learning rates, numbers of steps and warm-ups on one fold (S13).

The paper gives none of them. Every combination is trained on training slices of one fold and scored on
the last six of them, which it leaves out: the fold's held-out slices, for which a score is reported, are
not looked at. Other folds hold out slices that the choice has seen. All are recorded, also those whose
loss became infinite.
"""

import itertools
from dataclasses import replace

from reproduce import experiment
from reproduce.ablations import attempt
from reproduce.stacks import load_data
from unet_paper.config import ExperimentConfig
from unet_paper.predict import ROTATIONS
from unet_paper.train import paper_recipe

NETWORK, DEFAULT = ExperimentConfig().network, ExperimentConfig().training


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--fold", type=int, default=4, help="default: 4")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3, 4e-3], metavar="RATE")
    parser.add_argument("--steps", type=int, nargs="+", default=[DEFAULT.steps], help=f"default: {DEFAULT.steps}")
    parser.add_argument(
        "--warmup",
        type=int,
        nargs="+",
        default=[None],
        help=f"steps, default: {DEFAULT.warmup_steps}, at most a third of the training",
    )
    parser.add_argument(
        "--base-channels",
        type=int,
        default=NETWORK.base_channels,
        help=f"default: {NETWORK.base_channels}; a narrower network tells quicker which schedules fail",
    )
    parser.add_argument("--rotations", default="none", choices=ROTATIONS, help="average to predict with")


def run(arguments):
    """Run the command; returns the exit status."""
    data = load_data(arguments.data)
    part = inner(*experiment.parts(len(data.images), [arguments.fold]))
    config = ExperimentConfig()
    config = replace(config, network=replace(config.network, base_channels=arguments.base_channels))
    tries = combinations(config, arguments.learning_rates, arguments.steps, arguments.warmup)
    systems = [build(config) for config in tries]  # an illegal one is told before any is trained
    for number, (config, system) in enumerate(zip(tries, systems), 1):
        print(f"[{number}/{len(tries)}] {system.title}")
        attempt(
            system,
            data,
            [part],
            experiment_name="sweep",
            seed=arguments.seed,
            device=arguments.device,
            out=arguments.out,
            rotations=[arguments.rotations],
            conditions=conditions(config),
        )
    return 0


def inner(part):
    """Training slices of a fold, split once more to choose on: as many held out as the fold holds out.

    Examples
    --------
    >>> inner(*experiment.parts(30, [4])).held_out
    (18, 19, 20, 21, 22, 23)
    """
    n = len(part.held_out)
    return experiment.Part(f"{part.name}-inner", part.train[:-n], part.train[-n:])


def combinations(config, learning_rates, steps, warmups):
    """Every combination as an `ExperimentConfig`, the short runs first.

    Examples
    --------
    >>> tries = combinations(ExperimentConfig(), [1e-3, 2e-3], [200, 100], [50])
    >>> [(c.training.steps, c.training.learning_rate) for c in tries]
    [(100, 0.001), (100, 0.002), (200, 0.001), (200, 0.002)]
    >>> combinations(ExperimentConfig(), [1e-3], [600], [None])[0].training.warmup_steps
    200
    """
    tries = []
    for n, warmup, rate in itertools.product(sorted(steps), warmups, learning_rates):
        short = experiment.of_steps(config, n)
        warmup = short.training.warmup_steps if warmup is None else warmup
        tries.append(replace(short, training=replace(short.training, learning_rate=rate, warmup_steps=warmup)))
    return tries


def conditions(config):
    """What tells the tries apart, for the record."""
    how = config.training
    return {
        "base_channels": config.network.base_channels,
        "learning_rate": how.learning_rate,
        "warmup_steps": how.warmup_steps,
    }


def build(config):
    """The `System` of one try."""
    how = config.training
    width = config.network.base_channels
    name = f"sweep-{width}channels-rate{how.learning_rate:g}-steps{how.steps}-warmup{how.warmup_steps}"
    title = f"{width} base channels, learning rate {how.learning_rate:g}, {how.steps} steps, warm-up {how.warmup_steps}"
    return experiment.System(name, title, paper_recipe(config), {"depth": config.network.depth})
