"""Speed of segmentation: `predict_stack` on one slice, and on the stack averaged over eight symmetries.

Times are from array to array in host memory. A padded network sees the slice alone, the paper's a tile of
700 pixels with mirrored surroundings.
"""

import itertools
from collections.abc import Iterator
from functools import partial

from reproduce import records
from reproduce.benchmark.networks import NETWORKS
from reproduce.benchmark.timing import FORMS, Bench, count_operations
from reproduce.records import Record
from unet_paper.config import NetworkConfig
from unet_paper.predict import predict_stack, views
from unet_paper.train import gray_statistics


def benchmark_inference(bench: Bench, config: NetworkConfig, images, *, stack_slices=None) -> Iterator[Record]:
    """Rows of each network in each form, as they are measured.

    Parameters
    ----------
    bench : Bench
    config : NetworkConfig
    images : ndarray, float32, (Z, side, side)
        Gray values in [0, 1].
    stack_slices : int, optional
        Slices of the stack that is segmented with eight symmetries (default: all).
    """
    forms = [form for form in FORMS if not form.graphed]  # prediction has no graph
    parts = (("none", images[:1]), ("eight", images[:stack_slices]))
    for network, form, (rotations, stack) in itertools.product(NETWORKS, forms, parts):
        conditions = {"form": form.name, "rotations": rotations, "slices": len(stack)}
        build = partial(stack_measures, bench, form, network, config, stack, rotations)
        yield bench.row("segmentation", network.name, conditions, build, form=form)


def stack_measures(bench, form, network, config, stack, rotations) -> dict:
    """Time, peak memory and rate of segmenting `stack`, and the cost of a million of its pixels."""
    side, statistics = stack.shape[-1], gray_statistics(stack)
    segment = partial(
        predict_stack,
        network.build(config),
        mean=statistics["image_mean"],
        std=statistics["image_std"],
        device=bench.device,
        precision=form.precision,
        **({"tile": side, "stride": side, "margin": 0} if network.pads else {}),
    )
    operations = count_operations(lambda: segment(stack[:1], rotations="none"))  # also chooses algorithms
    operations *= len(views((side, side), rotations)) * len(stack)
    records.reset_peak_memory(bench.device)
    timing = bench.measure(lambda: segment(stack, rotations=rotations))
    return {
        **bench.beside_ceiling(timing, operations, form),
        "megapixel_seconds": timing["median_seconds"] / stack.size * 1e6,
        "peak_bytes": records.peak_memory(bench.device),
    }
