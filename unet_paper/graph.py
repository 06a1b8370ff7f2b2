"""Steps as CUDA graphs: all kernels of one training step or one prediction, launched together.

A fast GPU finishes the small kernels of this network sooner than Python launches them. A graph is
captured once and replayed without Python; what changes from step to step lies at fixed places on the
device and is written there before each replay, without waiting. On the CPU the same functions are
called plainly. Nothing here knows the network.
"""

import warnings
from collections.abc import Callable

import numpy as np
import torch

WARM_UP = 3  # plain calls before the capture: libraries choose algorithms, the optimiser makes its state


class Graphed:
    """Calls a function of no arguments: plainly at first and on the CPU, then as a CUDA graph.

    Parameters
    ----------
    function : callable
        Works on tensors at fixed places, never waits for the device, does the same work at every call,
        and returns None, a tensor or a tuple of tensors.
    device : torch.device or str

    Notes
    -----
    The plain calls before the capture count as calls: nothing is computed twice.
    A device that cannot capture the function calls it plainly from then on, with a warning. The next call
    overwrites the returned tensors. Dropout draws from the default generator, whose seed
    and offset a replay reads anew: after ``torch.manual_seed`` it draws what a plain call would draw.

    Examples
    --------
    >>> total = torch.zeros(())
    >>> add_one = Graphed(lambda: total.add_(1), "cpu")
    >>> [float(add_one()) for _ in range(3)]
    [1.0, 2.0, 3.0]
    """

    def __init__(self, function: Callable, device: torch.device | str) -> None:
        self.function, self.plain_calls = function, WARM_UP
        self.stream = torch.cuda.Stream(device) if torch.device(device).type == "cuda" else None
        self.graph = self.result = None

    def __call__(self) -> torch.Tensor | tuple[torch.Tensor, ...] | None:
        if self.stream is None:
            return self.function()
        if self.plain_calls > 0:
            self.plain_calls -= 1
            return self._beside()
        if self.graph is None:
            try:
                self.graph = self._capture()
            except RuntimeError as error:
                warnings.warn(f"no CUDA graph could be captured: {error}", stacklevel=2)
                self.stream = None
                return self.function()
        self.graph.replay()
        return self.result

    def _capture(self):
        """Record the function's kernels; nothing is computed."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        failure = None
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                try:
                    self.result = self.function()
                except BaseException as error:
                    failure = error
                    raise
        except BaseException as error:
            torch.cuda.set_stream(current)  # a capture that fails leaves its own stream in use
            raise failure or error from None  # the first: ending a capture that failed fails too
        return graph

    def _beside(self):
        """Call the function on the stream of the later capture, in the order of the current one."""
        current = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = self.function()
        current.wait_stream(self.stream)
        return result


def write(place: torch.Tensor, array: np.ndarray) -> None:
    """Copy a NumPy array to the tensor `place` on any device, without waiting for it.

    Examples
    --------
    >>> place = torch.zeros(2)
    >>> write(place, np.array([1.0, 2.0]))
    >>> place.tolist()
    [1.0, 2.0]
    """
    source = torch.from_numpy(array)
    place.copy_(source.pin_memory() if place.is_cuda else source, non_blocking=True)


def make_capturable(optimizer: torch.optim.Optimizer, device: torch.device | str) -> None:
    """Let `optimizer` run in a graph: with a learning rate on the device, and fused where it has such a form."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=device)
        if "fused" in group:
            group.update(fused=True, foreach=False)
        if "capturable" in group:
            group["capturable"] = True


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, a number; where the optimiser holds a tensor, that tensor is overwritten."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
