"""Predictions of trained networks as stored maps, and the records of their scores.

A score is the score of the stored map, so that ``unet-paper score`` finds the same numbers.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from reproduce import records
from reproduce.experiment.run import Run
from reproduce.experiment.training import of_parts, progress_bar, read_account, together, training_folder
from unet_paper import metrics
from unet_paper.checkpoint import read_weights
from unet_paper.errors import NonFiniteLoss
from unet_paper.files import make_folder
from unet_paper.predict import predict_stack
from unet_paper.tiff import read_images, write_stack

WORK = ("gflop_per_slice", "arithmetic_ratio")  # costs that no device changes


def measure(run: Run, data, *, device: str, out: Path) -> Iterator[records.Record]:
    """Predict and score a run whose networks are trained: yields the record of each of its rotations.

    Raises `NonFiniteLoss` if a map is not finite.
    """
    costs = run.costs() if run.costs else {}
    folders = [training_folder(run.method, split, seed=seed, out=out) for split, seed in run.trainings]
    accounts = [read_account(folder) for folder in folders]
    for rotations in run.rotations:
        yield _measure(run, rotations, accounts, costs, data, device, Path(out))


def _measure(run, rotations, accounts, costs, data, device, out):
    seconds, maps = 0.0, {seed: [] for seed in run.seeds}
    for split, seed in run.trainings:
        images = data.test_images if run.on_test else data.images[list(split.held_out)]
        probability, took = predict_split(
            run.method, split, images, seed=seed, device=device, out=out, rotations=rotations
        )
        maps[seed].append(probability)
        seconds += took
    probability = np.mean([np.concatenate(stacks) for stacks in maps.values()], axis=0)
    path = store_map(run, rotations, probability, out)
    labels, rows = (data.test_labels, data.test_rows) if run.on_test else (data.labels[run.held_out], None)
    scores, details = score_map(path, labels, rows)
    trained = [account["provenance"] for account in accounts]
    steps = [account["steps"] for account in accounts]  # which differ in a given time
    versions = [*(p["versions"] for p in trained), records.versions()]
    train_seconds = sum(account["seconds"] for account in accounts)
    parts = of_parts([part for account in accounts for part in account["parts"]])
    costs = {"predict_seconds_per_slice": seconds / len(probability), **costs}
    if parts["device"] != records.device_name(device):  # which is the device that a record tells
        costs = {name: value for name, value in costs.items() if name in WORK}
    return records.Record(
        experiment=run.experiment,
        name=run.method.name,
        conditions=conditions_of(run, data) | {"rotations": rotations, "steps": round(np.mean(steps))},
        scores=scores,
        measures={
            "train_seconds": train_seconds,
            "parameters_count": accounts[0]["parameters"],
            **costs,
        },
        prediction=path.relative_to(out).as_posix(),
        details=details,
        provenance=trained[0]
        | {
            "command": together([*(p["command"] for p in trained), records.command_line()]),
            "commit": together([*parts["commit"].split(", "), records.commit_id()]),
            "config": run.configuration,
            "seed": list(run.seeds),
            "data": data.sha256,
            "date": records.now(),
            "device": parts["device"],
            "device_kind": parts["device_kind"],
            "peak_bytes": max(p["peak_bytes"] for p in trained),
            "versions": {name: together(one[name] for one in versions if name in one) for name in versions[-1]},
            "wall_seconds": round(train_seconds + seconds, 3),
        },
    )


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
        "seeds": list(run.seeds),
        **rows,
        **run.conditions,
    }


def failure(run: Run, data, device: str, outcome: str) -> records.Record:
    """The record of a run whose loss or map was not finite."""
    recipe = run.method.recipe
    steps = {} if recipe.seconds else {"steps": recipe.steps}
    return records.Record(
        run.experiment,
        run.method.name,
        conditions_of(run, data) | steps | {"outcome": outcome},
        provenance=records.provenance(
            config=run.configuration, seed=list(run.seeds), data=data.sha256, device=device, wall_seconds=0.0
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
    with progress_bar(desc=f"predict {method.name} {split.name} seed {seed} {rotations}", unit="tile") as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        probability = segment(images, rotations=rotations, progress=progress)
    if not np.isfinite(probability).all():
        raise NonFiniteLoss(f"the map of the network of {split.name} with seed {seed} is not finite")
    return probability, time.perf_counter() - start


def store_map(run: Run, rotations: str, probability: np.ndarray, out: Path) -> Path:
    """Store the map of a run in steps of 1/255; returns its path.

    Held-out slices are uint8, the test volume is float32 in [0, 1], the challenge's own format.
    """
    seeds = "+".join(map(str, run.seeds))
    where = "test-volume" if run.on_test else "+".join(split.name for split in run.splits)
    path = out / "predictions" / f"{run.method.label}-seed{seeds}-{rotations}-{where}.tif"
    make_folder(path.parent)
    stored = np.round(255 * probability).astype(np.uint8)
    write_stack(path, stored / np.float32(255) if run.on_test else stored)
    return path


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
