"""The command: what was chosen is measured, becomes records one by one, and is printed as tables."""

import time
from types import SimpleNamespace

import pytest

from reproduce import records
from reproduce.benchmark import command, inference, timing, training, volumes, weight_map
from reproduce.benchmark.networks import NETWORKS
from reproduce.report.select import BENCHMARKS


@pytest.fixture
def arguments(tmp_path, stack, config, asked, monkeypatch):
    """Arguments of a command that chose nothing, for a machine on which everything is tiny."""
    monkeypatch.setattr("reproduce.data.load_example", lambda folder: stack)
    monkeypatch.setattr(command, "ExperimentConfig", lambda: config)
    monkeypatch.setattr(command, "SECONDS", {False: 0.0})
    monkeypatch.setattr(training, "NETWORKS", NETWORKS[:1])
    monkeypatch.setattr(inference, "NETWORKS", NETWORKS[:1])
    monkeypatch.setitem(timing.PRODUCT_SIDE, "cpu", 64)
    monkeypatch.setattr(weight_map, "SQUARES_SIDE", 64)
    monkeypatch.setattr(volumes, "WORKERS", (None,))
    monkeypatch.setattr(volumes, "large_measures", lambda *given: {})
    choices = {choice.replace("-", "_"): False for choice in command.CHOICES}
    return SimpleNamespace(**choices, device="cpu", data=None, out=tmp_path)


def groups(folder):
    return set(row.conditions["group"] for row in records.read(folder / "records.jsonl"))


def test_without_a_choice_everything_is_measured(arguments, capsys):
    command.run(arguments)
    rows = records.read(arguments.out / "records.jsonl")
    assert groups(arguments.out) == {*BENCHMARKS}
    ceiling = next(r for r in rows if r.conditions["group"] == "ceilings").measures["teraflop_per_second"]
    step = next(r for r in rows if r.conditions["group"] == "training step").measures
    assert step["ceiling_ratio"] == pytest.approx(step["teraflop_per_second"] / ceiling)
    assert {r.provenance["data"]["synthetic"] for r in rows} == {"seed 0"}
    printed = capsys.readouterr().out
    assert "training step: U-Net of the paper, TF32: needs a GPU" in printed
    assert "| U-Net of the paper | float32 |" in printed
    assert "| copied recipe | synthetic slice |" in printed


@pytest.mark.parametrize(
    ("choice", "measured"),
    [
        ("training", {"ceilings", "training step"}),
        ("inference", {"ceilings", "segmentation"}),
        ("volume", {"volume"}),
        ("metrics", {"metrics"}),
        ("weight_map", {"weight map"}),
    ],
)
def test_a_choice_is_measured_alone(arguments, choice, measured):
    setattr(arguments, choice, True)
    command.run(arguments)
    assert groups(arguments.out) == measured


def test_rows_become_records_one_by_one_and_one_thread_is_timed_by_its_processor(arguments, monkeypatch):
    path, seen = arguments.out / "records.jsonl", []

    def measured(bench, stack):
        for name in "ab":
            seen.append((bench.device, bench.clock, len(records.read(path))))
            yield bench.row("metrics", name, {}, dict)

    monkeypatch.setattr("reproduce.benchmark.metrics.benchmark_metrics", measured)
    arguments.metrics = True
    command.run(arguments)
    assert seen == [("cpu", time.process_time, 0), ("cpu", time.process_time, 1)]
