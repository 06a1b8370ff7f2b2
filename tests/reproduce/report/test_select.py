"""Queries on records: old and new forms are one, and only what belongs together is compared."""

import dataclasses
import json

import pytest
from made_rows import CPU, made

from reproduce import records
from reproduce.records import RESULTS, Record
from reproduce.report import select
from reproduce.report.select import BASE, as_row

COMMON = {"title": "FCN", "folds": ["fold0"], "train_slices": 24, "seeds": [1], "rotations": "none", "steps": 170}


def row(name, where, **conditions):
    return as_row(Record("systems", name, COMMON | conditions, provenance={"device": "A", "peak_bytes": 1, **where}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("fcn", {"slices": "0-1+24-25"}), {"slices": [0, 1, 24, 25], "volume": "train"}),
        (("fcn", {"slices": "test 0-2"}), {"slices": [0, 1, 2], "volume": "test"}),
        (("fcn-720s", {"seconds": 720.0}), {"budget": {"seconds": 720.0}}),
        (("fcn", {"budget_steps": 9}), {"budget": {"steps": 9}}),
        (("fcn", {"learning_rate": 0.1}), {"learning_rate": 0.1}),
    ],
)
def test_old_and_new_forms_of_a_record_are_one_row(old, new):
    name, conditions = old
    for device, kind in (("AMD EPYC, 2 cores", "cpu"), ("NVIDIA H100", "cuda")):
        first = row(name, {"device": device}, **conditions)
        assert first == row("fcn", {"device": device, "device_kind": kind}, **new)
        assert first.device_kind == kind


def test_every_record_of_the_project_has_its_slices_and_budget():
    for one in map(as_row, records.read(RESULTS / "records.jsonl")):
        if one.scores:
            assert len(one.slices) == 6
            assert one.volume == "train"
            assert one.budget == (("seconds", 720.0) if one.experiment == "systems" else ("steps", one.steps))
            assert not one.name.endswith("s") or one.experiment != "systems"


def test_of_two_records_of_one_map_the_newer_counts():
    older, newer = (dataclasses.replace(made(steps=n), prediction="map.tif") for n in (100, 200))
    assert select.latest([older, newer]) == [newer]
    other = dataclasses.replace(older, prediction="other.tif")
    assert select.latest([other, newer]) == [other, newer]
    elsewhere = dataclasses.replace(newer, experiment="systems")
    assert select.latest([newer, elsewhere]) == [newer, elsewhere]


def test_a_repeated_measurement_replaces_the_earlier_one_on_the_same_device():
    kept = select.latest([made(v_rand=0.1), made(v_rand=0.2), made(v_rand=0.3, device=CPU)])
    assert [r.scores["v_rand"] for r in kept] == [0.2, 0.3]


def test_differences_are_paired_by_everything_but_variant_and_recipe():
    base = [made("ablations", BASE, v, seeds=[s], recipe="a", variant=BASE) for s, v in enumerate((0.970, 0.950))]
    variant = [made("ablations", "no-elastic", v, seeds=[s], recipe="b") for s, v in enumerate((0.960, 0.944))]
    alone = [made("ablations", "no-elastic", 0.5, **other) for other in ({"seeds": [7]}, {"base_channels": 8})]
    assert select.paired_differences([*variant, *alone], base, "v_rand") == pytest.approx([-0.010, -0.006])


def test_published_numbers_have_a_place_and_a_unit():
    numbers = select.read_numbers()
    assert len({number["id"] for number in numbers}) == len(numbers)
    for number in numbers:
        assert {"id", "metric", "value", "unit", "source", "place", "note"} <= set(number)
        if number["metric"] in records.SCORES:
            assert {"name", "title", "protocol"} <= set(number)


def test_a_file_of_records_is_read_as_the_rows_that_count(tmp_path):
    first = records.read(RESULTS / "records.jsonl")[0]
    lines = [json.dumps(dataclasses.asdict(first) | {"measures": {"train_seconds": s}}) for s in (1.0, 2.0)]
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    assert [r.measures for r in select.read(tmp_path / "records.jsonl")] == [{"train_seconds": 2.0}]
