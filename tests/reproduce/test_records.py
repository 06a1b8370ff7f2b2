"""Records: what is written is read back, what is illegal is refused, and the project's own are whole."""

import dataclasses
import json

import pytest

from reproduce import records
from reproduce.records import RESULTS, Record
from reproduce.report import select
from unet_paper.errors import InputError

NEWEST = select.read(RESULTS / "records.jsonl")
SCORED = [r for r in NEWEST if r.prediction and r.volume == "train"]  # the others need test labels
PROVENANCE = dict.fromkeys(records.PROVENANCE, "something")


def record(**changes):
    return dataclasses.replace(
        Record("table1", "unet", {"seeds": [0]}, {"v_rand": 0.97}, {"train_seconds": 1.5}, None, PROVENANCE), **changes
    )


def test_what_is_appended_is_read_back_in_order(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    written = [record(), record(name="fcn", scores={})]
    for one in written:
        records.append(one, path)
    assert records.read(path) == written


def test_appending_leaves_earlier_lines_untouched(tmp_path):
    path = tmp_path / "records.jsonl"
    records.append(record(), path)
    before = path.read_bytes()
    records.append(record(name="fcn"), path)
    assert path.read_bytes().startswith(before)


def test_a_missing_file_holds_no_records(tmp_path):
    assert records.read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiment": "table9"}, "'table9' is none of table1"),
        ({"scores": {"dice": 1.0}}, "dice are none of warping_error"),
        ({"provenance": {}}, "lacks command"),
        ({"provenance": PROVENANCE | {"mood": "good"}}, "has unknown mood"),
    ],
)
def test_an_illegal_record_is_refused_and_nothing_is_written(tmp_path, changes, words):
    path = tmp_path / "records.jsonl"
    with pytest.raises(InputError, match=words):
        records.append(record(**changes), path)
    assert not path.exists()


def test_a_score_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(InputError, match="v_rand must be a finite number"):
        records.append(record(scores={"v_rand": float("nan")}), tmp_path / "records.jsonl")
    assert not (tmp_path / "records.jsonl").exists()


@pytest.mark.parametrize("line", ["{", '{"experiment": "table1"}', '{"name": "unet", "colour": "red"}', "[]", "3"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / "records.jsonl"
    records.append(record(), path)
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="line 2 of"):
        records.read(path)


def test_provenance_has_every_key_and_survives_json():
    made = records.provenance(config={"steps": 1}, seed=0, data={}, device="cpu", wall_seconds=1.23456)
    assert set(made) == set(records.PROVENANCE)
    assert json.loads(json.dumps(made)) == made
    assert made["peak_bytes"] > 2**20
    assert made["device"].endswith("cores")


def test_the_projects_own_records_are_valid_and_their_maps_exist():
    for one in records.read(RESULTS / "records.jsonl"):
        assert one.prediction is None or (RESULTS / one.prediction).is_file(), one


@pytest.mark.parametrize("stored", SCORED, ids=lambda row: row.prediction)
def test_a_recorded_score_is_the_score_of_the_stored_map(isbi_folder, stored):
    from reproduce.experiment import score_stored
    from unet_paper.isbi import load_isbi

    labels = load_isbi(isbi_folder).labels[list(stored.slices)]
    assert score_stored(RESULTS / stored.prediction, labels) == pytest.approx(stored.scores, abs=1e-9)


def benchmark(group):
    """The newest measures of a benchmarked group by name and image or batch."""
    mine = [r for r in NEWEST if r.experiment == "benchmark" and r.settings["group"] == group]
    return {(r.name, r.settings.get("image", r.settings.get("batch"))): r.measures for r in mine}


def test_the_measured_weight_map_is_as_fast_and_small_as_it_is_said_to_be():
    measured = benchmark("weight map")
    time = {name: row["relative_time"] for name, row in measured.items()}  # in weight maps of one real slice
    assert time["copied recipe", "ISBI slice"] > 40
    assert 4 * time["one whole-image transform", "ISBI slice"] > 1
    assert max(time["weight map", "mosaic of ISBI slices"], time["weight map", "squares"]) < 24
    assert measured["weight map", "ISBI slice"]["peak_bytes"] < 20 * 2**20


def test_the_measured_sampling_adds_less_than_a_quarter_to_a_step():
    ratios = [row["sampling_ratio"] for row in benchmark("training").values() if "sampling_ratio" in row]
    assert ratios
    assert max(ratios) < 0.25
