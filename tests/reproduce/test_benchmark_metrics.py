"""The benchmark of the metrics on a tiny stack: the same code path, no promise about the time."""

import pytest
from reproduce.benchmark_metrics import benchmark_metrics
from reproduce.stacks import Example

from data_scripts.phantom import make_phantom


def test_benchmark_times_every_metric_and_the_worst_case():
    images, labels = make_phantom(2, 64, 64, seed=0)
    rows = benchmark_metrics(Example((images / 255).astype("float32"), labels, "synthetic", {}), progress=False)
    names = [row["metric"] for row in rows]
    assert names == ["pixel_error", "rand_error", "v_rand", "v_info", "warping_error", "warping_error", "all five"]
    assert all(row["seconds"] > 0 for row in rows)
    assert rows[2]["ratio"] == pytest.approx(0.11 / rows[2]["seconds"])
    assert rows[-1]["ratio"] is None
