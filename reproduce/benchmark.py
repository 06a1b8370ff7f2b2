"""Speed and memory of training, inference, weight map and metrics, each row a record.

Without a choice everything is measured in one run, of less than ten minutes on a GPU. What cannot run
here is a row that says why. Rows of one run come from the same machine and minute; across machines
compare ratios.
"""

import itertools
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from reproduce import records
from reproduce.benchmark_alternatives import benchmark_alternatives
from reproduce.benchmark_ceilings import ceilings
from reproduce.benchmark_inference import benchmark_inference
from reproduce.benchmark_metrics import benchmark_metrics
from reproduce.benchmark_training import benchmark_training
from reproduce.benchmark_weight_map import benchmark_weight_map
from reproduce.rows import duration, measure_text, measure_title, table
from reproduce.stacks import load_example
from reproduce.timing import Bench, Row
from unet_paper.config import ExperimentConfig
from unet_paper.errors import InputError
from unet_paper.model import UNet
from unet_paper.predict import load_weights
from unet_paper.train import gray_statistics

CHOICES = ("training", "inference", "metrics", "weight-map")
SECONDS = {"cuda": 2.0, "cpu": 5.0}  # for the repeats of a row
LIMIT_SECONDS = {"cuda": 520.0, "cpu": 2400.0}  # no row begins later
STACK_SLICES = {"cuda": None, "cpu": 1}  # of the stack with eight symmetries; None: all
TRAINING_SLICES = 2  # a step's cost does not depend on the number of slices


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    for choice in CHOICES:
        parser.add_argument(f"--{choice}", action="store_true", help=f"measure the {choice.replace('-', ' ')}")
    parser.add_argument("--seconds", type=float, help="time for the repeats of a row (default: 2 on a GPU, 5 on a CPU)")
    parser.add_argument("--weights", type=Path, help="network for the accuracy of inference (default: untrained)")


def run(arguments):
    """Run the command; returns the exit status."""
    if arguments.seconds is not None and not arguments.seconds > 0:
        raise InputError(f"{arguments.seconds:g} seconds for a row; a positive number is needed")
    chosen = {choice for choice in CHOICES if getattr(arguments, choice.replace("-", "_"))} or set(CHOICES)
    device = torch.device(arguments.device)
    stack = load_example(arguments.data)
    images, labels, data = normalised(stack.images), stack.labels, stack.sha256
    seconds = arguments.seconds or SECONDS[device.type]
    bench = Bench(arguments.device, seconds, time.monotonic() + LIMIT_SECONDS[device.type])
    network = [ceilings(bench)] if chosen & {"training", "inference"} else []
    if "training" in chosen:
        how = slice(TRAINING_SLICES)
        network.append(benchmark_training(bench, ExperimentConfig(), images[how], labels[how]))
    if "inference" in chosen:
        model, weights = load_network(arguments.weights, arguments.seed)
        network.append(benchmark_inference(bench, model, images, stack_slices=STACK_SLICES[device.type]))
        network.append(benchmark_alternatives(bench, model, images))
        data = data | weights
    path = arguments.out / "records.jsonl"
    how = {"seed": arguments.seed, "data": data, "path": path}
    made = record_each(itertools.chain(*network), device=bench.device, until=bench.until, **how)
    rows = [(row, bench.device) for row in made]
    for name, measure in (("weight-map", benchmark_weight_map), ("metrics", benchmark_metrics)):
        if name in chosen:
            made = rows_of(name.replace("-", " "), measure(stack))
            rows += [(row, "cpu") for row in record_each(made, device="cpu", **how)]
    print(f"\n{format_rows([row for row, _ in rows])}\n\nrecords: {path}")
    return 0


def normalised(images):
    """Images of mean 0 and standard deviation 1, float32."""
    statistics = gray_statistics(images)
    return (images - statistics["image_mean"]) / np.float32(statistics["image_std"])


def load_network(weights, seed):
    """The network at `weights`, or an untrained one, on the CPU in evaluation mode; and what it is, for the record."""
    if weights is None:
        torch.manual_seed(seed)
        return UNet(**asdict(ExperimentConfig().network)).eval(), {"weights": "untrained"}
    model, _ = load_weights(weights)
    return model, {"weights": weights.name}


def rows_of(group, made):
    """Rows from the dictionaries of `benchmark_metrics` and `benchmark_weight_map`.

    Their first entry is the name; numbers are measures, words are conditions.

    Examples
    --------
    >>> rows_of("metrics", [{"metric": "v_rand", "map": "good", "seconds": 0.5, "ratio": None}])[0][:4]
    ('metrics', 'v_rand', {'map': 'good'}, {'seconds': 0.5})
    """
    rows = []
    for row in made:
        (_, name), *rest = row.items()
        words = {key: value for key, value in rest if isinstance(value, str)}
        numbers = {key: value for key, value in rest if isinstance(value, int | float)}
        rows.append(Row(group, name, words, numbers))
    return rows


def record_each(rows, *, device, seed, data, path, until=None):
    """Append each row to the records at `path` as soon as it is measured, print it, and yield it.

    What is printed ends with the time that is left until `until`, a reading of ``time.monotonic``.
    """
    commit, start = records.commit_id(), time.perf_counter()
    for row in rows:
        conditions = {"group": row.group, **row.conditions}
        if row.skipped:
            conditions["skipped"] = row.skipped
        provenance = records.provenance(
            config=row.config,
            seed=seed,
            data=data,
            device=device,
            wall_seconds=time.perf_counter() - start,
            peak_bytes=row.measures.get("peak_bytes"),
            commit=commit,
        )
        measures = {key: value for key, value in row.measures.items() if np.isfinite(value)}
        records.append(records.Record("benchmark", row.name, conditions, {}, measures, None, provenance), path)
        times = [measure_text(key, value) for key, value in row.measures.items() if "seconds" in key]
        left = "" if until is None else f" (at most about {duration(max(until - time.monotonic(), 0))} left)"
        print(f"{row.group}: {row.name} {row.conditions or ''} {row.skipped or ''.join(times[:1])}{left}", flush=True)
        start = time.perf_counter()
        yield row


def format_rows(rows):
    """A Markdown table for each group.

    Examples
    --------
    >>> print(format_rows([Row("work", "forward", {}, {"work_gigaflop": 300.86})]))
    **work**
    <BLANKLINE>
    | operation | work gigaflop | note |
    |---|---|---|
    | forward | 301 |  |
    """
    parts = []
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        conditions = list(dict.fromkeys(name for row in mine for name in row.conditions))
        measures = list(dict.fromkeys(name for row in mine for name in row.measures))
        head = ["operation", *conditions, *(measure_title(name) for name in measures), "note"]
        body = [
            [row.name]
            + [row.conditions.get(name, "") for name in conditions]
            + [measure_text(name, row.measures.get(name)) for name in measures]
            + [row.skipped or ""]
            for row in mine
        ]
        parts.append(f"**{group}**\n\n{table(head, body)}")
    return "\n\n".join(parts)
