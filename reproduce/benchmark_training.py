"""Speed of a training step of the paper: one 572 tile drawn, rendered and learned from.

The rows add one thing at a time, from float32 as the network is written down to a compiled step that is
replayed as a CUDA graph, so that each shows what it brings. Larger batches show how much of the device
one tile leaves idle; they are no part of the paper's recipe.
"""

import itertools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from reproduce.timing import Row, Unavailable, count_operations, time_limit
from unet_paper.graph import Graphed, make_capturable, set_learning_rate, write
from unet_paper.train import paper_recipe

READY_SECONDS = 150.0  # a variant that is not compiled by then is skipped
BATCHES = (2, 4, 8)


@dataclass(frozen=True)
class Variant:
    """One way to execute the same arithmetic.

    Attributes
    ----------
    name : str
    precision : {"float32", "tf32", "bfloat16"}
    channels_last, fused, compiled, graphed : bool
        Memory layout, optimiser in one kernel, torch.compile, CUDA graph.
    batch : int
        Tiles a step, or slices a call.
    """

    name: str
    precision: str = "bfloat16"
    channels_last: bool = True
    fused: bool = True
    compiled: bool = False
    graphed: bool = False
    batch: int = 1

    def check(self, bench):
        """Raise `Unavailable` where the device cannot do this."""
        if self.precision == "tf32" and not bench.on_gpu:
            raise Unavailable("a format of GPUs")
        if self.graphed and not bench.on_gpu:
            raise Unavailable("needs a GPU")


EAGER = Variant("+ fused optimiser")
GRAPHED = replace(EAGER, name="+ CUDA graph", graphed=True)
VARIANTS = (
    Variant("float32", "float32", channels_last=False, fused=False),
    Variant("TF32", "tf32", channels_last=False, fused=False),
    Variant("bfloat16", channels_last=False, fused=False),
    Variant("+ channels last", fused=False),
    EAGER,
    replace(EAGER, name="+ compiled, no graph", compiled=True),
    GRAPHED,  # graphs last: a capture that fails can spoil those after it
    replace(GRAPHED, name="+ CUDA graph, compiled", compiled=True),
)


class Prepared(NamedTuple):
    """What `prepare` returns: callables for a whole step and for two parts of it."""

    step: Callable
    network: Callable
    sampling: Callable


def prepare(variant, config, images, labels, device):
    """Build network, optimiser and sampler; returns callables without arguments.

    Parameters
    ----------
    variant : Variant
    config : ExperimentConfig
    images : ndarray, float32, (Z, H, W)
        Normalised gray values.
    labels : ndarray, integer, (Z, H, W)
    device : torch.device or str

    Returns
    -------
    Prepared
        `step` does what a step of `unet_paper.train` does; `network` is forward and backward of one
        batch, `sampling` the making of one.
    """
    recipe = paper_recipe(config)
    torch.manual_seed(0)
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    model = recipe.build().to(device, memory_format=layout).train()
    forward = torch.compile(model, dynamic=False) if variant.compiled else model
    optimizer = recipe.optimizer(model.parameters())
    if variant.fused:
        make_capturable(optimizer, device)
    sampler = recipe.sampler(images, labels, device)
    generator = np.random.default_rng(0)
    drawn = torch.as_tensor(sampler.draw(generator, variant.batch), device=device)
    tile = sampler(drawn)

    def learn(tile):
        image = tile.image.contiguous(memory_format=layout)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=variant.precision == "bfloat16"):
            output = forward(image)
        loss = recipe.loss(output, tile.labels, tile.weights)
        loss.backward()
        return loss

    def learn_and_update():
        loss = learn(sampler(drawn))
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    def network():
        learn(tile)
        optimizer.zero_grad()

    def sampling():
        return sampler(drawn)

    functions = (learn_and_update, network, sampling)
    update, network, sampling = (Graphed(f, device) if variant.graphed else f for f in functions)
    numbers = itertools.count()

    def step():
        number = next(numbers)
        torch.manual_seed(number)  # dropout
        set_learning_rate(optimizer, recipe.learning_rate(number))
        write(drawn, sampler.draw(generator, variant.batch))
        return update().clone()

    return Prepared(step, network, sampling)


def training_operations(config):
    """Floating-point operations of forward, and of forward with backward, of one tile; nothing is computed.

    Examples
    --------
    >>> from unet_paper.config import ExperimentConfig
    >>> [round(operations / 1e9, 2) for operations in training_operations(ExperimentConfig())]
    [300.86, 902.2]
    """
    side = config.training.input_size
    with torch.device("meta"):
        model, image = paper_recipe(config).build(), torch.empty(1, config.network.in_channels, side, side)
    return count_operations(lambda: model(image)), count_operations(lambda: model(image).sum().backward())


def benchmark_training(bench, config, images, labels):
    """Rows of the training step, as they are measured.

    Parameters
    ----------
    bench : Bench
    config : ExperimentConfig
    images, labels : ndarray, (Z, H, W)
        Normalised gray values and classes.

    Yields
    ------
    Row
    """
    forward, operations = training_operations(config)
    side = config.training.input_size
    for name, work in (("forward", forward), ("training step", operations)):
        yield Row("work", f"{name}, one {side} tile", {}, {"work_gigaflop": work / 1e9})

    def whole(variant, prepared):
        timing = bench.measure(prepared.step, settled=variant.compiled)
        measures = bench.beside_ceiling(timing, operations * variant.batch, variant.precision)
        return measures | {"tiles_per_second": variant.batch / timing.median}

    def parts(variant, prepared):
        network, sampling = bench.measure(prepared.network), bench.measure(prepared.sampling)
        measures = bench.beside_ceiling(network, operations, variant.precision)
        share = {"sampling_seconds": sampling.median, "sampling_ratio": sampling.median / network.median}
        return measures | share

    def build(variant, measures):
        variant.check(bench)
        with time_limit(READY_SECONDS):
            prepared = prepare(variant, config, images, labels, bench.device)
            prepared.step()  # compiles, chooses algorithms
        bench.forget_peak()
        return measures(variant, prepared)

    best = GRAPHED if bench.on_gpu else EAGER
    larger = [replace(best, name=f"{best.name}, larger batch", batch=batch) for batch in BATCHES]
    for variant in (*VARIANTS, *larger):
        how = {"config": {**asdict(variant), "input_side": side}, "tf32": variant.precision != "float32"}
        yield bench.row("training", variant.name, {"batch": variant.batch}, partial(build, variant, whole), **how)
        if variant == best:
            name = f"{variant.name}: forward and backward alone"
            yield bench.row("training", name, {"batch": 1}, partial(build, variant, parts), **how)
