"""Training (section 3): one visible loop of stochastic gradient descent, batch of one tile.

The random numbers of a step depend on the seed and the step alone, so on a CPU a checkpoint of weights,
momentum and step number continues to bit-identical weights. Draw and learning rate are written to fixed
places before a step and its loss is read later, so that a GPU need not wait. What is trained, with which
loss and optimiser, is said by a `Recipe`: `paper_recipe` is the paper's.
"""

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from unet_paper import shapes
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss
from unet_paper.files import atomic_write, make_folder
from unet_paper.graph import Graphed, make_capturable, set_learning_rate, write
from unet_paper.loss import weighted_cross_entropy
from unet_paper.model import UNet
from unet_paper.optimizer import MomentumSGD
from unet_paper.sampler import TileSampler
from unet_paper.weight_map import balanced_class_weights, cells_from_membranes, unet_weight_map

CHECKPOINT = "checkpoint.safetensors"


class Curve(NamedTuple):
    """The course of a training: loss and learning rate of every step, and the seconds up to it."""

    loss: list[float]
    learning_rate: list[float]
    seconds: list[float]


def warmup_cosine(step, steps, *, peak, warmup):
    """Learning rate of `step`: a linear rise over `warmup` steps, then half a cosine to zero (S13).

    Examples
    --------
    >>> [round(warmup_cosine(s, 102, peak=1.0, warmup=2), 2) for s in (0, 1, 2, 52, 101)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


@dataclass(frozen=True)
class Recipe:
    """What is trained and how; `paper_recipe` is the paper's, other systems are other values.

    Attributes
    ----------
    build : callable
        Returns a freshly initialised Module.
    loss : callable
        ``loss(output, labels, weights)``, a scalar; output as the network returns it.
    optimizer : callable
        Maps parameters to an Optimizer.
    learning_rate : callable
        Maps the step (from 0) to its learning rate; a fraction of a step under a time budget.
    sampler : callable
        ``sampler(images, labels, device)`` of normalised images, with the methods of `TileSampler`.
    steps, batch : int
        Number of steps, tiles a step.
    precision : {"bfloat16", "float32"}
        Of the network's autocast; weights, loss and updates are float32.
    identity : dict
        JSON-able description of all this: a checkpoint continues only under an equal one.
    seconds : float or None
        Time budget. If given, training ends when it is used up, however many steps that were, and
        the learning rate follows the fraction of the budget used as it would that of `steps`. Such a
        training depends on the machine's speed and does not repeat bit by bit.
    """

    build: Callable
    loss: Callable
    optimizer: Callable
    learning_rate: Callable
    sampler: Callable
    steps: int
    batch: int
    precision: str
    identity: dict
    seconds: float | None = None


def paper_recipe(config):
    """The recipe of section 3 for the values of an `ExperimentConfig`.

    Examples
    --------
    >>> from unet_paper.config import ExperimentConfig
    >>> recipe = paper_recipe(ExperimentConfig())
    >>> recipe.batch, recipe.optimizer([torch.zeros(1, requires_grad=True)]).defaults["momentum"]
    (1, 0.99)
    """
    how = config.training
    if how.precision not in ("bfloat16", "float32"):
        raise InputError(f"precision {how.precision!r} is not one of bfloat16, float32")
    if not 0 <= how.warmup_steps < max(how.steps, 1):
        raise InputError(f"warm-up of {how.warmup_steps} steps is illegal; legal: 0 to {max(how.steps, 1) - 1}")
    optimizers = {
        "caffe-sgd": partial(MomentumSGD, lr=how.learning_rate, momentum=how.momentum, weight_decay=how.weight_decay),
        "adam": partial(torch.optim.Adam, lr=how.learning_rate, weight_decay=how.weight_decay),
    }
    if how.optimizer not in optimizers:
        raise InputError(f"optimizer {how.optimizer!r} is not one of {', '.join(optimizers)}")
    return Recipe(
        build=partial(UNet, **asdict(config.network)),
        loss=weighted_cross_entropy,
        optimizer=optimizers[how.optimizer],
        learning_rate=partial(warmup_cosine, steps=how.steps, peak=how.learning_rate, warmup=how.warmup_steps),
        sampler=partial(paper_sampler, config),
        steps=how.steps,
        batch=1,
        precision=how.precision,
        identity=asdict(config),
    )


def paper_sampler(config, images, labels, device="cpu"):
    """Tiles of normalised `images` (Z, H, W) with the weight map of each slice (Equation 2)."""
    size = config.training.input_size
    return TileSampler(
        images,
        labels,
        weight_maps(config, labels),
        input_size=size,
        output_size=shapes.output_size(size, config.network.depth),
        augmentation=config.augmentation,
        device=device,
    )


def weight_maps(config, labels):
    """Equation 2 for every slice of `labels`, float32 (Z, H, W), with one pair of class weights for all (S2)."""
    options = asdict(config.weight_map)
    if options["class_weights"] == "balanced":
        options["class_weights"] = balanced_class_weights(labels)
    return np.stack([unet_weight_map(cells_from_membranes(plane), **options) for plane in labels])


def data_sha256(*arrays):
    """SHA-256 of the contents of `arrays`, by which a checkpoint knows its training data."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def gray_statistics(images):
    """Mean and standard deviation of the training images, by which a network's input is normalised (S17).

    Examples
    --------
    >>> gray_statistics(np.array([[[0.25, 0.75]]]))
    {'image_mean': 0.5, 'image_std': 0.25}
    """
    mean, std = float(np.mean(images, dtype=np.float64)), float(np.std(images, dtype=np.float64))
    if not std > 0:
        raise InputError("all pixels of the training images are equal; images with structure are needed")
    return {"image_mean": mean, "image_std": std}


def train(
    recipe,
    images,
    labels,
    *,
    seed,
    device="cpu",
    folder=None,
    resume=False,
    checkpoint_seconds=120.0,
    report=None,
    graphed=False,
):
    """Train a network from its initialisation.

    Parameters
    ----------
    recipe : Recipe
    images : ndarray, float32, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, 1 = cell.
    seed : int
        Determines initial weights, tiles and dropout.
    device : torch.device or str
    folder : path, optional
        Where the checkpoint is kept: on a schedule, on SIGINT and SIGTERM, and at the end.
    resume : bool
        Continue from the checkpoint in `folder` if there is one.
    checkpoint_seconds : float
        Time between checkpoints, in seconds; 0 writes one every step.
    report : callable, optional
        Called as ``report(step, loss)`` after steps whose loss was read.
    graphed : bool
        On a GPU, replay the step as a CUDA graph: the same work without the time Python takes to launch it.

    Returns
    -------
    model : Module
    curve : Curve

    Raises
    ------
    InputError
        If the checkpoint belongs to other settings, or the images are constant.
    NonFiniteLoss
        If the loss became infinite or NaN.
    Interrupted
        If SIGINT or SIGTERM arrived; the checkpoint holds the finished steps.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), section 3, doi:10.1007/978-3-319-24574-4_28.
    """
    statistics = gray_statistics(images)
    identity = json.loads(json.dumps({"seed": seed, "data": data_sha256(images, labels), **recipe.identity}))
    torch.manual_seed(seed)
    model = recipe.build().to(device, memory_format=torch.channels_last).train()
    optimizer = recipe.optimizer(model.parameters())
    kind = torch.device(device).type
    if graphed:
        make_capturable(optimizer, device)
    sampler = recipe.sampler((images - statistics["image_mean"]) / statistics["image_std"], labels, device)
    checkpoint = Path(folder) / CHECKPOINT if folder is not None else None
    curve = Curve([], [], [])
    if resume and checkpoint is not None and checkpoint.exists():
        curve = load_checkpoint(checkpoint, model, optimizer, identity)
    drawn = torch.as_tensor(sampler.draw(np.random.default_rng(seed), recipe.batch), device=device)  # overwritten

    def descend():
        loss = loss_of(model, sampler(drawn), recipe, kind)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    if kind == "cuda":
        rehearse(model, sampler(drawn), recipe, kind)
    take_step = Graphed(descend, device) if graphed else descend
    before = curve.seconds[-1] if curve.seconds else 0.0
    start = saved = time.perf_counter()
    unread = []  # losses since the last reading, for which the CPU must wait for the device
    read_every = 1 if kind == "cpu" else 50

    def schedule(step):
        """Where in the schedule `step` is; training ends at ``recipe.steps``."""
        if recipe.seconds is None:
            return step
        return recipe.steps * (before + time.perf_counter() - start) / recipe.seconds

    step = len(curve.loss)
    place = schedule(step)
    with stop_signals() as stop:
        while place < recipe.steps:
            rate = recipe.learning_rate(place)
            generator = np.random.default_rng([seed, step])
            torch.manual_seed(int(generator.integers(2**63)))  # dropout
            set_learning_rate(optimizer, rate)
            write(drawn, sampler.draw(generator, recipe.batch))
            unread.append(take_step().clone())
            curve.learning_rate.append(rate)
            step += 1
            place = schedule(step)
            stopping, ended = stop.is_set(), place >= recipe.steps  # a later signal is served after the next step
            if len(unread) < read_every and not (stopping or ended):
                continue
            values = torch.stack(unread).tolist()
            unread.clear()
            if not all(map(math.isfinite, values)):
                first = len(curve.loss) + [math.isfinite(v) for v in values].index(False)
                raise NonFiniteLoss(f"the loss is not finite at step {first} of the run with seed {seed}")
            curve.loss.extend(values)
            curve.seconds.extend([before + time.perf_counter() - start] * len(values))
            if report is not None:
                report(step, values[-1])
            if checkpoint is not None and (stopping or ended or time.perf_counter() - saved >= checkpoint_seconds):
                save_checkpoint(checkpoint, model, optimizer, identity, curve)
                saved = time.perf_counter()
            if stopping and not ended:
                goal = f"{recipe.steps}" if recipe.seconds is None else f"{recipe.seconds:g} seconds of training"
                raise Interrupted(f"stopped after step {step} of {goal}")
    return model, curve


def loss_of(model, tile, recipe, kind):
    """Loss of a `Tile` on a device of `kind`, in the recipe's precision."""
    with torch.autocast(kind, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        output = model(tile.image.contiguous(memory_format=torch.channels_last))
    return recipe.loss(output, tile.labels, tile.weights)


def rehearse(model, tile, recipe, kind):
    """One step of a copy of `model`, so that the choice of algorithms counts neither as time nor as peak memory."""
    loss_of(deepcopy(model), tile, recipe, kind).backward()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def save_checkpoint(path, model, optimizer, identity, curve):
    """Write weights, optimiser state and the course so far to one safetensors file, atomically."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    state = {"identity": identity, "curve": curve._asdict()}
    make_folder(path.parent)
    for left in path.parent.glob(f".{path.stem}-*{path.suffix}"):
        left.unlink()  # of a run that was killed while it wrote
    with atomic_write(path, failures=(OSError, SafetensorError)) as temporary:
        copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
        save_file(copies, temporary, {"state": json.dumps(state)})  # a tensor of two names has a copy for each


def load_checkpoint(path, model, optimizer, identity):
    """Restore `model` and `optimizer` in place; returns the Curve so far.

    Raises `InputError` when the file is no checkpoint or belongs to other settings than `identity`.
    """
    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            trained = state["identity"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a checkpoint of this program: {error}") from error
    for key in sorted(identity.keys() | trained.keys()):
        then, now = trained.get(key), identity.get(key)
        if then != now:
            raise InputError(
                f"{path} was trained with {key} {then}, not {now}; use another folder or the same settings"
            )
    model.load_state_dict({n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")})
    restored = optimizer.state_dict()
    restored["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            restored["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(restored)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter).copy_(value)  # in the layout of the weights
    return Curve(**state["curve"])


@contextmanager
def stop_signals():
    """Collect SIGINT and SIGTERM into an event, so that the running step can finish."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
