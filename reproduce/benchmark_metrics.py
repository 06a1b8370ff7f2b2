"""Cost of the challenge's metrics beside its official implementation.

Processor time of one thread for one slice at one threshold, the least of a few repeats, and the time
on the clock of `score` on a whole stack with two threads. A good map is the ground truth blurred,
with noise; the worst case is the image itself taken for a probability map.
"""

import time

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from unet_paper.metrics import pixel_error, rand_error, score, v_info, v_rand, warping_error

SAMPLE = 5  # slices timed on their own
REPEATS = 3
WORKERS = 2
BLUR, NOISE = 2.0, 0.02  # of the good map: pixels, probability

# Seconds of the official Java implementation for one 512 x 512 slice and threshold, on one core of another machine;
# for the warping error the lower of 0.14 and 0.17.
OFFICIAL = {pixel_error: 0.004, rand_error: 0.16, v_rand: 0.11, v_info: 0.12, warping_error: 0.14}
OFFICIAL_WORST_CASE = 8.5


def benchmark_metrics(stack, *, progress=True):
    """Time of each metric on a good map, of the warping error on the worst one, and of all five on a stack.

    Parameters
    ----------
    stack : reproduce.stacks.Example
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    list of dict
        ``metric``, ``map``, ``seconds``, ``official_seconds`` and ``ratio`` (official over ours; both None where
        there is no official figure). ``unit`` says what the seconds are of.
    """
    images, labels, source, _ = stack
    noise = NOISE * np.random.default_rng(0).standard_normal(labels.shape)
    good = np.clip(gaussian_filter(labels.astype(np.float32), (0, BLUR, BLUR)) + noise, 0, 1).astype(np.float32)
    score(labels[:1], good[:1])  # compile

    timed = [(metric, "good", good, official) for metric, official in OFFICIAL.items()]
    timed.append((warping_error, "image intensities", images, OFFICIAL_WORST_CASE))
    rows = []
    with tqdm(total=len(timed) + 1, desc="metrics", disable=not progress) as bar:
        for metric, name, probability, official in timed:
            seconds = _seconds_per_threshold(metric, labels[:SAMPLE], probability[:SAMPLE])
            unit = "slice and threshold, one thread"
            rows.append(_row(metric.__name__, f"{name}, {source}", unit, seconds, official))
            bar.update()
        start = time.perf_counter()
        score(labels, good, workers=WORKERS)
        seconds = time.perf_counter() - start
        rows.append(_row("all five", f"good, {source}", f"{len(labels)} slices, {WORKERS} threads", seconds, None))
        bar.update()
    return rows


def _seconds_per_threshold(metric, labels, probability):
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = metric(labels, probability, workers=1)
        seconds.append(time.process_time() - start)
    return min(seconds) / (len(labels) * len(result.thresholds))


def _row(metric, name, unit, seconds, official):
    ratio = None if official is None else official / seconds
    return {
        "metric": metric,
        "map": name,
        "unit": unit,
        "seconds": seconds,
        "official_seconds": official,
        "ratio": ratio,
    }
