"""Speed of a volume in blocks on one worker and on two, beside `predict_stack` on the same pixels in memory.

The volume is a real slice tiled to several blocks. The workers have loaded the network before the clock runs; a
block is read from a file and written to one. A last row is of a volume that no worker could hold, by a narrow network:
what it measures is the memory of a worker.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from reproduce.benchmark.timing import Bench
from reproduce.records import Record, peak_memory
from unet_paper.checkpoint import save_weights
from unet_paper.config import NetworkConfig
from unet_paper.device import choose_precision
from unet_paper.engine import cluster, run_tasks
from unet_paper.model import UNet
from unet_paper.predict import predict_stack
from unet_paper.tiff import write_stack
from unet_paper.train import gray_statistics

WORKERS = (None, 1, 2)  # None: `predict_stack`
TILES = 2  # slices a side, a block each
ROTATIONS = "none"
LARGE_SLICES, LARGE_TILES, LARGE_WORKERS, NARROW = 4, 16, 2, 2  # 4 x 8192 x 8192 pixels; base channels


def benchmark_volumes(bench: Bench, config: NetworkConfig, images: np.ndarray) -> Iterator[Record]:
    """Rows of `predict_stack` and of each number of workers; `images` (Z, H, W) are float32 in [0, 1]."""
    volume = np.tile(np.rint(images[:1] * 255).astype(np.uint8), (1, TILES, TILES))
    for workers in WORKERS:
        name = "predict_stack" if workers is None else f"{workers} workers" if workers > 1 else "1 worker"
        conditions = {"rotations": ROTATIONS, "side": volume.shape[-1]}
        yield bench.row("volume", name, conditions, partial(volume_measures, bench, config, volume, workers))
    conditions = {"rotations": ROTATIONS, "side": LARGE_TILES * images.shape[-1], "slices": LARGE_SLICES}
    name = f"{LARGE_WORKERS} workers, {NARROW} base channels"
    yield bench.row("volume", name, conditions, partial(large_measures, bench, images))


def volume_measures(bench, config, volume, workers) -> dict:
    """Time of segmenting `volume` (Z, H, W) uint8, and megapixels a second."""
    gray, model = volume / np.float32(255), UNet(**asdict(config))
    statistics = gray_statistics(gray)
    if workers is None:
        options = {"mean": statistics["image_mean"], "std": statistics["image_std"], "device": bench.device}
        timing = bench.measure(lambda: predict_stack(model, gray, rotations=ROTATIONS, **options))
    else:
        timing = block_timing(bench, volume, model, statistics, workers)
    return timing | {"megapixels_per_second": volume.size / 1e6 / timing["median_seconds"]}


def block_timing(bench, volume, model, statistics, workers) -> dict:
    """Time of all blocks of `volume` on so many workers."""
    import distributed  # noqa: F401  without the extras the row says so
    import zarr  # noqa: F401

    from unet_paper.volume import BLOCK, Job, predict_block, sha256, split
    from unet_paper.volume_io import create_output, open_volume

    with TemporaryDirectory() as folder, cluster(workers=workers) as client:
        source, out, weights = (Path(folder) / name for name in ("in.tif", "out.zarr", "net.safetensors"))
        write_stack(source, volume)
        save_weights(weights, model, statistics)
        create_output(out, open_volume(source), BLOCK, {})
        job = Job(
            source=str(source),
            input_sha256="",
            out=str(out),
            weights=str(weights),
            weights_sha256=sha256(weights),
            rotations=ROTATIONS,
            device=bench.device,
            precision=choose_precision(bench.device),
            block=BLOCK,
            full_range=255,
        )
        blocks = list(split(volume.shape, BLOCK))
        client.wait_for_workers(workers)
        return bench.measure(lambda: list(run_tasks(client, partial(predict_block, job), blocks)))


def large_measures(bench, images) -> dict:
    """Time of segmenting a large volume from file to file, and the most memory that a worker used."""
    import distributed  # noqa: F401  without the extras the row says so
    import zarr

    from unet_paper.volume import BLOCK, predict_volume

    slices = np.tile(np.rint(images[:LARGE_SLICES] * 255).astype(np.uint8), (1, LARGE_TILES, 1))
    shape = (*slices.shape[:2], LARGE_TILES * slices.shape[2])
    with TemporaryDirectory() as folder, cluster(workers=LARGE_WORKERS) as client:
        source, out, weights = (Path(folder) / name for name in ("in.zarr", "out.zarr", "net.safetensors"))
        volume = zarr.create_array(source, shape=shape, chunks=(1, BLOCK, BLOCK), dtype="uint8")
        for z, plane in enumerate(slices):
            volume[z] = np.tile(plane, (1, LARGE_TILES))
        save_weights(weights, UNet(base_channels=NARROW), gray_statistics(images))
        client.wait_for_workers(LARGE_WORKERS)
        start = bench.clock()
        predict_volume(
            source, out, weights, rotations=ROTATIONS, device=bench.device, connect=lambda: nullcontext(client)
        )
        seconds = bench.clock() - start
        peaks = client.run(peak_memory, "cpu")
    return {
        "median_seconds": seconds,
        "repeats_count": 1,
        "megapixels_per_second": volume.size / 1e6 / seconds,
        "worker_peak_bytes": max(peaks.values()),
    }
