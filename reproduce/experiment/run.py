"""What is to be run, as data: a `Method` on `Split`s of the stack with a seed is a `Run`, one row of a table."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from unet_paper.errors import InputError
from unet_paper.isbi import folds
from unet_paper.recipe import Recipe

N_FOLDS = 5  # S18: five folds of six contiguous slices
ALL = "all"  # the split that trains on every slice, for the challenge's test volume


@dataclass(frozen=True)
class Method:
    """A network with its recipe and the way its output becomes a probability of cell.

    Attributes
    ----------
    name : str
        Short name, also of its files.
    title : str
        The row's heading in tables.
    recipe : Recipe
    predict : dict
        Keyword arguments of `predict_stack` that differ from the U-Net's.
    """

    name: str
    title: str
    recipe: Recipe
    predict: dict = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name and digits of the recipe, by which trainings, curves and maps are named."""
        return f"{self.name}-{self.recipe.digits}"


class Split(NamedTuple):
    """What one network is trained on and what it has to predict: slice numbers from 0."""

    name: str
    train: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """One row of a table: networks of one method, trained on `splits`, scored as one stack.

    Attributes
    ----------
    experiment : str
        One of `records.EXPERIMENTS`.
    method : Method
    splits : tuple of Split
        Predicted are the held-out slices of all, each by the network that did not train on it; or, of the
        one split that trains on every slice, the test volume.
    seeds : tuple of int
        A network of each split is trained with each; of several the maps are averaged.
    rotations : tuple of str
        Averages to predict with; a record is made of each.
    conditions : dict
        Further entries of the records' conditions, JSON-able.
    costs : callable or None
        Returns further entries of the records' measures; called only if something is run.
    """

    experiment: str
    method: Method
    splits: tuple[Split, ...]
    seeds: tuple[int, ...]
    rotations: tuple[str, ...] = ("eight",)
    conditions: dict = field(default_factory=dict)
    costs: Callable | None = None

    @property
    def trainings(self) -> list[tuple[Split, int]]:
        """Split and seed of each network."""
        return [(split, seed) for seed in self.seeds for split in self.splits]

    @property
    def on_test(self) -> bool:
        """Whether the test volume is predicted."""
        return self.splits[0].name == ALL

    @property
    def held_out(self) -> list[int]:
        """Slices of the training stack that are predicted, in the order of the splits."""
        return [z for split in self.splits for z in split.held_out]

    @property
    def configuration(self) -> dict:
        """Everything that, with the data, determines the networks and their maps; as JSON gives it back."""
        trained = {split.name: split.train for split in self.splits}
        about = {"recipe": self.method.recipe.configuration, "splits": trained, "seeds": self.seeds}
        return json.loads(json.dumps(about | {"predict": self.method.predict}))

    def is_configured_as(self, recorded: dict) -> bool:
        """Whether a record's configuration is this one; early records do not say how was predicted."""
        return self.configuration == {"predict": self.configuration["predict"]} | recorded


def splits(n_slices: int, which=None, n_train: int | None = None) -> tuple[Split, ...]:
    """The folds numbered in `which` (all five if None), each trained on at most `n_train` slices.

    The slices of a smaller training set are spread evenly over those of the fold.

    Examples
    --------
    >>> splits(30, [4])[0].held_out
    (24, 25, 26, 27, 28, 29)
    >>> splits(30, [4], n_train=3)[0][:2]
    ('fold4-3slices', (4, 12, 20))
    """
    if n_slices < N_FOLDS:
        raise InputError(f"the training stack has {n_slices} slices; it must have at least {N_FOLDS}, one a fold")
    every = folds(n_slices, N_FOLDS)
    chosen = []
    for number in sorted(set(range(N_FOLDS) if which is None else which)):
        if not 0 <= number < N_FOLDS:
            raise InputError(f"fold {number} does not exist; it must be 0 to {N_FOLDS - 1}")
        name, slices = f"fold{number}", every[number].train
        if n_train is not None and n_train != len(slices):
            if not 1 <= n_train <= len(slices):
                raise InputError(f"{n_train} training slices cannot be taken; it must be 1 to {len(slices)}")
            name = f"{name}-{n_train}slices"
            slices = tuple(slices[(2 * i + 1) * len(slices) // (2 * n_train)] for i in range(n_train))
        chosen.append(Split(name, slices, every[number].held_out))
    return tuple(chosen)


def inner(split: Split) -> Split:
    """Training slices of a fold, split once more to choose on: as many held out as the fold holds out.

    Examples
    --------
    >>> inner(*splits(30, [4])).held_out
    (18, 19, 20, 21, 22, 23)
    """
    n = len(split.held_out)
    return Split(f"{split.name}-inner", split.train[:-n], split.train[-n:])


def every_slice(n_slices: int) -> Split:
    """The split that trains on every slice."""
    return Split(ALL, tuple(range(n_slices)), ())
