"""Volumes in the benchmark: the blocks of the library's workers beside its `predict_stack`, on the same pixels."""

import sys
from dataclasses import asdict

import numpy as np
import pytest
import zarr

from reproduce.benchmark import volumes
from reproduce.benchmark.volumes import benchmark_volumes
from unet_paper.engine import run_tasks
from unet_paper.model import UNet
from unet_paper.predict import predict_stack
from unet_paper.volume import split


def test_workers_and_predict_stack_segment_the_same_pixels(bench, config, stack, monkeypatch):
    maps, asked = {}, []

    def stack_spy(model, images, **options):
        maps["stack"] = predict_stack(model, images, **options)

    def tasks_spy(client, function, tasks):
        asked.append((len(client.nthreads()), tasks))
        yield from run_tasks(client, function, tasks)
        maps["workers"] = zarr.open_array(f"{function.args[0].out}/0", mode="r")[:]

    monkeypatch.setattr(volumes, "WORKERS", (None, 2))
    monkeypatch.setattr(volumes, "predict_stack", stack_spy)
    monkeypatch.setattr(volumes, "run_tasks", tasks_spy)
    model = UNet(**asdict(config.network))
    monkeypatch.setattr(volumes, "UNet", lambda **sizes: model)
    one, two = benchmark_volumes(bench, config.network, np.tile(stack.images, (1, 5, 5)))
    assert (one.name, two.name) == ("predict_stack", "2 workers")
    for row in (one, two):
        assert row.conditions == {"group": "volume", "rotations": "none", "side": 640}
        assert row.measures["megapixels_per_second"] == pytest.approx(0.64**2)  # in the second of the clock
    assert asked == 3 * [(2, list(split((1, 640, 640), 512)))]
    assert np.abs(maps["stack"] * 255 - maps["workers"]).max() <= 0.5 + 1e-2


def test_without_dask_the_row_says_so(bench, config, stack, monkeypatch):
    monkeypatch.setattr(volumes, "WORKERS", (1,))
    monkeypatch.setitem(sys.modules, "distributed", None)
    (row,) = benchmark_volumes(bench, config.network, stack.images)
    assert row.name == "1 worker"
    assert "distributed" in row.conditions["skipped"]
