"""How speed is measured: in which forms, with how many repeats, and beside what the machine can do at most.

Times are medians of repeats after a warm-up. On a GPU, calls that do not wait for it are queued, as training
queues its steps. A time is set beside the floor that the measured rate of matrix products puts under its work:
floating-point operations counted, two for each multiply-add. On a CPU a convolution can exceed that rate.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch.utils.flop_counter import FlopCounterMode

from reproduce import records
from reproduce.records import Record
from unet_paper.device import choose_precision

LEAST, MOST = 2, 500  # repeats that are to fill a time
QUEUED = 10  # calls between two readings of the clock on a GPU
PRODUCT_SIDE = {"cuda": 8192, "cpu": 2048}  # of the square matrices whose product gives the rate


class Unavailable(RuntimeError):
    """A form cannot run here; the message is the reason that its row states."""


@dataclass(frozen=True)
class Form:
    """One way to compute.

    Attributes
    ----------
    name : str
    precision : {"float32", "bfloat16"}
        Of the network's autocast.
    tf32 : bool
        Whether float32 products are rounded to 10 bits of mantissa.
    graphed : bool
        Whether a training step is replayed as a CUDA graph.
    """

    name: str
    precision: str = "float32"
    tf32: bool = False
    graphed: bool = False

    def check(self, device: str) -> None:
        """Raise `Unavailable` unless `device` can compute in this form as fast as it is meant to."""
        if (self.tf32 or self.graphed) and not on_gpu(device):
            raise Unavailable("needs a GPU")
        if self.precision != "float32" and choose_precision(device) == "float32":
            raise Unavailable("no bfloat16 arithmetic in this device")


FORMS = (
    Form("float32"),
    Form("TF32", tf32=True),
    Form("bfloat16", "bfloat16"),
    Form("bfloat16, CUDA graph", "bfloat16", graphed=True),
)


@dataclass(frozen=True)
class Bench:
    """Where and for how long to measure.

    Attributes
    ----------
    device : str
    seconds : float
        Time for the repeats of one row.
    origin : dict
        Data and commit, for `reproduce.records.provenance`.
    clock : callable
        ``clock()``, seconds.
    rates : dict
        Operations a second by precision and TF32, filled by `ceilings`.
    """

    device: str
    seconds: float
    origin: dict = field(default_factory=lambda: {"data": {}})
    clock: Callable[[], float] = time.perf_counter
    rates: dict = field(default_factory=dict)

    def row(
        self, group, name, conditions, build: Callable[[], dict], *, form=FORMS[0], config=None, search=False
    ) -> Record:
        """The record with the measures that ``build()`` returns, or why it could not, as the condition "skipped"."""
        start, measures, skipped = time.perf_counter(), {}, {}
        records.reset_peak_memory(self.device)
        try:
            form.check(self.device)
            with arithmetic(tf32=form.tf32, search=search):
                measures = build()
        except (ImportError, RuntimeError) as error:  # a library, memory or an operation is missing
            skipped = {"skipped": str(error).strip().partition("\n")[0][:200]}
        gc.collect()
        if on_gpu(self.device):
            torch.cuda.empty_cache()
        provenance = records.provenance(
            config=config,
            seed=0,
            device=self.device,
            wall_seconds=time.perf_counter() - start,
            peak_bytes=measures.get("peak_bytes"),
            **self.origin,
        )
        conditions = {"group": group, **conditions, **skipped}
        return Record("benchmark", name, conditions=conditions, measures=measures, provenance=provenance)

    def measure(self, call: Callable, *, repeats: int | None = None, queue: bool = False) -> dict:
        """Time `call`, warmed up: `repeats` times, or as often as fills the time of a row.

        Examples
        --------
        >>> clock = iter([0.0, 9.0, 10.0, 12.0, 20.0, 21.0]).__next__  # the warm-up takes 9 seconds
        >>> Bench("cpu", 1.0, clock=clock).measure(lambda: None, repeats=2)
        {'median_seconds': 1.5, 'fastest_seconds': 1.0, 'repeats_count': 2}
        """
        count = QUEUED if queue and on_gpu(self.device) else 1
        for _ in range(2 if on_gpu(self.device) else 1):  # the first chooses algorithms and captures graphs
            once = self._round(call, count)
        if repeats is None:
            repeats = min(max(int(self.seconds / max(once, 1e-6)), LEAST), MOST)
        times = [self._round(call, count) / count for _ in range(repeats)]
        return {
            "median_seconds": statistics.median(times),
            "fastest_seconds": min(times),
            "repeats_count": repeats * count,
        }

    def _round(self, call, count):
        start = self.clock()
        for _ in range(count):
            call()
        if on_gpu(self.device):
            torch.cuda.synchronize()
        return self.clock() - start

    def beside_ceiling(self, timing: dict, operations: int, form: Form) -> dict:
        """A timing and its rate, beside the floor of the measured matrix rate.

        Examples
        --------
        >>> bench = Bench("cpu", 1.0, rates={("float32", False): 200.0})
        >>> row = bench.beside_ceiling({"median_seconds": 2.0}, 100, FORMS[0])
        >>> row["floor_seconds"], row["ceiling_ratio"]
        (0.5, 0.25)
        """
        rate, ceiling = operations / timing["median_seconds"], self.rates.get((form.precision, form.tf32))
        row = timing | {"work_gigaflop": operations / 1e9, "teraflop_per_second": rate / 1e12}
        if ceiling is not None:
            row |= {"floor_seconds": operations / ceiling, "ceiling_ratio": rate / ceiling}
        return row


def ceilings(bench: Bench) -> Iterator[Record]:
    """Rows of the best matrix rate in each form, on random numbers; fills ``bench.rates``."""
    side = PRODUCT_SIDE[torch.device(bench.device).type]

    def product(form):
        a, b = torch.randn(2, side, side, device=bench.device, dtype=getattr(torch, form.precision))
        timing = bench.measure(lambda: a @ b, queue=True)
        rate = bench.rates[form.precision, form.tf32] = 2 * side**3 / timing["fastest_seconds"]
        return timing | {"teraflop_per_second": rate / 1e12}

    for form in FORMS:
        if not form.graphed:
            name = f"product of {side} x {side} matrices"
            yield bench.row("ceilings", name, {"form": form.name}, lambda form=form: product(form), form=form)


def on_gpu(device: str) -> bool:
    """Whether `device` is a CUDA GPU."""
    return torch.device(device).type == "cuda"


@contextmanager
def arithmetic(*, tf32: bool, search: bool = False):
    """Whether float32 products on a GPU are rounded to TF32, and whether cuDNN times its algorithms first.

    `reproduce` trains so in bfloat16; in float32 the search takes half a minute a row.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=search, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def count_operations(work: Callable) -> int:
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
