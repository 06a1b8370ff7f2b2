"""Ablations: what each part of the paper's recipe brings, and the learning curve.

Every ablation differs from the recipe in one thing, with what that entails, and is trained for the same
number of steps. One record is made for each ablation, fold and seed, so that differences can be taken pair
by pair; what is recorded is not run again, and the first fold and seed of all comes before the second of any.
``--learning-curve 1 3 6 12 24`` instead trains the unchanged recipe on that many slices of each fold:
the paper claims to need "very few annotated images".
"""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from reproduce import experiment, records
from reproduce.stacks import load_data
from reproduce.systems import common, variants
from unet_paper.config import ExperimentConfig
from unet_paper.predict import ROTATIONS
from unet_paper.train import NonFiniteLoss, paper_recipe, paper_sampler


@dataclass(frozen=True)
class Ablation:
    """One change to the recipe.

    Attributes
    ----------
    title : str
        The row's heading.
    changes : dict
        Part of an `ExperimentConfig` to the fields that change.
    network, sampler : callable or None
        From `reproduce.systems.variants`, in place of `UNet` and `paper_sampler`.
    predict : dict or None
        Keyword arguments of `predict_stack` in place of the U-Net's.
    """

    title: str
    changes: dict = field(default_factory=dict)
    network: object = None
    sampler: object = None
    predict: dict | None = None


STEPS = ExperimentConfig().training.steps
NO_DEFORMATION = {"sigma": 0.0}
SHIFTS_ONLY = {"rotation": 0.0, "gain": 0.0, "offset": 0.0, **NO_DEFORMATION}
BASE = "base"
ABLATIONS = {
    BASE: Ablation("U-Net, nothing changed"),
    "no-border-weight": Ablation("no border weight", {"weight_map": {"w0": 0.0}}),
    "no-elastic": Ablation("no elastic deformation", {"augmentation": NO_DEFORMATION}),
    "shifts-only": Ablation("no augmentation but shifts", {"augmentation": SHIFTS_ONLY}),
    "no-dropout": Ablation("no dropout", {"network": {"dropout": 0.0}}),
    "no-class-balance": Ablation("no class balance", {"weight_map": {"class_weights": (1.0, 1.0)}}),
    "border-everywhere": Ablation("border weight everywhere", {"weight_map": {"background_only": False}}),
    "padded": Ablation(
        "padded convolutions, 512 px tiles of which every pixel counts",
        network=variants.padded,
        sampler=variants.padded_sampler,
        predict=common.PADDED_PREDICTION,
    ),
    "zero-context": Ablation(
        "zeros instead of mirroring beyond the image",
        sampler=variants.zero_padded_sampler,
        predict={"padding": "zero"},
    ),
    "adam": Ablation("Adam at 1e-5, as the later tool", {"training": {"optimizer": "adam", "learning_rate": 1e-5}}),
    "adam-1e-4": Ablation("Adam at 1e-4", {"training": {"optimizer": "adam", "learning_rate": 1e-4}}),
    "linear-up": Ablation("no ReLU after up-convolutions", network=variants.LinearUpUNet),
    "released": Ablation("released variant: last up-convolution 128 to 128", network=variants.ReleasedUNet),
}


class Run(NamedTuple):
    """One training with the record it leaves."""

    system: experiment.System
    part: experiment.Part
    seed: int


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, metavar="NAME", help=", ".join(ABLATIONS))
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1], help="default: 0 1")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the one of --seed and the next")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps of every run (default: {STEPS})")
    parser.add_argument("--rotations", default="eight", choices=ROTATIONS, help="average to predict with")
    parser.add_argument("--learning-curve", type=int, nargs="+", metavar="N", help="training slices, instead")


def run(arguments):
    """Run the command; returns the exit status."""
    data = load_data(arguments.data)
    config = experiment.of_steps(ExperimentConfig(), arguments.steps)
    seeds = arguments.seeds or [arguments.seed, arguments.seed + 1]
    where = {"folds": arguments.folds, "seeds": seeds, "n_slices": len(data.images)}
    if arguments.learning_curve:
        name, runs = "learning-curve", learning_curve(config, arguments.learning_curve, **where)
    else:
        name, runs = "ablations", ablations(config, arguments.only or list(ABLATIONS), **where)
    for number, (system, part, seed) in enumerate(runs, 1):
        print(f"[{number}/{len(runs)}] {system.title}, {part.name}, seed {seed}")
        attempt(
            system,
            data,
            [part],
            experiment_name=name,
            seed=seed,
            device=arguments.device,
            out=arguments.out,
            rotations=[arguments.rotations],
        )
    return 0


def build(name, config):
    """The `System` of the ablation called `name` of the recipe that `config` describes.

    Examples
    --------
    >>> build("no-dropout", ExperimentConfig()).recipe.identity["network"]["dropout"]
    0.0
    """
    ablation = ABLATIONS[name]
    parts = {part: replace(getattr(config, part), **fields) for part, fields in ablation.changes.items()}
    config = replace(config, **parts)
    recipe = paper_recipe(config)
    if ablation.network:
        recipe = replace(recipe, build=partial(ablation.network, **asdict(config.network)))
    if ablation.network or ablation.sampler:
        recipe = replace(
            recipe,
            sampler=partial(ablation.sampler or paper_sampler, config),
            identity={"variant": name, **recipe.identity},
        )
    predict = {"depth": config.network.depth} if ablation.predict is None else ablation.predict
    return experiment.System(name, ablation.title, recipe, predict)


def ablations(config, names, *, folds, seeds, n_slices):
    """The runs of the ablations `names`, in the order in which they are worth running."""
    every = [build(name, config) for name in names]
    parts = experiment.parts(n_slices, folds)
    return [Run(system, part, seed) for seed in seeds for part in parts for system in every]


def learning_curve(config, sizes, *, folds, seeds, n_slices):
    """The runs of the learning curve; training on all slices of a fold is the unchanged ablation's run."""
    base = build(BASE, config)
    runs = []
    for seed in seeds:
        for fold in folds:
            for size in sizes:
                (part,) = experiment.parts(n_slices, [fold], n_train=size)
                whole = part == experiment.parts(n_slices, [fold])[0]
                name = base.name if whole else f"learning-curve-{size}"
                runs.append(Run(replace(base, name=name, title=f"{size} training slices"), part, seed))
    return runs


def attempt(system, data, chosen, *, experiment_name, seed, device, out, rotations, conditions=None, measures=None):
    """Cross-validate and record unless this has been recorded; a loss that is not finite is recorded too.

    A network that does not fit the device's memory is named and left out, so that the others are run.

    Parameters
    ----------
    system, data, chosen, seed, device, out, rotations
        As for `experiment.cross_validate`.
    experiment_name : str
        One of `records.EXPERIMENTS`.
    conditions : dict, optional
        Added to the records' conditions.
    measures : callable, optional
        Returns what is added to the records' measures; called only when something is run.
    """
    common_conditions = {
        "title": system.title,
        "folds": [part.name for part in chosen],
        "train_slices": len(chosen[0].train),
        "seeds": [seed],
        **(conditions or {}),
    }
    settings = {"recipe": system.recipe.identity, "train_slices": list(chosen[0].train), "seed": seed}
    missing = [
        rotation
        for rotation in rotations
        if not recorded(experiment_name, system.name, common_conditions, rotation, settings, out)
    ]
    if not missing:
        print(f"{system.name}, seed {seed}: recorded already")
        return
    how = {"seed": seed, "device": device, "out": out, "rotations": missing}
    try:
        experiment.cross_validate(
            system,
            data,
            chosen,
            experiment=experiment_name,
            conditions=conditions,
            measures=measures() if measures else None,
            **how,
        )
    except torch.OutOfMemoryError as error:
        print(f"{system.name}, seed {seed}: left out: {error}")
    except NonFiniteLoss as error:
        print(f"{system.name}, seed {seed}: failed: {error}")
        slices = experiment.slice_range([s for part in chosen for s in part.held_out])
        failed = {"slices": slices, "rotations": missing[0], "steps": system.recipe.steps, "outcome": str(error)}
        provenance = records.provenance(config=settings, seed=seed, data=data.sha256, device=device, wall_seconds=0.0)
        record = records.Record(experiment_name, system.name, common_conditions | failed, provenance=provenance)
        records.append(record, Path(out) / "records.jsonl")


def recorded(experiment_name, name, conditions, rotation, settings, out):
    """Whether the records hold this run, or its failure, under the same settings."""
    settings = json.loads(json.dumps(settings))
    for record in records.read(Path(out) / "records.jsonl"):
        same = record.experiment == experiment_name and record.name == name
        same = same and record.provenance["config"] == settings
        same = same and all(record.conditions.get(key) == value for key, value in conditions.items())
        if same and ("outcome" in record.conditions or record.conditions["rotations"] == rotation):
            return True
    return False
