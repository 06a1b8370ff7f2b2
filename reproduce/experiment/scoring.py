"""Predictions of trained networks as stored maps, and the records of their scores.

A score is the score of the stored map, so that ``unet-paper score`` finds the same numbers.
"""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reproduce import records
from reproduce.experiment.run import Run
from reproduce.experiment.training import read_account, together, training_folder
from unet_paper import metrics
from unet_paper.checkpoint import read_weights
from unet_paper.errors import InputError
from unet_paper.files import make_folder
from unet_paper.isbi import pixel_sha256
from unet_paper.predict import predict_stack
from unet_paper.tiff import read_images, write_stack


def measure(run: Run, data, *, device: str, out: Path) -> list[records.Record]:
    """Predict and score a run whose networks are trained: one record for each of its rotations."""
    costs = run.costs() if run.costs else {}
    accounts = [read_account(training_folder(run.method, s, seed=run.seed, out=out)) for s in run.splits]
    return [_measure(run, rotation, accounts, costs, data, device, Path(out)) for rotation in run.rotations]


def _measure(run, rotation, accounts, costs, data, device, out):
    seconds, stacks = 0.0, []
    for split in run.splits:
        images = data.test_images if run.on_test else data.images[list(split.held_out)]
        stack, took = predict_split(
            run.method, split, images, seed=run.seed, device=device, out=out, rotations=rotation
        )
        stacks.append(stack)
        seconds += took
    probability = np.concatenate(stacks)
    path = map_path(run, rotation, out)
    write_map(path, probability, run.on_test)
    truth = truth_of(run, data)
    scores, details = score_map(path, truth, data.test_rows if run.on_test else None)
    trained = [account["provenance"] for account in accounts]
    commits = [commit for provenance in trained for commit in provenance["commit"].split(", ")]
    sha256 = data.sha256 | ({"test-labels": pixel_sha256(truth)} if run.on_test and truth is not None else {})
    return records.Record(
        experiment=run.experiment,
        name=run.method.name,
        conditions=conditions_of(run, data) | {"rotations": rotation, "steps": accounts[0]["steps"]},
        scores=scores,
        measures={
            "train_seconds": sum(account["seconds"] for account in accounts),
            "predict_seconds_per_slice": seconds / len(probability),
            "parameters_count": accounts[0]["parameters"],
            **costs,
        },
        prediction=path.relative_to(out).as_posix(),
        details=details,
        provenance=trained[0]
        | {
            "command": together([*(p["command"] for p in trained), records.command_line()]),
            "commit": together([*commits, records.commit_id()]),
            "config": json.loads(json.dumps(run.configuration)),
            "data": sha256,
            "date": records.now(),
            "device": together(p["device"] for p in trained),
            "peak_bytes": max(p["peak_bytes"] for p in trained),
            "wall_seconds": round(sum(account["seconds"] for account in accounts) + seconds, 3),
        },
    )


def truth_of(run: Run, data) -> np.ndarray | None:
    """The labels that a run is scored against, if there are any."""
    return data.test_labels if run.on_test else data.labels[run.held_out]


def conditions_of(run: Run, data) -> dict:
    """What tells the records of a run apart, but for rotations and steps."""
    rows = {"rows": list(data.test_rows)} if run.on_test and data.test_rows else {}
    return {
        "title": run.method.title,
        "recipe": run.method.recipe.digits,
        "folds": [split.name for split in run.splits],
        "volume": "test" if run.on_test else "train",
        "slices": list(range(len(data.test_images))) if run.on_test else run.held_out,
        "train_slices": len(run.splits[0].train),
        "seeds": [run.seed],
        **rows,
        **run.conditions,
    }


def failure(run: Run, data, device: str, outcome: str) -> records.Record:
    """The record of a run whose loss was not finite."""
    conditions = {"rotations": "failed", "steps": run.method.recipe.steps, "outcome": outcome}
    return records.Record(
        run.experiment,
        run.method.name,
        conditions_of(run, data) | conditions,
        provenance=records.provenance(
            config=json.loads(json.dumps(run.configuration)),
            seed=run.seed,
            data=data.sha256,
            device=device,
            wall_seconds=0.0,
        ),
    )


def predict_split(method, split, images, *, seed, device, out, rotations):
    """Probability of cell, float32 (Z, H, W), by the network of `split`; and the seconds it took."""
    model = method.recipe.network()
    folder = training_folder(method, split, seed=seed, out=out)
    metadata, _ = read_weights(folder / "weights.safetensors", model)
    segment = partial(
        predict_stack,
        model,
        mean=metadata["image_mean"],
        std=metadata["image_std"],
        device=device,
        precision=method.recipe.precision,
        **method.predict,
    )
    if device == "cuda":
        segment(images[:1], rotations="none")  # the choice of algorithms is no prediction
    start = time.perf_counter()
    with tqdm(desc=f"predict {method.name} {split.name} {rotations}", unit="tile", mininterval=1.0) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        stack = segment(images, rotations=rotations, progress=progress)
    return stack, time.perf_counter() - start


def map_path(run: Run, rotation: str, out: Path) -> Path:
    """Where the map of a run is stored."""
    where = "test-volume" if run.on_test else "+".join(split.name for split in run.splits)
    return Path(out) / "predictions" / f"{run.method.label}-seed{run.seed}-{rotation}-{where}.tif"


def write_map(path: Path, probability: np.ndarray, submission: bool) -> None:
    """Store probabilities in steps of 1/255: as uint8, or as float32 in [0, 1], the challenge's own format."""
    make_folder(path.parent)
    stored = quantise(probability)
    write_stack(path, stored / np.float32(255) if submission else stored)


def quantise(probability: np.ndarray) -> np.ndarray:
    """Round probabilities in [0, 1] to uint8, 255 x probability: the form in which maps are stored.

    Examples
    --------
    >>> quantise(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return np.round(255 * probability).astype(np.uint8)


def score_map(path: Path, labels: np.ndarray | None, rows: tuple[int, int] | None = None) -> tuple[dict, dict]:
    """Scores of the map stored at `path`, or of its `rows`, by `records.SCORES`, and their details.

    Both are empty without labels.
    """
    if labels is None:
        return {}, {}
    probability = read_images(path).array
    if rows is not None:
        probability = probability[:, rows[0] : rows[1] + 1]
    results = metrics.score(labels, probability)
    v_rand, warping = results.v_rand, results.warping_error
    best = 0 if v_rand.threshold is None else int(np.argmax(v_rand.values))
    details = {
        "thresholds": {name: getattr(results, name).threshold for name in records.SCORES},
        "v_rand_by_slice": [float(value) for value in v_rand.per_slice[best]],
        "merge_pixels": int(warping.merges.sum()),
        "split_pixels": int(warping.splits.sum()),
    }
    if v_rand.threshold is not None:
        details |= {"v_rand_precision": v_rand.precision, "v_rand_recall": v_rand.recall}
    return {name: float(getattr(results, name).value) for name in records.SCORES}, details


def average(run: Run, seeds: list[int], data, *, out: Path) -> records.Record:
    """Score and record the mean of the maps that the networks of several seeds have left, for one rotation."""
    (rotation,) = run.rotations
    known = records.read(Path(out) / "records.jsonl")
    ours = {}
    for seed in sorted(set(seeds)):
        of_seed = replace(run, seed=seed)
        found = [r for r in known if is_of(r, of_seed, data) and r.conditions["rotations"] == rotation and r.prediction]
        if not found:
            raise InputError(f"seed {seed} has no record of these slices and rotations; run the command for it first")
        ours[seed] = found[-1]
    maps = [read_images(Path(out) / record.prediction).array for record in ours.values()]
    mean = replace(run, seed="+".join(map(str, ours)))
    path = map_path(mean, rotation, out)
    write_map(path, np.mean(maps, axis=0), run.on_test)
    scores, details = score_map(path, truth_of(run, data), data.test_rows if run.on_test else None)
    first = ours[min(ours)]
    summed = ("train_seconds", "predict_seconds_per_slice")
    record = replace(
        first,
        conditions=first.conditions | {"seeds": list(ours)},
        scores=scores,
        measures=first.measures | {name: sum(r.measures[name] for r in ours.values()) for name in summed},
        prediction=path.relative_to(out).as_posix(),
        details=details,
        provenance=first.provenance
        | {
            "command": together([*(r.provenance["command"] for r in ours.values()), records.command_line()]),
            "commit": together([*(r.provenance["commit"] for r in ours.values()), records.commit_id()]),
            "config": first.provenance["config"] | {"seed": list(ours)},
            "seed": list(ours),
            "date": records.now(),
            "device": together(r.provenance["device"] for r in ours.values()),
            "peak_bytes": max(r.provenance["peak_bytes"] for r in ours.values()),
            "wall_seconds": round(sum(r.provenance["wall_seconds"] for r in ours.values()), 3),
        },
    )
    records.append(record, Path(out) / "records.jsonl")
    print(summary(record))
    return record


def is_of(record, run, data) -> bool:
    """Whether a record, or the record of a failure, is of `run` under the same configuration and data."""
    same = (record.experiment, record.name) == (run.experiment, run.method.name)
    same = same and record.provenance["config"] == json.loads(json.dumps(run.configuration))
    same = same and data.sha256.items() <= record.provenance["data"].items()
    if run.on_test:
        rows = None if data.test_rows is None else list(data.test_rows)
        same = same and (bool(record.scores), record.conditions.get("rows")) == (data.test_labels is not None, rows)
    return same and run.conditions.items() <= record.conditions.items()


def summary(record: records.Record) -> str:
    """One line for a person at the terminal."""
    values = "  ".join(f"{name} {value:.5f}" for name, value in record.scores.items())
    values = values or record.conditions.get("outcome") or record.prediction
    return (
        f"{record.name} ({', '.join(record.conditions['folds'])}, rotations {record.conditions['rotations']}): {values}"
    )
