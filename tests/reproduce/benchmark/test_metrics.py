"""The benchmark of the metrics on a tiny stack: every metric, the worst case, and the whole stack."""

import pytest

from reproduce.benchmark.metrics import benchmark_metrics
from unet_paper.metrics import THRESHOLDS


def test_every_metric_stands_beside_the_official_one(bench, stack):
    rows = list(benchmark_metrics(bench, stack))
    names = [row.name for row in rows]
    assert names == ["pixel_error", "rand_error", "v_rand", "v_info", "warping_error", "warping_error", "all five"]
    assert [row.conditions["map"] for row in rows[4:]] == [
        "good, synthetic",
        "image intensities, synthetic",
        "good, synthetic",
    ]
    seconds = 1 / (len(stack.labels) * len(THRESHOLDS))
    assert rows[2].measures["median_seconds"] == pytest.approx(seconds)
    assert rows[2].measures["ratio"] == pytest.approx(0.11 / seconds)
    assert rows[-1].measures["median_seconds"] == 1
    assert "ratio" not in rows[-1].measures
