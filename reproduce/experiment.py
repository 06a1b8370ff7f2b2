"""One cross-validated experiment: train a recipe on folds, predict what was held out, score, record.

Every table of the project that holds scores is made by these functions. A training leaves
``weights.safetensors``, its curve and the account of itself in ``<out>/runs/<name>/<part>``; a second
call finds it there and trains nothing. A prediction is stored as 8-bit map and the score is the score
of the stored map, so that ``python -m unet_paper score`` finds the same numbers.
"""

import csv
import hashlib
import json
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from reproduce import records
from unet_paper import metrics
from unet_paper.errors import InputError
from unet_paper.files import atomic_write, make_folder
from unet_paper.isbi import folds
from unet_paper.predict import predict_stack, read_weights, save_weights
from unet_paper.tiff import read_images, write_stack
from unet_paper.train import CHECKPOINT, gray_statistics, train

N_FOLDS = 5  # S18: five folds of six contiguous slices
ALL = "all"  # the part trained on every slice, for the challenge's test volume


class Part(NamedTuple):
    """What one network is trained on and what it has to predict: slice numbers from 0."""

    name: str
    train: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class System:
    """A network with its recipe and the way its output becomes a probability of cell.

    Attributes
    ----------
    name : str
        Short name, also of its folder.
    title : str
        The row's heading in tables.
    recipe : unet_paper.train.Recipe
    predict : dict
        Keyword arguments of `predict_stack` that differ from the U-Net's.
    """

    name: str
    title: str
    recipe: object
    predict: dict


def parts(n_slices, which=None, n_train=None):
    """The folds numbered in `which` (all five if None), each trained on at most `n_train` slices.

    The slices of a smaller training set are spread evenly over those of the fold.

    Examples
    --------
    >>> parts(30, [4])[0].held_out
    (24, 25, 26, 27, 28, 29)
    >>> parts(30, [4], n_train=3)[0].train
    (4, 12, 20)
    """
    every = folds(n_slices, N_FOLDS)
    chosen = []
    for number in sorted(set(range(N_FOLDS) if which is None else which)):
        if not 0 <= number < N_FOLDS:
            raise InputError(f"fold {number} does not exist; legal: 0 to {N_FOLDS - 1}")
        slices = every[number].train
        if n_train is not None:
            if not 1 <= n_train <= len(slices):
                raise InputError(f"{n_train} training slices are not in 1 to {len(slices)}")
            slices = tuple(slices[(2 * i + 1) * len(slices) // (2 * n_train)] for i in range(n_train))
        chosen.append(Part(f"fold{number}", slices, every[number].held_out))
    return chosen


def of_steps(config, steps):
    """`config` with another number of steps, of which at most a third are warm-up.

    Examples
    --------
    >>> from unet_paper.config import ExperimentConfig
    >>> short = of_steps(ExperimentConfig(), 600).training
    >>> short.steps, short.warmup_steps
    (600, 200)
    """
    how = config.training
    return replace(config, training=replace(how, steps=steps, warmup_steps=min(how.warmup_steps, steps // 3)))


def label(system):
    """The system's name with eight digits of its recipe, by which runs, curves and maps are named."""
    settings = json.dumps(system.recipe.identity, sort_keys=True)
    return f"{system.name}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def run_folder(out, system, part, seed):
    """Where the training of one part with one seed is kept."""
    return Path(out) / "runs" / label(system) / f"{part.name}-seed{seed}"


def forget_stopped(system, chosen, *, seed, out):
    """Remove what trainings that were stopped have left; finished ones stay."""
    for part in chosen:
        folder = run_folder(out, system, part, seed)
        if not (folder / "run.json").exists():
            for name in (CHECKPOINT, "commits.txt"):
                (folder / name).unlink(missing_ok=True)


def run_training(system, data, part, *, seed, device, out):
    """Train `system` on the slices of `part` unless it has been; returns the account of the training."""
    folder = run_folder(out, system, part, seed)
    images, labels = data.images[list(part.train)], data.labels[list(part.train)]
    settings = {"recipe": system.recipe.identity, "train_slices": list(part.train), "seed": seed}
    settings = json.loads(json.dumps(settings))
    account = folder / "run.json"
    if account.exists():
        done = json.loads(account.read_text(encoding="utf-8"))
        if (done["provenance"]["config"], done["provenance"]["data"]) != (settings, data.sha256):
            raise InputError(f"{folder} holds a training with other settings or data; name another --out or remove it")
        return done
    commits = folder / "commits.txt"  # of every run with a part in this training: one may resume another's
    make_folder(folder)
    for left in folder.glob(".tmp??????"):
        left.unlink()  # safetensors' own, of a run that was killed while it wrote
    with open(commits, "a", encoding="utf-8") as file:
        file.write(records.commit_id() + "\n")
    if device == "cuda":
        torch.backends.cudnn.benchmark = True  # every tile has the same size
    records.reset_peak_memory(device)
    total = None if system.recipe.seconds else system.recipe.steps
    with tqdm(total=total, desc=f"train {system.name} {part.name} seed {seed}", mininterval=1.0) as bar:

        def report(step, loss):
            if bar.n == 0:
                bar.n = bar.initial = step - 1  # steps of an earlier run do not count for the time left
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update(step - bar.n)

        model, curve = train(
            system.recipe, images, labels, seed=seed, device=device, folder=folder, resume=True, report=report
        )
    save_weights(folder / "weights.safetensors", model, {**gray_statistics(images), "seed": seed})
    if curve.loss:
        write_curve(Path(out) / "curves" / f"{label(system)}-{part.name}-seed{seed}.csv", curve)
    seconds = curve.seconds[-1] if curve.seconds else 0.0
    done = {
        "seconds": seconds,
        "steps": len(curve.loss),
        "parameters": sum(p.numel() for p in model.parameters()),
        "provenance": records.provenance(
            config=settings,
            seed=seed,
            data=data.sha256,
            device=device,
            wall_seconds=seconds,
            commit=together(commits.read_text(encoding="utf-8").split()),
        ),
    }
    with atomic_write(account) as temporary:
        Path(temporary).write_text(json.dumps(done, indent=1), encoding="utf-8")
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return done


def write_curve(path, curve):
    """Write step, loss, learning rate and seconds as CSV, a line a step."""
    make_folder(path.parent)
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "learning_rate", "seconds"])
        for step, (loss, rate, seconds) in enumerate(zip(*curve), 1):
            writer.writerow([step, f"{loss:.5f}", f"{rate:.4e}", f"{seconds:.2f}"])


def load_run(system, part, *, seed, device, out):
    """The trained network of a part, and the statistics its input is normalised by."""
    model = system.recipe.build()
    metadata, _ = read_weights(run_folder(out, system, part, seed) / "weights.safetensors", model)
    model = model.to(device, memory_format=torch.channels_last).eval()
    return model, {"mean": metadata["image_mean"], "std": metadata["image_std"]}


def predict_part(system, images, part, *, seed, device, out, rotations):
    """Probability of cell, float32 (Z, H, W), by the network of `part`; and the seconds it took."""
    model, statistics = load_run(system, part, seed=seed, device=device, out=out)
    segment = partial(
        predict_stack, model, device=device, precision=system.recipe.precision, **statistics, **system.predict
    )
    if device == "cuda":
        segment(images[:1], rotations="none")  # the choice of algorithms is no prediction
    start = time.perf_counter()
    bar = tqdm(images, desc=f"predict {system.name} {part.name} {rotations}", unit="slice", mininterval=1.0)
    maps = [segment(plane[None], rotations=rotations) for plane in bar]
    return np.concatenate(maps), time.perf_counter() - start


def quantise(probability):
    """Round probabilities in [0, 1] to uint8, 255 x probability: the form in which maps are stored.

    Examples
    --------
    >>> quantise(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return np.round(255 * probability).astype(np.uint8)


def slice_range(slices):
    """Runs of consecutive slices in words, for file names and tables.

    Examples
    --------
    >>> slice_range((24, 25, 26)), slice_range((0, 1, 6, 7))
    ('24-26', '0-1+6-7')
    """
    starts = [z for z in slices if z - 1 not in slices]
    ends = [z for z in slices if z + 1 not in slices]
    return "+".join(f"{start}-{end}" for start, end in zip(starts, ends))


def cross_validate(
    system, data, chosen, *, experiment, seed, device, out, rotations=("eight",), conditions=None, measures=None
):
    """Train, predict, score and record the parts `chosen`; returns the records, one for each rotation.

    Slices are scored as one stack of predictions by networks that never saw them. `conditions` and
    `measures` are further entries of the records.
    """
    accounts = [run_training(system, data, part, seed=seed, device=device, out=out) for part in chosen]
    commits = [commit for account in accounts for commit in account["provenance"]["commit"].split(", ")]
    slices = [s for part in chosen for s in part.held_out]
    made = []
    for rotation in rotations:
        name = f"{label(system)}-seed{seed}-{rotation}-slices{slice_range(slices)}.tif"
        path = Path(out) / "predictions" / name
        seconds = 0.0
        stacks = []
        for part in chosen:
            images = data.images[list(part.held_out)]
            stack, took = predict_part(system, images, part, seed=seed, device=device, out=out, rotations=rotation)
            stacks.append(quantise(stack))
            seconds += took
        make_folder(path.parent)
        write_stack(path, np.concatenate(stacks))
        made.append(
            records.Record(
                experiment=experiment,
                name=system.name,
                conditions={
                    "title": system.title,
                    "folds": [part.name for part in chosen],
                    "slices": slice_range(slices),
                    "train_slices": len(chosen[0].train),
                    "seeds": [seed],
                    "rotations": rotation,
                    "steps": accounts[0]["steps"],
                    **(conditions or {}),
                },
                scores=score_stored(path, data.labels[slices]),
                measures={
                    "train_seconds": sum(a["seconds"] for a in accounts),
                    "predict_seconds_per_slice": seconds / len(slices),
                    "parameters_count": accounts[0]["parameters"],
                    **(measures or {}),
                },
                prediction=path.relative_to(out).as_posix(),
                provenance=accounts[0]["provenance"]
                | {
                    "command": together([*(a["provenance"]["command"] for a in accounts), records.command_line()]),
                    "commit": together([*commits, records.commit_id()]),
                    "date": records.now(),
                    "device": together(a["provenance"]["device"] for a in accounts),
                    "peak_bytes": max(a["provenance"]["peak_bytes"] for a in accounts),
                    "wall_seconds": round(sum(a["seconds"] for a in accounts) + seconds, 3),
                },
            )
        )
        records.append(made[-1], Path(out) / "records.jsonl")
        print(summary(made[-1]))
    return made


def together(names):
    """Distinct names in their order: of the commands and commits that trained and scored, of the devices.

    Examples
    --------
    >>> together(["a", "a", "b"])
    'a, b'
    """
    return ", ".join(dict.fromkeys(names))


def score_stored(path, labels):
    """The five metrics of the map stored at `path`, as a dictionary by `records.SCORES`."""
    scores = metrics.score(labels, read_images(path).array)
    return {name: float(getattr(scores, name).value) for name in records.SCORES}


def summary(record):
    """One line for a person at the terminal."""
    values = "  ".join(f"{name} {value:.5f}" for name, value in record.scores.items())
    where = f"slices {record.conditions['slices']}, rotations {record.conditions['rotations']}"
    return f"{record.name} ({where}): {values}"
