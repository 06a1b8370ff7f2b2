"""How speed is measured: repeats and medians by a clock that the test moves, forms, rows that say why they lack it."""

import pytest
import torch

from reproduce.benchmark import timing
from reproduce.benchmark.timing import FORMS, LEAST, MOST, QUEUED, Bench, Form, Unavailable, arithmetic, ceilings


@pytest.fixture
def gpu(monkeypatch):
    """A GPU in name: what waits for it is counted."""
    waits = []
    monkeypatch.setattr(timing, "on_gpu", lambda device: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(None))
    return waits


def test_repeats_fill_the_time_and_the_warm_up_is_left_out(clock):
    durations = iter([100.0, 1.0, 5.0, 100.0, 1.0, 9.0, 2.0])
    bench = Bench("cpu", 6.0, clock=clock)
    filled, three = (bench.measure(lambda: clock.spend(next(durations)), repeats=n) for n in (None, 3))
    assert filled == {"median_seconds": 3.0, "fastest_seconds": 1.0, "repeats_count": LEAST}
    assert three == {"median_seconds": 2.0, "fastest_seconds": 1.0, "repeats_count": 3}
    calls = []
    even = Bench("cpu", 20.0, clock=clock).measure(lambda: calls.append(clock.spend(2.0)))
    assert even == {"median_seconds": 2.0, "fastest_seconds": 2.0, "repeats_count": 10}
    assert len(calls) == 1 + 10
    assert Bench("cpu", 20.0, clock=clock).measure(lambda: None)["repeats_count"] == MOST


def test_calls_queue_on_a_gpu_and_a_reading_waits_for_all_of_them(clock, gpu):
    calls = []
    row = Bench("cpu", 60.0, clock=clock).measure(lambda: calls.append(clock.spend(2.0)), queue=True)
    assert row == {"median_seconds": 2.0, "fastest_seconds": 2.0, "repeats_count": 3 * QUEUED}
    assert len(calls) == QUEUED * len(gpu) == QUEUED * (2 + 3)


def test_a_row_is_a_record_of_the_benchmark(clock, monkeypatch):
    monkeypatch.setattr(timing.time, "perf_counter", clock)
    bench = Bench("cpu", 1.0, {"data": {"volume": "abc"}, "commit": "123"}, clock=lambda: 0.0)
    row = bench.row("step", "net", {"form": "plain"}, lambda: clock.spend(7.0) or {"peak_bytes": 5}, config={"a": 1})
    assert (row.experiment, row.name, row.scores, row.prediction) == ("benchmark", "net", {}, None)
    assert row.conditions == {"group": "step", "form": "plain"}
    assert row.measures == {"peak_bytes": 5}
    kept = {name: row.provenance[name] for name in ("config", "data", "commit", "wall_seconds", "peak_bytes")}
    expected = {"config": {"a": 1}, "data": {"volume": "abc"}, "commit": "123", "wall_seconds": 7.0, "peak_bytes": 5}
    assert kept == expected


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("needs a GPU"), "needs a GPU"),
        (ModuleNotFoundError("No module named 'monai'"), "No module named 'monai'"),
        (torch.OutOfMemoryError("CUDA out of memory.\nand much more"), "CUDA out of memory."),
    ],
)
def test_what_cannot_run_is_a_row_that_says_why(bench, error, reason):
    def build():
        raise error

    row = bench.row("step", "net", {"form": "plain"}, build)
    assert (row.measures, row.conditions) == ({}, {"group": "step", "form": "plain", "skipped": reason})


def test_a_mistake_is_no_skipped_row(bench):
    with pytest.raises(ZeroDivisionError):
        bench.row("step", "net", {}, lambda: 1 / 0)


@pytest.mark.parametrize(
    ("precision", "skipped"),
    [("float32", {"bfloat16", "TF32", "bfloat16, CUDA graph"}), ("bfloat16", {"TF32", "bfloat16, CUDA graph"})],
)
def test_a_processor_computes_the_forms_it_is_fast_in(bench, monkeypatch, precision, skipped):
    monkeypatch.setattr(timing, "choose_precision", lambda device: precision)
    rows = {form.name: bench.row("step", "net", {}, lambda: {"a": 1}, form=form) for form in FORMS}
    assert {name for name, row in rows.items() if "skipped" in row.conditions} == skipped
    assert all(("skipped" in row.conditions) == (row.measures == {}) for row in rows.values())


def test_a_row_computes_in_its_form(bench, gpu, monkeypatch):
    def build():
        cudnn = torch.backends.cudnn
        return {"matmul": torch.get_float32_matmul_precision(), "tf32": cudnn.allow_tf32, "search": cudnn.benchmark}

    def measures(search=False, **form):
        return {**bench.row("g", "n", {}, build, form=Form("a form", **form), search=search).measures}

    before = build()
    monkeypatch.setattr(timing, "choose_precision", lambda device: "bfloat16")
    assert measures(tf32=True) == {"matmul": "high", "tf32": True, "search": False}
    assert measures() == {"matmul": "highest", "tf32": False, "search": False}
    assert measures(precision="bfloat16") == {"matmul": "highest", "tf32": False, "search": False}
    assert measures(search=True, precision="bfloat16") == {"matmul": "highest", "tf32": False, "search": True}
    with pytest.raises(ZeroDivisionError), arithmetic(tf32=True):
        _ = 1 / 0
    assert build() == before


def test_ceilings_are_rates_of_the_work_over_the_time(bench, bfloat16, monkeypatch):
    monkeypatch.setitem(timing.PRODUCT_SIDE, "cpu", 64)
    rows = {row.conditions["form"]: row for row in ceilings(bench)}
    assert list(rows) == ["float32", "TF32", "bfloat16"]
    assert bench.rates == {("float32", False): 2 * 64**3, ("bfloat16", False): 2 * 64**3}  # in a second each
    assert rows["bfloat16"].measures["teraflop_per_second"] == 2 * 64**3 / 1e12
    assert rows["TF32"].conditions["skipped"] == "needs a GPU"
