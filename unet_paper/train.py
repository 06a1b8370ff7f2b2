"""Training (section 3): one visible loop of stochastic gradient descent, batch of one tile.

The random numbers of a step depend on the seed and the step alone, so on a CPU a checkpoint of weights,
momentum and step number continues to bit-identical weights. Draw and learning rate are written to fixed
places before a step and its loss is read later, so that a GPU need not wait.
"""

import gc
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from unet_paper.checkpoint import CHECKPOINT, Curve, check_shapes, load_checkpoint, save_checkpoint
from unet_paper.device import keep_freed_memory
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss
from unet_paper.graph import Graphed, make_capturable, set_learning_rate, write
from unet_paper.isbi import pixel_sha256
from unet_paper.recipe import Recipe
from unet_paper.tiff import check_gray_values

READ_EVERY = {"cpu": 1, "cuda": 50}  # steps between readings of the loss, for which the CPU must wait for the device


def gray_statistics(images: np.ndarray) -> dict[str, float]:
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


class Descent:
    """A network on its way down: one call is one step.

    Parameters
    ----------
    recipe : Recipe
    images : ndarray, float32, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, 1 = cell.
    seed : int
        0 to 2**63 - 1.
    device : torch.device or str
    graphed : bool
        On a GPU, replay the step as a CUDA graph: the same work without the time Python takes to launch it.

    Attributes
    ----------
    model : Module
        In training mode.
    optimizer : Optimizer

    Raises
    ------
    InputError
        If images and labels do not fit, the labels are not 0 and 1, or the images are constant.

    Notes
    -----
    The beginning and every step seed PyTorch's global generator. On Linux the process keeps the memory that it frees
    from then on, as `unet_paper.device.keep_freed_memory` says.
    """

    def __init__(
        self,
        recipe: Recipe,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        graphed: bool = True,
    ) -> None:
        check_data(images, labels, seed)
        keep_freed_memory(device)
        statistics = gray_statistics(images)
        torch.manual_seed(seed)
        self.recipe, self.seed, self.kind = recipe, seed, torch.device(device).type
        self.model = recipe.network().to(device, memory_format=torch.channels_last).train()
        self.optimizer = recipe.optimizer(self.model.parameters())
        graphed = graphed and self.kind == "cuda"
        if graphed:
            make_capturable(self.optimizer, device)
        self.sampler = recipe.sampler((images - statistics["image_mean"]) / statistics["image_std"], labels, device)
        self.drawn = torch.as_tensor(self.sampler.draw(np.random.default_rng(seed), recipe.batch), device=device)
        self.descend = Graphed(self._descend, device) if graphed else self._descend
        if self.kind == "cuda":
            self._rehearse()

    def __call__(self, step: int, place: float | None = None) -> torch.Tensor:
        """Take step number `step`, at `place` in the schedule (default: `step`); returns its loss, on the device."""
        generator = np.random.default_rng([self.seed, step])
        torch.manual_seed(int(generator.integers(2**63)))  # dropout
        set_learning_rate(self.optimizer, self.learning_rate(step if place is None else place))
        write(self.drawn, self.sampler.draw(generator, self.recipe.batch))
        return self.descend().clone()

    def learning_rate(self, place: float) -> float:
        """The learning rate at `place` in the schedule."""
        return self.recipe.schedule(place, self.recipe.steps)

    def loss(self, model: torch.nn.Module | None = None) -> torch.Tensor:
        """Loss of the tiles that were drawn last, in the recipe's precision."""
        tile = self.sampler(self.drawn)
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            output = (model or self.model)(tile.image.contiguous(memory_format=torch.channels_last))
        return self.recipe.loss(output, tile.labels, tile.weights)

    def _descend(self):
        loss = self.loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def _rehearse(self):
        """One step of a copy, so that the choice of algorithms counts neither as time nor as peak memory."""
        gc.collect()  # an earlier training and its graph refer to each other, and would count as this one's memory
        self.loss(deepcopy(self.model)).backward()
        torch.cuda.synchronize(self.drawn.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.drawn.device)


def check_data(images: np.ndarray, labels: np.ndarray, seed: int) -> None:
    """Raise `InputError` unless `images` are gray values, `labels` fit them and `seed` is one."""
    if np.ndim(images) != 3 or np.shape(images) != np.shape(labels):
        raise InputError(
            f"images are {np.shape(images)} and labels {np.shape(labels)}; both must be (Z, H, W) of the same shape"
        )
    check_gray_values(np.asarray(images), "the training images")
    if not np.isin(labels, (0, 1)).all():
        raise InputError("the training labels hold other numbers than 0 (membrane) and 1 (cell)")
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed is {seed}; it must be 0 to 2**63 - 1")


def train(
    recipe: Recipe,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    folder: str | Path | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 120.0,
    report: Callable | None = None,
    weights: dict | None = None,
) -> tuple[torch.nn.Module, Curve]:
    """Train a network from its initialisation.

    Parameters
    ----------
    recipe : Recipe
    images : ndarray, float32, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, 1 = cell.
    seed : int
        0 to 2**63 - 1.
    device : torch.device or str
    folder : path, optional
        Where the checkpoint is kept: on a schedule, on SIGINT and SIGTERM, and at the end.
    resume : bool
        Continue from the checkpoint in `folder` if there is one.
    checkpoint_seconds : float
        Time between checkpoints, in seconds; 0 writes one after every step whose loss is read.
    report : callable, optional
        Called as ``report(step, loss)`` after steps whose loss was read; if it raises `Interrupted`, training stops
        as by a signal.
    weights : dict of Tensor, optional
        Where to begin instead of the initialisation, by the names of the network's state.

    Returns
    -------
    model : Module
        In evaluation mode.
    curve : Curve

    Raises
    ------
    InputError
        If the data are not as said, `weights` do not fit, or the checkpoint belongs to other settings.
    NonFiniteLoss
        If the loss became infinite or NaN.
    Interrupted
        If SIGINT or SIGTERM arrived, or `report` raised it; the checkpoint in `folder` holds the finished steps.

    Notes
    -----
    Every step seeds PyTorch's global generator. On Linux the process keeps the memory that it frees from then on, as
    `unet_paper.device.keep_freed_memory` says.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), section 3, doi:10.1007/978-3-319-24574-4_28.
    """
    descent = Descent(recipe, images, labels, seed=seed, device=device)
    model, optimizer = descent.model, descent.optimizer
    begun = None
    if weights is not None:
        check_shapes("weights", weights, model.state_dict())
        model.load_state_dict(weights)
        begun = pixel_sha256(*(value.detach().float().cpu().numpy() for value in weights.values()))
    configuration = {"seed": seed, "data": pixel_sha256(images, labels), "weights": begun, **recipe.configuration}
    configuration = json.loads(json.dumps(configuration))
    checkpoint = Path(folder) / CHECKPOINT if folder is not None else None
    curve = Curve([], [], [])
    if resume and checkpoint is not None and checkpoint.exists():
        curve = load_checkpoint(checkpoint, model, optimizer, configuration)
    before = curve.seconds[-1] if curve.seconds else 0.0
    start = saved = time.perf_counter()
    unread = []  # losses since the last reading

    def schedule(step):
        """Where in the schedule `step` is; training ends at ``recipe.steps``."""
        if recipe.seconds is None:
            return step
        return recipe.steps * (before + time.perf_counter() - start) / recipe.seconds

    step, stopping = len(curve.loss), False
    place = schedule(step)
    with stop_signals() as stop:
        while place < recipe.steps:
            unread.append(descent(step, place))
            curve.learning_rate.append(descent.learning_rate(place))
            step += 1
            place = schedule(step)
            stopping, ended = stop.is_set(), place >= recipe.steps  # a later signal is served after the next step
            if len(unread) < READ_EVERY.get(descent.kind, 1) and not (stopping or ended):
                continue
            values = torch.stack(unread).tolist()
            unread.clear()
            if not all(map(math.isfinite, values)):
                first = len(curve.loss) + [math.isfinite(v) for v in values].index(False)
                raise NonFiniteLoss(f"the loss is not finite at step {first} of the run with seed {seed}")
            curve.loss.extend(values)
            curve.seconds.extend([before + time.perf_counter() - start] * len(values))
            if report is not None:
                try:
                    report(step, values[-1])
                except Interrupted:
                    stopping = True
            if checkpoint is not None and (stopping or ended or time.perf_counter() - saved >= checkpoint_seconds):
                save_checkpoint(checkpoint, model, optimizer, configuration, curve)
                saved = time.perf_counter()
            if stopping:
                break
    if stopping or stop.is_set():
        goal = f"{recipe.steps}" if recipe.seconds is None else f"{recipe.seconds:g} seconds of training"
        raise Interrupted(f"stopped after step {step} of {goal}")
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise NonFiniteLoss(f"the weights are not finite after step {step} of the run with seed {seed}")
    return model.eval(), curve


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
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
