"""Volumes in the benchmark: the blocks of the library's workers beside its `predict_stack`, on the same pixels."""

import os
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import zarr

from reproduce.benchmark import volumes
from reproduce.benchmark.volumes import benchmark_volumes
from unet_paper import volume
from unet_paper.engine import run_tasks
from unet_paper.model import UNet
from unet_paper.predict import predict_stack
from unet_paper.volume import predict_volume, split


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """A large volume of two tiles a side."""
    monkeypatch.setattr(volumes, "LARGE_TILES", 2)
    monkeypatch.setattr(volumes, "LARGE_SLICES", 1)


def test_the_memory_is_that_of_the_worker_with_most_that_segmented_the_large_volume(bench, stack, config, monkeypatch):
    seen = SimpleNamespace()

    def spy(source, out, weights, *, connect, **options):
        predict_volume(source, out, weights, connect=connect, **options)
        seen.source, seen.map = zarr.open_array(source)[:], zarr.open_array(out / "0")[:]
        with connect() as client:
            seen.workers = client.run(os.getpid).values()

    monkeypatch.setattr(volumes, "WORKERS", ())
    monkeypatch.setattr(volumes, "peak_memory", lambda device: os.getpid())
    monkeypatch.setattr(volume, "predict_volume", spy)
    (row,) = benchmark_volumes(bench, config.network, stack.images)
    np.testing.assert_array_equal(seen.source, np.tile(np.rint(stack.images[:1] * 255), (1, 2, 2)))
    assert np.ptp(seen.map) > 0
    assert len(seen.workers) == 2
    assert row.measures["worker_peak_bytes"] == max(seen.workers)
    assert row.conditions["side"] == 128
    assert row.measures["megapixels_per_second"] == 0.128**2  # in the second of the clock


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
    one, two, _ = benchmark_volumes(bench, config.network, np.tile(stack.images, (1, 5, 5)))
    assert (one.name, two.name) == ("predict_stack", "2 workers")
    for row in (one, two):
        assert row.conditions == {"group": "volume", "rotations": "none", "side": 640}
        assert row.measures["megapixels_per_second"] == pytest.approx(0.64**2)  # in the second of the clock
    assert asked == 3 * [(2, list(split((1, 640, 640), 512)))]
    assert np.abs(maps["stack"] * 255 - maps["workers"]).max() <= 0.5 + 1e-2


def test_without_dask_the_row_says_so(bench, config, stack, monkeypatch):
    monkeypatch.setattr(volumes, "WORKERS", (1,))
    monkeypatch.setitem(sys.modules, "distributed", None)
    for row in benchmark_volumes(bench, config.network, stack.images):
        assert "distributed" in row.conditions["skipped"]
