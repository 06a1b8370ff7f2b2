"""Records: what is written is read back, what is illegal is refused, and the project's own are whole."""

import dataclasses
import fcntl
import json
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from reproduce import records
from reproduce.experiment.scoring import score_map
from reproduce.records import RESULTS, Record
from reproduce.report import select
from unet_paper import metrics
from unet_paper.device import keep_freed_memory
from unet_paper.errors import InputError
from unet_paper.isbi import load_isbi
from unet_paper.tiff import read_images

NEWEST = select.read(RESULTS / "records.jsonl")
LONGEST = {r.name: r.steps for r in sorted(select.of(NEWEST, "table1"), key=lambda r: r.steps)}
SUPERSEDED = [r for r in select.of(NEWEST, "table1") if "reading" in r.settings or r.steps < LONGEST[r.name]]
KEPT = {r.prediction for r in NEWEST if r.experiment not in ("sweep", "learning-curve") and r not in SUPERSEDED}
GONE = {r.prediction for r in NEWEST} - KEPT
SCORED = [r for r in NEWEST if r.prediction and r.volume == "train" and r.prediction not in GONE]
PROVENANCE = dict.fromkeys(records.PROVENANCE, "something")


def record(**changes):
    return dataclasses.replace(
        Record("table1", "unet", {"seeds": [0]}, {"v_rand": 0.97}, {"train_seconds": 1.5}, None, PROVENANCE), **changes
    )


@pytest.fixture(scope="module")
def isbi(isbi_folder):
    return load_isbi(isbi_folder)


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


def test_a_record_after_a_line_without_an_end_is_a_line_of_its_own(tmp_path):
    path = tmp_path / "records.jsonl"
    records.append(record(), path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    records.append(record(name="fcn"), path)
    assert [one.name for one in records.read(path)] == ["unet", "fcn"]
    assert path.read_bytes().count(b"\n") == 2


def test_a_missing_file_holds_no_records(tmp_path):
    assert records.read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experiment": "table9"}, "'table9' is none of table1"),
        ({"scores": {"dice": 1.0}}, "dice are none of warping_error"),
        ({"scores": {"v_rand": float("nan")}}, "v_rand must be a finite number"),
        ({"measures": {"train_seconds": "1"}}, "train_seconds must be a finite number"),
        ({"prediction": 3}, "prediction must be"),
        ({"provenance": {}}, "lacks command"),
        ({"provenance": PROVENANCE | {"mood": "good"}}, "has unknown mood"),
    ],
)
def test_an_illegal_record_is_refused_and_nothing_is_written(tmp_path, changes, words):
    path = tmp_path / "records.jsonl"
    with pytest.raises(InputError, match=words):
        records.append(record(**changes), path)
    assert not path.exists()


def line(**changes):
    """The bytes of a record some of whose entries are changed."""
    return json.dumps(dataclasses.asdict(record()) | changes).encode()


NO_RECORDS = {
    "half": b'{"experiment": "table1"',
    "no JSON": b"hours of work",
    "not UTF-8": b"\xe9",
    "UTF-16": '{"experiment": "table1"}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "lacks a name": b'{"experiment": "table1"}',
    "odd key": b'{"experiment": "table1", "name": "unet", "colour": "red"}',
    "experiment": line(experiment=["table1"]),
    "name": line(name=None),
    "conditions": line(conditions=None),
    "scores": line(scores={"v_rand": "0.97"}),
    "score": line(scores={"v_rand": None}),
    "infinite": line(scores={"v_rand": float("inf")}),
    "truth": line(scores={"v_rand": True}),
    "measures": line(measures=None),
    "measure": line(measures={"train_seconds": [1]}),
    "prediction": line(prediction=3),
    "provenance": line(provenance=[]),
    "details": line(details="none"),
}


@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
def test_a_line_that_is_no_record_is_named_in_one_short_sentence(tmp_path, content):
    path = tmp_path / "records.jsonl"
    records.append(record(), path)
    with open(path, "ab") as file:
        file.write(content + b"\n")
    with pytest.raises(InputError, match=f"line 2 of {path} is not a record: ") as told:
        records.read(path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < len(str(path)) + 200


def test_provenance_has_every_key_and_survives_json():
    made = records.provenance(config={"steps": 1}, seed=0, data={}, device="cpu", wall_seconds=1.23456)
    assert set(made) == {*records.PROVENANCE, *records.LATER}
    assert json.loads(json.dumps(made)) == made
    assert made["wall_seconds"] == 1.235
    assert made["device_kind"] == "cpu"
    assert made["device"].endswith("cores")


def test_the_command_is_recorded_as_a_user_types_it(monkeypatch):
    monkeypatch.setattr("sys.argv", ["reproduce", "table1", "--data", "/my data", "--folds", "4"])
    assert records.command_line() == "python -m reproduce table1 --data '/my data' --folds 4"


def test_the_peak_of_memory_is_in_bytes(monkeypatch):
    status = SimpleNamespace(read_text=lambda **_: "VmPeak:\t9000 kB\nVmHWM:\t  2048 kB\nVmRSS:\t1000 kB\n")
    monkeypatch.setattr(records, "Path", {"/proc/self/status": status}.get)
    assert records.peak_memory("cpu") == 2048 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="memory is kept on Linux alone")
def test_memory_that_is_kept_though_it_was_freed_does_not_count():
    keep_freed_memory("cpu")
    records.reset_peak_memory("cpu")
    before = records.peak_memory("cpu")
    np.ones(2**24)
    assert records.peak_memory("cpu") - before > 100 * 2**20
    records.reset_peak_memory("cpu")
    assert records.peak_memory("cpu") - before < 20 * 2**20


@pytest.mark.parametrize(("system", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_of_memory_is_in_bytes_where_the_system_has_no_status_file(monkeypatch, system, unit):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(records, "Path", lambda _: SimpleNamespace(read_text=missing))
    monkeypatch.setattr(records.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=2048))
    monkeypatch.setattr(records.sys, "platform", system)
    assert records.peak_memory("cpu") == 2048 * unit


def git(folder, *words):
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    told = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return told.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with one commit, in place of this one."""
    git(tmp_path, "init", "-q")
    for name in ("code.py", "words.md"):
        (tmp_path / name).write_text("first")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.delenv("REPRODUCE_COMMIT", raising=False)
    return tmp_path


def test_a_commit_is_marked_when_code_differs_from_it(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    assert records.commit_id() == commit
    (checkout / "words.md").write_text("second")
    assert records.commit_id() == commit
    (checkout / "code.py").write_text("second")
    assert records.commit_id() == commit + "+"


def test_a_commit_can_be_said_where_there_is_no_repository(checkout, monkeypatch, tmp_path):
    monkeypatch.setattr(records, "ROOT", tmp_path / "nowhere")
    assert records.commit_id() == "unknown"
    monkeypatch.setenv("REPRODUCE_COMMIT", "abc")
    assert records.commit_id() == "abc"


def test_the_projects_own_records_are_valid_and_their_maps_exist():
    for one in records.read(RESULTS / "records.jsonl"):
        kept = one.prediction is not None and one.prediction not in GONE
        assert not kept or (RESULTS / one.prediction).is_file(), one


@pytest.mark.parametrize("stored", SCORED, ids=lambda row: row.prediction)
def test_a_recorded_pixel_error_is_that_of_the_stored_map(isbi, stored):
    probability = read_images(RESULTS / stored.prediction).array
    found = metrics.pixel_error(isbi.labels[list(stored.slices)], probability)
    assert found.value == pytest.approx(stored.scores["pixel_error"], abs=1e-9)


def test_all_recorded_scores_are_those_of_the_stored_map(isbi):
    stored = SCORED[-1]
    scores, _ = score_map(RESULTS / stored.prediction, isbi.labels[list(stored.slices)])
    assert scores == pytest.approx(stored.scores, abs=1e-9)


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
    ratios = [r.measures["sampling_ratio"] for r in NEWEST if "sampling_ratio" in r.measures]
    assert len(ratios) > 1
    assert max(ratios) < 0.25


def test_a_second_writer_waits_for_the_first(tmp_path):
    path = tmp_path / "records.jsonl"
    records.append(record(), path)
    with open(path, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=records.append, args=(record(name="second"), path))
        writer.start()
        writer.join(0.2)
        assert writer.is_alive()
        other.write(path.read_bytes().replace(b'"unet"', b'"first"'))
    writer.join()
    assert [one.name for one in records.read(path)] == ["unet", "first", "second"]
