"""Speed and memory of training, inference, volumes, weight map and metrics, each row a record.

Without a choice everything is measured in one run. What cannot run here is a row that says why. Rows of one run come
from the same machine and minutes; across machines compare ratios.
"""

import itertools
import time

from reproduce import records
from unet_paper.config import ExperimentConfig

CHOICES = ("training", "inference", "volume", "metrics", "weight-map")
SECONDS = {True: 0.5, False: 5.0}  # for the repeats of a row, on a GPU and on a CPU
STACK_SLICES = {True: None, False: 1}  # of the stack with eight symmetries; None: all
TRAINING_SLICES = 2  # the cost of a step does not depend on the number of slices


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    for choice in CHOICES:
        parser.add_argument(f"--{choice}", action="store_true", help=f"measure the {choice.replace('-', ' ')}")


def run(arguments):
    """Run the command."""
    from reproduce.benchmark.inference import benchmark_inference  # torch, only now
    from reproduce.benchmark.metrics import benchmark_metrics
    from reproduce.benchmark.timing import Bench, ceilings, on_gpu
    from reproduce.benchmark.training import benchmark_training
    from reproduce.benchmark.volumes import benchmark_volumes
    from reproduce.benchmark.weight_map import benchmark_weight_map
    from reproduce.data import load_example
    from reproduce.report.select import as_row
    from reproduce.report.tables import benchmarks
    from reproduce.report.text import measure_text

    chosen = {choice for choice in CHOICES if getattr(arguments, choice.replace("-", "_"))} or set(CHOICES)
    stack, gpu = load_example(arguments.data), on_gpu(arguments.device)
    origin = {"data": stack.sha256, "commit": records.commit_id()}
    bench = Bench(arguments.device, SECONDS[gpu], origin)
    processor = Bench("cpu", SECONDS[False], origin, clock=time.process_time)
    images, labels, config = stack.images, stack.labels, ExperimentConfig()
    groups = {  # the last three keep freed memory for the process, with which the first two are faster
        "metrics": benchmark_metrics(processor, stack),
        "weight-map": benchmark_weight_map(processor, stack),
        "training": benchmark_training(bench, config, images[:TRAINING_SLICES], labels[:TRAINING_SLICES]),
        "inference": benchmark_inference(bench, config.network, images, stack_slices=STACK_SLICES[gpu]),
        "volume": benchmark_volumes(bench, config.network, images),
    }
    first = [ceilings(bench)] if chosen & {"training", "inference"} else []
    rows, path = [], arguments.out / "records.jsonl"
    for row in itertools.chain(*first, *(group for choice, group in groups.items() if choice in chosen)):
        records.append(row, path)
        rows.append(row)
        seconds = measure_text("median_seconds", row.measures.get("median_seconds"))
        words = ", ".join(str(value) for name, value in row.conditions.items() if name not in ("group", "skipped"))
        print(f"{row.conditions['group']}: {row.name}, {words}: {row.conditions.get('skipped', seconds)}", flush=True)
    print(f"\n{benchmarks(map(as_row, rows), [])}\n\nrecords: {path}")
