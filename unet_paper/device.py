"""Where a network runs, and in which precision it is fast there."""

import ctypes
import sys

import torch

from unet_paper.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("bfloat16", "float32")


def choose_device(name: str) -> str:
    """The device "auto", "cpu" or "cuda" stands for; `InputError` if there is no such device.

    Examples
    --------
    >>> choose_device("cpu")
    'cpu'
    """
    if name not in DEVICES:
        raise InputError(f"the device is {name!r}; it must be one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("the device is cuda, but PyTorch finds none here; it must be cpu or auto")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def choose_precision(device: str) -> str:
    """The precision of the network on `device`: bfloat16 where it has instructions for it, else float32 (D1).

    A processor without AVX-512 computes convolutions in bfloat16 many times slower than in float32.
    """
    if str(device).startswith("cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = "AVX512" in torch.backends.cpu.get_cpu_capability()
    return "bfloat16" if native else "float32"


def keep_freed_memory(device: torch.device | str) -> None:
    """Have the process keep what it frees for its next request, if `device` is the processor and the library glibc.

    By default large blocks go back to the system, and a sixth of the time of a network is the page faults of getting
    the same gigabytes again.
    """
    if torch.device(device).type != "cpu" or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-4, 0)  # M_MMAP_MAX: no block comes straight from the system
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: and none goes back
