"""The benchmark of the metrics on a tiny stack: every metric, the worst case, and the whole stack."""

import numpy as np
import pytest

from reproduce.benchmark import metrics
from reproduce.benchmark.metrics import SAMPLE, benchmark_metrics
from unet_paper.metrics import THRESHOLDS, pixel_error, warping_error


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


def test_the_worst_case_is_the_image_taken_for_a_map_and_the_good_map_nearly_the_truth(bench, stack, monkeypatch):
    maps = {}

    def spy(name, metric):
        def warping_error(labels, probability, *, workers):
            maps[name] = probability
            return metric(labels, probability, workers=workers)

        return warping_error

    monkeypatch.setattr(metrics, "OFFICIAL", {spy("good", pixel_error): 1.0})
    monkeypatch.setattr(metrics, "warping_error", spy("worst", warping_error))
    list(benchmark_metrics(bench, stack))
    np.testing.assert_array_equal(maps["worst"], stack.images[:SAMPLE])
    assert np.mean((maps["good"] > 0.5) != stack.labels[:SAMPLE]) < 0.1
    assert np.any(maps["good"] != stack.labels[:SAMPLE])
