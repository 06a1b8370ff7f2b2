"""What is trained and how, as data: `paper_recipe` is section 3 for the values of an `ExperimentConfig`.

Network, loss, optimiser, schedule and sampler are `functools.partial` objects: a function and its keywords.
What describes a recipe in a checkpoint or record is derived from them, so that it cannot differ.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import partial

import numpy as np
import torch

from unet_paper import shapes
from unet_paper.config import ADAM, AugmentationConfig, ExperimentConfig, WeightMapConfig
from unet_paper.device import PRECISIONS, choose_precision
from unet_paper.errors import InputError
from unet_paper.loss import weighted_cross_entropy
from unet_paper.model import UNet
from unet_paper.optimizer import MomentumSGD
from unet_paper.sampler import TileSampler
from unet_paper.weight_map import balanced_class_weights, cells_from_membranes, unet_weight_map

OURS = ("unet_paper", "reproduce")  # of these packages the defaults of a function belong to its configuration
DIGITS = 8


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; `paper_recipe` is the paper's, the baselines are other values.

    Attributes
    ----------
    network : callable
        ``network()``, a freshly initialised Module.
    loss : callable
        ``loss(output, labels, weights)``, a scalar; output as the network returns it.
    optimizer : callable
        ``optimizer(parameters)``, an Optimizer.
    schedule : callable
        ``schedule(step, steps)``, the learning rate of a step (from 0); of a fraction of one under a time budget.
    sampler : callable
        ``sampler(images, labels, device)`` of normalised images, with the methods of `TileSampler`.
    steps, batch : int
        Number of steps, tiles a step.
    precision : {"bfloat16", "float32"}
        Of the network's autocast; weights, loss and updates are float32.
    seconds : float or None
        Time budget. If given, training ends when it is used up, however many steps that were, and
        the learning rate follows the fraction of the budget used as it would that of `steps`. Such a
        training depends on the machine's speed and does not repeat bit by bit.

    Notes
    -----
    Keywords must be JSON-able, or dataclasses of what is.
    """

    network: Callable
    loss: Callable
    optimizer: Callable
    schedule: Callable
    sampler: Callable
    steps: int
    batch: int = 1
    precision: str = "bfloat16"
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision is {self.precision!r}; it must be one of {', '.join(PRECISIONS)}")
        if self.steps < 0 or self.batch < 1:
            raise InputError(f"{self.steps} steps of {self.batch} tiles; it must be 0 steps or more of 1 tile or more")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise InputError(f"the time budget is {self.seconds:g} seconds; it must be finite and positive")

    @property
    def configuration(self) -> dict:
        """Everything above as JSON: a checkpoint continues only under an equal one."""
        return {field.name: described(getattr(self, field.name)) for field in fields(self)}

    @property
    def digits(self) -> str:
        """The first eight hexadecimal digits of the SHA-256 of the configuration, for the names of files."""
        text = json.dumps(self.configuration, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def described(value: object) -> object:
    """A value of a recipe as JSON: a function is its name, its keywords and, if it is ours, its defaults.

    Examples
    --------
    >>> described(partial(warmup_cosine, peak=0.1))
    {'name': 'warmup_cosine', 'warmup': 0, 'peak': 0.1}
    """
    if is_dataclass(value):
        return asdict(value)
    if not callable(value):
        return list(value) if isinstance(value, tuple) else value
    function, keywords = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    if getattr(value, "args", ()):
        raise TypeError(f"{function.__qualname__} has positional arguments; a recipe needs keywords")
    defaults = {}
    if function.__module__.split(".")[0] in OURS:
        parameters = inspect.signature(function).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    every = {name: described(item) for name, item in (defaults | keywords).items()}
    return {"name": function.__qualname__, **every}


def warmup_cosine(step: float, steps: int, *, peak: float, warmup: int = 0) -> float:
    """Learning rate of `step`: a linear rise over `warmup` steps, then half a cosine to zero (S13).

    Examples
    --------
    >>> [round(warmup_cosine(s, 102, peak=1.0, warmup=2), 2) for s in (0, 1, 2, 52, 101)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return peak * min(step + 1, warmup) / warmup  # between steps under a time budget
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def paper_recipe(config: ExperimentConfig) -> Recipe:
    """The recipe of section 3 for the values of an `ExperimentConfig`.

    Raises
    ------
    InputError
        If optimiser or precision is none of those known, or the warm-up is not shorter than the training.

    Examples
    --------
    >>> recipe = paper_recipe(ExperimentConfig())
    >>> recipe.batch, recipe.configuration["optimizer"]
    (1, {'name': 'MomentumSGD', 'momentum': 0.99, 'weight_decay': 0.0, 'lr': 0.004})
    """
    training, network = config.training, config.network
    if not 0 <= training.warmup_steps < max(training.steps, 1):
        raise InputError(
            f"the warm-up is {training.warmup_steps} steps; it must be 0 to {max(training.steps, 1) - 1}, "
            f"shorter than the training of {training.steps}"
        )
    return Recipe(
        network=partial(UNet, **asdict(network)),
        loss=weighted_cross_entropy,
        optimizer=optimizer_of(config),
        schedule=partial(warmup_cosine, peak=training.learning_rate, warmup=training.warmup_steps),
        sampler=partial(
            weighted_sampler,
            input_size=training.input_size,
            output_size=shapes.output_size(training.input_size, network.depth),
            augmentation=config.augmentation,
            weight_map=config.weight_map,
        ),
        steps=training.steps,
        precision=training.precision,
    )


def recipe_config(
    device: str,
    *,
    steps: int | None = None,
    base_channels: int | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    warmup: int | None = None,
) -> ExperimentConfig:
    """The paper's values with what is given instead, in the precision that is fast on `device`.

    Unless given, at most a third of the steps are warm-up, and Adam has its own rate and warm-up.

    Examples
    --------
    >>> short = recipe_config("cpu", steps=600).training
    >>> short.steps, short.warmup_steps
    (600, 200)
    >>> recipe_config("cpu", optimizer="adam", warmup=7).training.warmup_steps
    7
    """
    paper = ExperimentConfig()
    training = replace(paper.training, precision=choose_precision(device))
    if optimizer == ADAM["optimizer"]:
        training = replace(training, **ADAM)
    training = _given(training, optimizer=optimizer, steps=steps)
    training = replace(training, warmup_steps=min(training.warmup_steps, training.steps // 3))
    training = _given(training, learning_rate=learning_rate, warmup_steps=warmup)
    return replace(paper, network=_given(paper.network, base_channels=base_channels), training=training)


def _given(config, **values):
    """`config` with those of the values that are not None."""
    return replace(config, **{name: value for name, value in values.items() if value is not None})


def optimizer_of(config: ExperimentConfig) -> partial:
    """Momentum as the paper has it, or Adam, the later tool's."""
    training = config.training
    shared = {"lr": training.learning_rate, "weight_decay": training.weight_decay}
    if training.optimizer == "sgd":
        return partial(MomentumSGD, **shared, momentum=training.momentum)
    if training.optimizer == "adam":
        return partial(torch.optim.Adam, **shared)
    raise InputError(f"the optimizer is {training.optimizer!r}; it must be one of sgd, adam")


def weighted_sampler(
    images: np.ndarray,
    labels: np.ndarray,
    device: torch.device | str,
    *,
    input_size: int,
    output_size: int,
    augmentation: AugmentationConfig,
    weight_map: WeightMapConfig,
) -> TileSampler:
    """Tiles of normalised `images` (Z, H, W) with the weight map of each slice (Equation 2)."""
    return TileSampler(
        images,
        labels,
        weight_maps(labels, weight_map),
        input_size=input_size,
        output_size=output_size,
        augmentation=augmentation,
        device=device,
    )


def weight_maps(labels: np.ndarray, config: WeightMapConfig) -> np.ndarray:
    """Equation 2 for every slice of `labels`, float32 (Z, H, W), with one pair of class weights for all (S2)."""
    options = asdict(config)
    if options["class_weights"] == "balanced":
        options["class_weights"] = balanced_class_weights(labels)
    return np.stack([unet_weight_map(cells_from_membranes(plane), **options) for plane in labels])
