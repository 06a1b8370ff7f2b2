"""Speed of segmentation: one 512 x 512 slice, and the stack with eight symmetries.

The slice is one 700 tile with mirrored surroundings. Queued calls on the device give throughput; the time
from array to array on the host, one call after the other, gives latency. Every fast form is compared with
float32.
"""

import statistics
import time
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import torch

from reproduce.benchmark_training import EAGER, GRAPHED, READY_SECONDS, VARIANTS
from reproduce.timing import arithmetic, count_operations, time_limit
from unet_paper import shapes
from unet_paper.graph import Graphed
from unet_paper.overlap_tile import mirrored
from unet_paper.predict import predict_stack

LATENCY_CALLS, LATENCY_SECONDS = 20, 10.0  # at most
SYMMETRIES = [(mirror, turns) for mirror in (False, True) for turns in range(4)]  # of the square


class SlicePredictor:
    """Probability of cell of whole slices, each one tile.

    Parameters
    ----------
    model : UNet
        In evaluation mode and float32; its weights are copied.
    variant : Variant
        `batch` slices a call.
    side : int
        Of a slice, in pixels.
    device : torch.device or str

    Notes
    -----
    Calling reads `source`, float32 (batch, side, side) on the device, and returns float32 of the same
    shape, which the next call overwrites if the variant is a graph.
    """

    def __init__(self, model, variant, side, device):
        depth = model.config.depth
        margin, tile = shapes.context(depth), shapes.input_size_for(side, depth)
        self.side = side
        self.index = torch.from_numpy(mirrored(np.arange(-margin, tile - margin), side)).to(device)
        self.source = torch.zeros(variant.batch, side, side, device=device)
        self.how = {
            "dtype": torch.bfloat16 if variant.precision == "bfloat16" else torch.float32,
            "memory_format": torch.channels_last if variant.channels_last else torch.contiguous_format,
        }
        copy = type(model)(**vars(model.config)).eval()
        copy.load_state_dict(model.state_dict())
        copy.to(device, **self.how)
        self.forward = torch.compile(copy, dynamic=False) if variant.compiled else copy
        self.call = Graphed(self._segment, device) if variant.graphed else self._segment

    @torch.no_grad()
    def __call__(self):
        return self.call()

    def _segment(self):
        piece = self.source[:, self.index[:, None], self.index][:, None]  # (N, 1, 700, 700)
        logits = self.forward(piece.to(**self.how))  # (N, 2, 516, 516)
        return logits.float().softmax(dim=1)[:, 1, : self.side, : self.side]

    def host(self, images):
        """From array to array, float32 (batch, side, side) in host memory."""
        self.source.copy_(torch.from_numpy(images))
        return self().cpu().numpy()

    def symmetric(self, image):
        """Mean over the eight symmetries of one slice in host memory; for a batch of eight."""
        image = torch.from_numpy(image).to(self.source.device)
        self.source.copy_(torch.stack([transform(image, *symmetry) for symmetry in SYMMETRIES]))
        maps = [restore(probability, *symmetry) for probability, symmetry in zip(self(), SYMMETRIES)]
        return torch.stack(maps).mean(dim=0).cpu().numpy()


def transform(image, mirror, turns):
    """Mirror a square slice and turn it by quarter turns.

    Examples
    --------
    >>> transform(torch.tensor([[1, 2], [3, 4]]), True, 1).tolist()
    [[1, 3], [2, 4]]
    """
    return torch.rot90(image.flip(1) if mirror else image, turns, (0, 1))


def restore(image, mirror, turns):
    """The inverse of `transform`."""
    image = torch.rot90(image, -turns, (0, 1))
    return image.flip(1) if mirror else image


def difference(probability, reference):
    """How far a fast form is from float32, as measures.

    Examples
    --------
    >>> difference(np.array([0.5, 1.0]), np.array([0.25, 1.0]))["max_difference_probability"]
    0.25
    """
    gap = np.abs(np.asarray(probability, np.float64) - reference)
    return {
        "max_difference_probability": float(gap.max()),
        "mean_difference_probability": float(gap.mean()),
        "other_class_ratio": float(np.mean((probability >= 0.5) != (reference >= 0.5))),
    }


def latency(call):
    """Median seconds of calls that end with their result on the host."""
    times = []
    while len(times) < LATENCY_CALLS and sum(times) < LATENCY_SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def benchmark_inference(bench, model, images, *, stack_slices=None):
    """Rows of one slice and of the whole stack, as they are measured.

    Parameters
    ----------
    bench : Bench
    model : UNet
        In evaluation mode; every row has a copy on the device of its own.
    images : ndarray, float32, (Z, side, side)
        Normalised gray values.
    stack_slices : int, optional
        Slices of the stack that is segmented with eight symmetries (default: all).

    Yields
    ------
    Row
    """
    side = images.shape[-1]
    with arithmetic(bench.device, tf32=False):
        plain = SlicePredictor(model, VARIANTS[0], side, bench.device)
        reference = plain.host(images[:1])
        operations = count_operations(plain)
    del plain  # or its memory would count in every row
    tile = shapes.input_size_for(side, model.config.depth)
    yield bench.row("work", f"inference, one {tile} tile", {}, lambda: {"work_gigaflop": operations / 1e9})

    def slices(variant):
        variant.check(bench)
        batch = images[np.arange(variant.batch) % len(images)]
        with time_limit(READY_SECONDS):
            predictor = SlicePredictor(model, variant, side, bench.device)
            predictor.host(batch)  # compiles, chooses algorithms
        bench.forget_peak()
        timing = bench.measure(predictor, settled=variant.compiled)
        measures = bench.beside_ceiling(timing, operations * variant.batch, variant.precision)
        measures |= per_slice(timing.median, variant.batch, side)
        measures["latency_seconds"] = latency(lambda: predictor.host(batch))
        return measures | difference(predictor.host(batch)[:1], reference)

    variants = [variant for variant in VARIANTS if variant != EAGER]  # there is no optimiser here
    best = GRAPHED if bench.on_gpu else replace(EAGER, name="+ channels last")
    for variant in (*variants, replace(best, name=f"{best.name}, eight slices", batch=8)):
        how = {"config": {**asdict(variant), "slice_side": side}, "tf32": variant.precision != "float32"}
        yield bench.row("inference", variant.name, {"batch": variant.batch}, partial(slices, variant), **how)

    stack = images[:stack_slices]
    for name, segment in (("one batch a slice", _symmetric_stack), ("predict_stack", _library_stack)):
        build = partial(segment, bench, model, replace(best, batch=len(SYMMETRIES)), stack)
        conditions = {"slices": len(stack)}
        yield bench.row("stack with eight symmetries", name, conditions, build, config={"precision": "bfloat16"})


def per_slice(seconds, slices, side):
    """Cost of one slice and of a million pixels of the result."""
    return {"seconds_per_slice": seconds / slices, "megapixel_seconds": seconds / slices / side**2 * 1e6}


def _symmetric_stack(bench, model, variant, stack):
    predictor = SlicePredictor(model, variant, stack.shape[-1], bench.device)
    if bench.on_gpu:
        for _ in range(5):  # captured at the fourth
            predictor.symmetric(stack[0])
    return _whole_stack(lambda: [predictor.symmetric(image) for image in stack], stack)


def _library_stack(bench, model, variant, stack):
    low, high = float(stack.min()), float(stack.max())
    gray = (stack - low) / (high - low)  # in [0, 1], as files are read
    how = {"mean": -low / (high - low), "std": 1 / (high - low), "rotations": "eight", "precision": "bfloat16"}
    segment = partial(predict_stack, deepcopy(model), device=bench.device, **how)
    if bench.on_gpu:
        segment(gray[:1])
    return _whole_stack(lambda: segment(gray), stack)


def _whole_stack(call, stack):
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    return {"stack_seconds": seconds, **per_slice(seconds, len(stack), stack.shape[-1])}
