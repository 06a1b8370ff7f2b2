"""Speed of a training step: the library's own, a tile drawn, made and learned from, in every form.

Other networks learn by the same recipe. The share of sampling is the time of drawing and making a tile alone.
"""

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch

from reproduce import records
from reproduce.benchmark.networks import NETWORKS
from reproduce.benchmark.timing import FORMS, Bench, Unavailable, count_operations
from reproduce.records import Record
from unet_paper.config import ExperimentConfig
from unet_paper.graph import Graphed, write
from unet_paper.train import Descent


def benchmark_training(bench: Bench, config: ExperimentConfig, images, labels) -> Iterator[Record]:
    """Rows of the step of each network in each form, as they are measured; images and labels as for `Descent`."""
    for network, form in itertools.product(NETWORKS, FORMS):
        recipe = network.recipe(config, form.precision)
        build = partial(step_measures, bench, form, recipe, images, labels)
        conditions = {"form": form.name}
        options = {"form": form, "config": recipe.configuration, "search": form.precision == "bfloat16"}
        yield bench.row("training step", network.name, conditions, build, **options)


def step_measures(bench, form, recipe, images, labels) -> dict:
    """Time, peak memory and rate of a step, and the share of sampling."""
    descent = Descent(recipe, images, labels, seed=0, device=bench.device, graphed=form.graphed)
    steps, generator = itertools.count(), np.random.default_rng(0)
    step = bench.measure(lambda: descent(next(steps)), queue=True)
    peak = records.peak_memory(bench.device)
    if form.graphed and descent.descend.graph is None:
        raise Unavailable("no CUDA graph could be captured")
    make = partial(descent.sampler, descent.drawn)
    make = Graphed(make, bench.device) if form.graphed else make

    def draw_and_make():
        write(descent.drawn, descent.sampler.draw(generator, recipe.batch))
        return make()

    tile = draw_and_make()
    sampling = bench.measure(draw_and_make, queue=True)["median_seconds"]
    return {
        **bench.beside_ceiling(step, step_operations(recipe.network, tile.image.shape), form),
        "megapixel_seconds": step["median_seconds"] / tile.labels.numel() * 1e6,
        "sampling_seconds": sampling,
        "sampling_ratio": sampling / step["median_seconds"],
        "peak_bytes": peak,
        "parameters_count": sum(p.numel() for p in descent.model.parameters()),
    }


def step_operations(network, shape) -> int:
    """Operations of forward and backward of a batch of images of `shape`; nothing is computed.

    Examples
    --------
    >>> round(step_operations(NETWORKS[0].recipe(ExperimentConfig(), "float32").network, (1, 1, 572, 572)) / 1e9, 2)
    902.2
    """
    model, image = network().to("meta"), torch.empty(shape, device="meta")
    return count_operations(lambda: model(image).sum().backward())
