"""Arguments that commands share, and the configuration they stand for."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from unet_paper.command import note, positive, whole
from unet_paper.config import ADAM, ROTATIONS, ExperimentConfig
from unet_paper.engine import cluster

if TYPE_CHECKING:
    from reproduce.experiment.run import Method


def add_run_arguments(parser, *, folds: list[int] | None = None) -> None:
    """What makes runs of a method: folds, rotations, changes to the paper's recipe, and workers."""
    paper, named = ExperimentConfig(), " ".join(map(str, folds or ["all"]))
    parser.add_argument(
        "--folds", type=whole(0, 4), nargs="+", default=folds, help=f"folds to run, 0 to 4 (default: {named})"
    )
    parser.add_argument("--rotations", nargs="+", default=["eight"], choices=ROTATIONS, help="default: eight")
    parser.add_argument("--steps", type=whole(1), metavar="N", help=f"training steps (default: {paper.training.steps})")
    parser.add_argument(
        "--base-channels",
        type=whole(1),
        metavar="N",
        help=f"feature channels of the first level (default: {paper.network.base_channels}, the paper's)",
    )
    parser.add_argument("--optimizer", choices=("sgd", "adam"), help="default: sgd, the paper's")
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
    add_worker_arguments(parser)


def recipe_arguments(arguments) -> dict:
    """Those of `add_run_arguments` that change the recipe, as keywords of `recipe_config`."""
    names = ("steps", "base_channels", "optimizer", "learning_rate", "warmup")
    return {name: getattr(arguments, name) for name in names}


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
    names = ("optimizer", "learning_rate", "warmup_steps")
    return {"base_channels": config.network.base_channels} | {name: getattr(config.training, name) for name in names}


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


def departed(method: "Method", config: ExperimentConfig) -> "Method":
    """The U-Net's `method` under a name and title that tell how `config` departs from the paper's."""
    words = departures(config)
    if not words:
        return method
    name = "-".join([method.name, *words]).replace(" ", "-").lower()
    return replace(method, name=name, title=", ".join([method.title, *words]))
