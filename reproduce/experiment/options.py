"""Arguments that commands share, and the configuration they stand for."""

import argparse
import math
from functools import partial

from unet_paper.command import note
from unet_paper.config import ADAM, ExperimentConfig
from unet_paper.engine import cluster


def whole(least: int, most: int = 2**63 - 1):
    """The type of an argument that is a whole number from `least` to `most`."""

    def number(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} must be at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} must be at most {most}")
        return value

    number.__name__ = "whole number"  # argparse: "invalid whole number value"
    return number


def positive(text: str) -> float:
    """The type of an argument that is a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be finite and above 0")
    return value


positive.__name__ = "number"


def add_recipe_arguments(parser, *, rate: bool = True) -> None:
    """Arguments that change the paper's recipe; `recipe_config` takes them by their names."""
    paper = ExperimentConfig()
    parser.add_argument("--steps", type=whole(1), metavar="N", help=f"training steps (default: {paper.training.steps})")
    parser.add_argument(
        "--base-channels",
        type=whole(1),
        metavar="N",
        help=f"feature channels of the first level (default: {paper.network.base_channels}, the paper's)",
    )
    parser.add_argument("--optimizer", choices=("sgd", "adam"), help="default: sgd, the paper's")
    if rate:
        parser.add_argument(
            "--learning-rate",
            type=positive,
            metavar="RATE",
            help=f"peak (default: {paper.training.learning_rate:g}; of adam {ADAM['learning_rate']:g})",
        )
        parser.add_argument(
            "--warmup",
            type=whole(0),
            metavar="N",
            help=f"steps of warm-up (default: {paper.training.warmup_steps}, of adam {ADAM['warmup_steps']}, "
            "but at most a third of the training)",
        )


def recipe_arguments(arguments) -> dict:
    """The arguments of `add_recipe_arguments` as keywords of `recipe_config`."""
    names = ("steps", "base_channels", "optimizer", "learning_rate", "warmup")
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def add_worker_arguments(parser) -> None:
    """Arguments that give trainings to workers; `connection` takes them."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=whole(1),
        metavar="N",
        help="train N networks at a time on this machine, which share its cores; GPUs go round",
    )
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="train on the workers of a Dask scheduler, which must see --data and --out under the same names",
    )


def connection(arguments) -> partial:
    """The arguments of `add_worker_arguments` as `execute` takes them."""
    return partial(cluster, workers=arguments.workers, scheduler=arguments.scheduler, note=note)


def recipe_conditions(config: ExperimentConfig) -> dict:
    """What tells recipes of one experiment apart, for a record."""
    training = config.training
    return {
        "base_channels": config.network.base_channels,
        "optimizer": training.optimizer,
        "learning_rate": training.learning_rate,
        "warmup_steps": training.warmup_steps,
    }


def departures(config: ExperimentConfig) -> list[str]:
    """How network and optimiser depart from the paper's, in words; they make another row of a table.

    Examples
    --------
    >>> departures(ExperimentConfig())
    []
    """
    paper, words = ExperimentConfig(), []
    if config.network.base_channels != paper.network.base_channels:
        words.append(f"{config.network.base_channels} base channels")
    if config.training.optimizer != paper.training.optimizer:
        words.append(config.training.optimizer.capitalize())
    return words
