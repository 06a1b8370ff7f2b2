"""Where a network runs and in which precision."""

import subprocess
import sys

import pytest
import torch

from unet_paper.device import choose_device, choose_precision
from unet_paper.errors import InputError


@pytest.mark.parametrize("available", [True, False])
def test_auto_is_cuda_where_there_is_one(monkeypatch, available):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if available else "cpu")


def test_an_absent_or_unknown_device_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="PyTorch finds none here"):
        choose_device("cuda")
    with pytest.raises(InputError, match="must be one of auto, cpu, cuda"):
        choose_device("tpu")


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_is_chosen_where_the_device_computes_in_it(monkeypatch, native):
    precision = "bfloat16" if native else "float32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: native)
    assert choose_precision("cuda:0") == precision
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", None)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512" if native else "AVX2")
    assert choose_precision("cpu") == precision


FAULTS = """
import resource
import numpy as np
from unet_paper.device import keep_freed_memory
for kept in (False, True):
    if kept:
        keep_freed_memory("cpu")
        np.ones(2**23)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(2**23)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_memory_that_is_freed_serves_the_next_request_without_page_faults():
    out = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True).stdout
    returned, kept = map(int, out.split())
    assert returned > 100
    assert kept < returned / 10
