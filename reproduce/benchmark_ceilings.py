"""Yardsticks of the machine: the rate of large matrix products and the bandwidth of a copy.

Measured with the other rows, in the same minutes, so that their share of it means something. On a CPU a
convolution can exceed the rate of the product.
"""

import torch

from reproduce.timing import Unavailable

PRECISIONS = ("bfloat16", "tf32", "float32")  # of matrix products: tf32 is float32 rounded to 10 bits of mantissa
PRODUCT_SIDE = {"cuda": 8192, "cpu": 2048}  # of the square matrices whose product gives the ceiling
COPY_BYTES = {"cuda": 2**32, "cpu": 2**27}  # several times the caches


def ceilings(bench):
    """Rows of the best matrix rate by precision and of the copy bandwidth, on random numbers; fills `bench.rates`."""
    kind = torch.device(bench.device).type
    side, count = PRODUCT_SIDE[kind], COPY_BYTES[kind] // 4

    def product(precision):
        if precision == "tf32" and not bench.on_gpu:
            raise Unavailable("a format of GPUs")
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        a, b = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        timing = bench.measure(lambda: a @ b)
        bench.rates[precision] = 2 * side**3 / timing.fastest
        return timing.measures() | {"teraflop_per_second": bench.rates[precision] / 1e12}

    def copy():
        source = torch.randn(count, device=bench.device)
        target = torch.empty_like(source)
        timing = bench.measure(lambda: target.copy_(source))
        return timing.measures() | {"gigabyte_per_second": 2 * 4 * count / timing.fastest / 1e9}  # read and written

    for precision in PRECISIONS:
        name = f"product of {side} x {side} matrices, {precision}"
        yield bench.row("ceilings", name, {}, lambda precision=precision: product(precision), tf32=precision == "tf32")
    yield bench.row("ceilings", f"copy of {4 * count / 2**20:.0f} MiB", {}, copy)
