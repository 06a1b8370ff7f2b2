"""Cost of the challenge's metrics beside its official implementation.

Processor time of one thread for one slice at one threshold, and of all five metrics on a whole stack. A good
map is the ground truth blurred, with noise; the worst case is the image itself taken for a probability map.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from reproduce.benchmark.timing import Bench
from reproduce.data import Example
from reproduce.records import Record
from unet_paper.metrics import pixel_error, rand_error, score, v_info, v_rand, warping_error

SAMPLE = 5  # slices timed on their own
REPEATS = 3
BLUR, NOISE = 2.0, 0.02  # of the good map: pixels, probability

# Seconds of the official Java implementation for one 512 x 512 slice and threshold, on one core of another machine;
# for the warping error the lower of 0.14 and 0.17.
OFFICIAL = {pixel_error: 0.004, rand_error: 0.16, v_rand: 0.11, v_info: 0.12, warping_error: 0.14}
OFFICIAL_WORST_CASE = 8.5


def benchmark_metrics(bench: Bench, stack: Example) -> Iterator[Record]:
    """Rows of each metric on a good map, of the warping error on the worst one, and of all five on the stack."""
    images, labels, name, _ = stack
    noise = NOISE * np.random.default_rng(0).standard_normal(labels.shape)
    good = np.clip(gaussian_filter(labels.astype(np.float32), (0, BLUR, BLUR)) + noise, 0, 1).astype(np.float32)
    timed = [(metric, "good", good, official) for metric, official in OFFICIAL.items()]
    timed.append((warping_error, "image intensities", images, OFFICIAL_WORST_CASE))
    for metric, title, maps, official in timed:
        conditions = {"map": f"{title}, {name}", "unit": "slice and threshold, one thread"}
        build = partial(metric_measures, bench, metric, labels[:SAMPLE], maps[:SAMPLE], official)
        yield bench.row("metrics", metric.__name__, conditions, build)
    conditions = {"map": f"good, {name}", "unit": f"{len(labels)} slices, one thread"}
    build = partial(bench.measure, partial(score, labels, good, workers=1), repeats=REPEATS)
    yield bench.row("metrics", "all five", conditions, build)


def metric_measures(bench, metric, labels, maps, official) -> dict:
    """Seconds for a slice and threshold beside those of the official implementation."""
    count = len(labels) * len(metric(labels, maps, workers=1).thresholds)
    seconds = bench.measure(partial(metric, labels, maps, workers=1), repeats=REPEATS)["median_seconds"] / count
    return {"median_seconds": seconds, "official_seconds": official, "ratio": official / seconds}
