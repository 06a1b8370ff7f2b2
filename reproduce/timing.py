"""How speed is measured here: repeats, medians, and what the machine can do at most.

Work on a GPU is timed by device events around each call, queued without waiting in between; on a CPU by
the clock. Warm-up calls are left out. A time is set beside the floor that the measured matrix rate puts
under the work: floating-point operations counted, two for each multiply-add.
"""

import gc
import itertools
import math
import signal
import statistics
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

MOST_REPEATS = 500


class Unavailable(Exception):
    """A variant cannot run here; the message is the reason that its row states."""


class Row(NamedTuple):
    """One line of a benchmark.

    Attributes
    ----------
    group : str
        The table it belongs to: work, ceiling, training, inference, stack, alternatives, ...
    name : str
    conditions : dict
        What tells rows of the same name apart.
    measures : dict
        Figures, each named with its unit; empty if the row was skipped.
    config : dict
        Everything else that was set.
    skipped : str or None
        Why the row has no figures.
    """

    group: str
    name: str
    conditions: dict
    measures: dict
    config: dict = {}  # noqa: RUF012
    skipped: str | None = None


class Timing(NamedTuple):
    """Seconds of one call over the repeats; the mean includes what lies between calls."""

    median: float
    fastest: float
    mean: float
    repeats: int

    def measures(self):
        """As measures of a record."""
        return {
            "median_seconds": self.median,
            "fastest_seconds": self.fastest,
            "mean_seconds": self.mean,
            "repeats_count": self.repeats,
        }


@dataclass(frozen=True)
class Bench:
    """Where and for how long to measure, and the matrix rates that were found there.

    Attributes
    ----------
    device : torch.device or str
    seconds : float
        Time for the repeats of one row.
    until : float
        No row begins after this reading of ``time.monotonic``.
    rates : dict
        Operations a second by precision, filled by `ceilings`.
    """

    device: object
    seconds: float
    until: float = math.inf
    rates: dict = field(default_factory=dict)

    @property
    def on_gpu(self):
        """Whether the device is a CUDA GPU."""
        return torch.device(self.device).type == "cuda"

    def row(self, group, name, conditions, build, *, tf32=True, config=None):
        """The row whose measures ``build()`` returns; its exception becomes the reason of a skipped row."""
        made = Row(group, name, conditions, {}, config or {})
        try:
            if time.monotonic() > self.until:
                raise Unavailable("the time for the whole benchmark was used up")
            if self.on_gpu:
                torch.cuda.reset_peak_memory_stats()
            with arithmetic(self.device, tf32=tf32):
                measures = build()
            if self.on_gpu:
                measures["peak_bytes"] = torch.cuda.max_memory_allocated()
            return made._replace(measures=measures)
        except Exception as error:
            return made._replace(skipped=reason(error))
        finally:
            torch.compiler.reset()
            gc.collect()
            if self.on_gpu:
                with suppress(RuntimeError):  # of a device that an error left unusable
                    torch.cuda.empty_cache()

    def forget_peak(self):
        """Let the row's peak memory count from here: choosing algorithms takes more than using them."""
        if self.on_gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def measure(self, call, *, settled=False):
        """Time `call`; one that is compiled or captured needs more calls before it has settled."""
        return measure(call, self.device, seconds=self.seconds, warm_up=6 if settled or self.on_gpu else 1)

    def beside_ceiling(self, timing, operations, precision):
        """Measures that set a time beside the floor of the measured matrix rate.

        Examples
        --------
        >>> bench = Bench("cpu", 1.0, rates={"bfloat16": 200.0})
        >>> row = bench.beside_ceiling(Timing(2.0, 2.0, 2.0, 1), 100, "bfloat16")
        >>> row["floor_seconds"], row["ceiling_ratio"]
        (0.5, 0.25)
        """
        row = timing.measures() | {"teraflop_per_second": operations / timing.median / 1e12}
        if self.rates.get(precision):
            floor = operations / self.rates[precision]
            row |= {"floor_seconds": floor, "ceiling_ratio": floor / timing.median}
        return row


def reason(error):
    """An exception in one line, for the row that it left empty.

    Examples
    --------
    >>> reason(Unavailable("needs a GPU")), reason(ValueError("odd\\nlong"))
    ('needs a GPU', 'ValueError: odd')
    """
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return first if isinstance(error, Unavailable) else f"{type(error).__name__}: {first}"


def measure(call, device, *, seconds, warm_up=3, least=2):
    """Time `call()` for about `seconds`.

    Parameters
    ----------
    call : callable
    device : torch.device or str
    seconds : float
        Time for the repeats; the warm-up comes on top.
    warm_up : int
        Calls before, at least one: the last one is timed to plan the repeats.
    least : int
        Fewest repeats, whatever they take.

    Returns
    -------
    Timing

    Examples
    --------
    >>> timing = measure(lambda: time.sleep(0.01), "cpu", seconds=0.05, warm_up=1)
    >>> 0.01 <= timing.fastest <= timing.median
    True
    """
    synchronize(device)
    for _ in range(max(warm_up, 1)):
        start = time.perf_counter()
        call()
        synchronize(device)
        once = time.perf_counter() - start
    repeats = min(max(int(seconds / max(once, 1e-6)), least), MOST_REPEATS)
    timer = _events if torch.device(device).type == "cuda" else _clock
    times, total = timer(call, repeats)
    return Timing(statistics.median(times), min(times), total / repeats, repeats)


def _clock(call, repeats):
    stamps = [time.perf_counter()]
    for _ in range(repeats):
        call()
        stamps.append(time.perf_counter())
    return [after - before for before, after in itertools.pairwise(stamps)], stamps[-1] - stamps[0]


def _events(call, repeats):
    stamps = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    stamps[0].record()
    for stamp in stamps[1:]:
        call()
        stamp.record()
    torch.cuda.synchronize()
    milliseconds = [before.elapsed_time(after) for before, after in itertools.pairwise(stamps)]
    return [m / 1000 for m in milliseconds], stamps[0].elapsed_time(stamps[-1]) / 1000


def synchronize(device):
    """Wait until `device` has done what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def arithmetic(device, *, tf32, search=True):
    """Whether float32 products on a GPU may be rounded to TF32, and whether cuDNN times its algorithms first."""
    if torch.device(device).type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark, torch.get_float32_matmul_precision()
    cudnn.allow_tf32, cudnn.benchmark = tf32, search
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        cudnn.allow_tf32, cudnn.benchmark = before[:2]
        torch.set_float32_matmul_precision(before[2])


@contextmanager
def time_limit(seconds):
    """Raise `Unavailable` in the body after `seconds`, where it can be interrupted; compilers may be slow."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_):
        raise Unavailable(f"not ready after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def count_operations(work):
    """Floating-point operations of the convolutions and products in ``work()``, two for each multiply-add.

    Examples
    --------
    >>> a = torch.zeros(2, 3, device="meta")
    >>> count_operations(lambda: a @ a.T)  # 2 x 2 results of 3 products each
    24
    """
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()
