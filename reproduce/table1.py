"""Table 1: the EM segmentation challenge, by five-fold cross-validation on the training stack.

The test labels were hidden until after the paper, so its own row is not recomputed by default: ``--test``
does it where they are. Each fold holds out six contiguous slices; every slice is scored by a network that
never saw it. ``--final`` trains on all thirty slices and writes maps of the test volume in the submission
format.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from reproduce import experiment, records
from reproduce.figures.montage import draw_montage
from reproduce.stacks import load_data
from reproduce.systems import SYSTEMS, build_system
from unet_paper import metrics
from unet_paper.config import ExperimentConfig
from unet_paper.data import find_data, pixel_sha256, read_images, read_labels, write_stack
from unet_paper.errors import InputError
from unet_paper.files import make_folder
from unet_paper.predict import ROTATIONS


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--system", default="unet", choices=sorted(SYSTEMS), help="the network (default: unet)")
    parser.add_argument("--folds", type=int, nargs="+", help="folds to run, 0 to 4 (default: all)")
    parser.add_argument("--rotations", nargs="+", default=["eight"], choices=ROTATIONS, help="averages to predict with")
    parser.add_argument("--steps", type=int, help="training steps (default: the system's own)")
    parser.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="continue trainings that were stopped; --no-resume starts those anew (default: --resume)",
    )
    parser.add_argument("--average", type=int, nargs="+", metavar="SEED", help="score the mean of these seeds' maps")
    parser.add_argument("--final", action="store_true", help="train on all slices and predict the test volume")
    parser.add_argument("--test", action="store_true", help="score the test maps; needs test-labels.tif")


def run(arguments):
    """Run the command; returns the exit status."""
    folder = find_data(arguments.data)
    data = load_data(folder)
    config = ExperimentConfig()
    if arguments.steps:
        config = experiment.of_steps(config, arguments.steps)
    system = build_system(arguments.system, config)
    how = {"seed": arguments.seed, "device": arguments.device, "out": arguments.out}
    if arguments.test and not (folder / "test-labels.tif").exists():
        raise InputError(f"{folder} has no test-labels.tif, which --test scores against")
    budget = None if arguments.system == "unet" else {"budget_steps": config.training.steps}
    if arguments.final or arguments.test:
        if not arguments.resume:
            experiment.forget_stopped(system, [everything(data)], seed=arguments.seed, out=arguments.out)
        final(system, data, rotations=arguments.rotations, **how)
        if arguments.test:
            labels = folder / "test-labels.tif"
            score_test(system, data, labels, rotations=arguments.rotations, conditions=budget, **how)
        return 0
    chosen = experiment.parts(len(data.images), arguments.folds)
    name = "table1" if arguments.system == "unet" else "systems"
    if arguments.average:
        for rotations in arguments.rotations:
            average(
                system, data, chosen, arguments.average, experiment_name=name, rotations=rotations, out=arguments.out
            )
        return 0
    if not arguments.resume:
        experiment.forget_stopped(system, chosen, seed=arguments.seed, out=arguments.out)
    made = experiment.cross_validate(
        system, data, chosen, experiment=name, rotations=arguments.rotations, conditions=budget, **how
    )
    if name == "table1":
        slices = [z for part in chosen for z in part.held_out]
        print(f"figure: {montage(data, slices, made[0], arguments.out)}")
    return 0


def average(system, data, chosen, seeds, *, experiment_name, rotations, out):
    """Score and record the mean of the maps that the networks of several seeds have left."""
    slices = [z for part in chosen for z in part.held_out]
    every = [
        record
        for record in records.read(Path(out) / "records.jsonl")
        if record.scores
        and (record.experiment, record.name) == (experiment_name, system.name)
        and record.conditions["slices"] == experiment.slice_range(slices)
        and record.conditions["rotations"] == rotations
        and record.provenance["config"]["recipe"] == json.loads(json.dumps(system.recipe.identity))
    ]
    ours = {seed: record for record in every for seed in seeds if record.conditions["seeds"] == [seed]}
    missing = sorted(set(seeds) - set(ours))
    if missing:
        raise InputError(f"seeds {missing} have no record of these slices and rotations; run table1 for them first")
    maps = [read_images(Path(out) / ours[seed].prediction).array for seed in sorted(ours)]
    name = (
        f"{system.name}-seeds{'+'.join(map(str, sorted(ours)))}-{rotations}-slices{experiment.slice_range(slices)}.tif"
    )
    path = Path(out) / "predictions" / name
    write_stack(path, experiment.quantise(np.mean(maps, axis=0)))
    first = ours[min(ours)]
    summed = ("train_seconds", "predict_seconds_per_slice")
    record = replace(
        first,
        conditions=first.conditions | {"seeds": sorted(ours)},
        scores=experiment.score_stored(path, data.labels[slices]),
        measures=first.measures | {name: sum(r.measures[name] for r in ours.values()) for name in summed},
        prediction=path.relative_to(out).as_posix(),
        provenance=records.provenance(
            config=first.provenance["config"],
            seed=sorted(ours),
            data=first.provenance["data"],
            device="cpu",
            wall_seconds=sum(r.provenance["wall_seconds"] for r in ours.values()),
            peak_bytes=max(r.provenance["peak_bytes"] for r in ours.values()),
        )
        | {"device": experiment.together(r.provenance["device"] for r in ours.values())},
    )
    records.append(record, Path(out) / "records.jsonl")
    print(experiment.summary(record))


def montage(data, slices, record, out):
    """Draw the held-out slices of a record with their errors; returns the figure's path."""
    probability = read_images(Path(out) / record.prediction).array
    labels = data.labels[slices]
    return draw_montage(
        data.images[slices],
        labels,
        probability,
        metrics.score(labels, probability),
        Path(out) / "figures" / "montage.png",
        titles=[f"slice {z}" for z in slices],
    )


def test_map(system, *, seed, out, rotations):
    """Where the map of the test volume is stored: float32, 0 membrane, 1 cell, as the challenge asked."""
    return Path(out) / "predictions" / f"{system.name}-seed{seed}-{rotations}-test-volume.tif"


def everything(data):
    """The part that trains on every slice."""
    return experiment.Part(experiment.ALL, tuple(range(len(data.images))), ())


def final(system, data, *, rotations, seed, device, out):
    """Train on every slice and store the test maps, in steps of 1/255, unless these weights have made them."""
    part = everything(data)
    experiment.run_training(system, data, part, seed=seed, device=device, out=out)
    for rotation in rotations:
        path = test_map(system, seed=seed, out=out, rotations=rotation)
        weights = experiment.run_folder(out, system, part, seed) / "weights.safetensors"
        if not path.exists() or path.stat().st_mtime_ns < weights.stat().st_mtime_ns:
            probability, _ = experiment.predict_part(
                system, data.test_images, part, seed=seed, device=device, out=out, rotations=rotation
            )
            make_folder(path.parent)
            write_stack(path, experiment.quantise(probability) / np.float32(255))
        print(f"test maps: {path}")


def score_test(system, data, labels_path, *, rotations, seed, device, out, conditions=None):
    """Score the stored test maps against labels that no training and no choice has seen."""
    labels = read_labels(labels_path).array
    part = everything(data)
    account = experiment.run_training(system, data, part, seed=seed, device=device, out=out)
    for rotation in rotations:
        path = test_map(system, seed=seed, out=out, rotations=rotation)
        record = records.Record(
            experiment="table1",
            name=system.name,
            conditions={
                "title": system.title,
                "folds": [experiment.ALL],
                "slices": f"test 0-{len(labels) - 1}",
                "train_slices": len(data.images),
                "seeds": [seed],
                "rotations": rotation,
                "steps": account["steps"],
                **(conditions or {}),
            },
            scores=experiment.score_stored(path, labels),
            measures={"train_seconds": account["seconds"], "parameters_count": account["parameters"]},
            prediction=path.relative_to(out).as_posix(),
            provenance=account["provenance"]
            | {
                "command": experiment.together([account["provenance"]["command"], records.command_line()]),
                "commit": experiment.together([account["provenance"]["commit"], records.commit_id()]),
                "data": account["provenance"]["data"] | {"test-labels": pixel_sha256(labels)},
                "date": records.now(),
            },
        )
        records.append(record, Path(out) / "records.jsonl")
        print(experiment.summary(record))
