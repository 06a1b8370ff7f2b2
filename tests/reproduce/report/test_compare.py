"""compare: rows that belong together meet, and differences are better, within the stated tolerances, or worse."""

import argparse
import dataclasses
import json

import pytest
from made_rows import CPU, GPU, made, made_record

from reproduce import records
from reproduce.records import EXPERIMENTS, RESULTS
from reproduce.report import compare
from reproduce.report.select import as_row, by_seed, read
from unet_paper.errors import InputError

TOLERANCES = json.loads((RESULTS / "expected.json").read_text())["tolerances"]


def write(path, *values, **conditions):
    for seed, v_rand in enumerate(values):
        records.append(made_record(v_rand=v_rand, **{"seeds": [seed]} | conditions), path)
    return path


def status(*words):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return compare.run(parser.parse_args([str(word) for word in words]))


def test_equal_files_agree(tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", 0.97, 0.98)
    assert status(path, path) == 0
    assert "0 better, 10 within, 0 worse" in capsys.readouterr().out


def test_worse_fails_and_better_does_not(tmp_path, capsys):
    a, b = write(tmp_path / "a.jsonl", 0.97, 0.97), write(tmp_path / "b.jsonl", 0.97, 0.90)
    assert status(a, b) == 1
    assert "0.97000  0.90000  -0.07000  worse" in capsys.readouterr().out
    assert status(b, a) == 0
    assert "0.90000  0.97000  +0.07000  better" in capsys.readouterr().out
    assert status(a, b, "--tolerance", "v_rand=0.1") == 0


@pytest.mark.parametrize(
    ("metric", "higher"),
    [("v_rand", "better"), ("v_info", "better"), ("rand_error", "worse"), ("train_seconds", "worse")],
)
def test_higher_is_better_for_v_rand_and_v_info_and_worse_for_errors_and_times(metric, higher):
    lower = {"better": "worse", "worse": "better"}[higher]
    assert compare.Difference("", metric, 0.5, 0.6, 0.05).verdict == higher
    assert compare.Difference("", metric, 0.6, 0.5, 0.05).verdict == lower


def test_another_number_of_parameters_is_never_better():
    assert [compare.Difference("", "parameters_count", 9, n, 0).verdict for n in (8, 9, 10)] == [
        "worse",
        "within",
        "worse",
    ]


def test_the_stated_tolerance_decides_at_its_edge(tmp_path):
    tolerance = TOLERANCES["table1"]["v_rand"]
    a = write(tmp_path / "a.jsonl", 0.97)
    assert status(a, write(tmp_path / "b.jsonl", 0.97 - tolerance)) == 0
    assert status(a, write(tmp_path / "c.jsonl", 0.97 - 1.01 * tolerance)) == 1


def test_rows_under_other_conditions_are_not_compared(tmp_path, capsys):
    a, b = write(tmp_path / "a.jsonl", 0.97, steps=10), write(tmp_path / "b.jsonl", 0.5, steps=20)
    with pytest.raises(InputError, match="has a partner"):
        status(a, b)
    write(b, 0.97, steps=10)
    assert status(a, b) == 0
    assert "1 rows without a partner" in capsys.readouterr().out


def test_a_row_of_another_seed_stands_in_where_there_is_none_of_the_same(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", 0.5, 0.97)
    assert status(a, write(tmp_path / "same.jsonl", 0.97, seeds=[1])) == 0
    assert "against" not in capsys.readouterr().out
    assert status(a, write(tmp_path / "other.jsonl", 0.97, seeds=[7])) == 0
    out = capsys.readouterr().out
    assert "seed 7, 24 training slices" in out
    assert "against seed 0" in out
    assert "against seed 1" in out


def test_a_repeated_row_counts_once_and_the_newest(tmp_path):
    a, b = write(tmp_path / "a.jsonl", 0.97), write(tmp_path / "b.jsonl", 0.1)
    assert status(a, b) == 1
    write(b, 0.97)
    assert status(a, b) == 0


def test_the_paper_can_stand_on_either_side_and_is_never_judged(tmp_path):
    near, far = write(tmp_path / "near.jsonl", 0.97276), write(tmp_path / "far.jsonl", 0.9)
    above = write(tmp_path / "above.jsonl", 0.9999)
    for path, expected in ((near, 0), (far, 1), (above, 0)):
        assert status("paper", path) == expected
        assert status(path, RESULTS / "paper.json") == expected
    assert status("paper", "paper") == 0


def test_a_training_that_failed_where_the_other_did_not_is_worse(tmp_path, capsys):
    fine, failed = made_record(), made_record(v_rand=None, outcome="the loss is not finite", seeds=[1])
    for name, kept in (("fine", [fine]), ("both", [fine, failed])):
        for record in kept:
            records.append(record, tmp_path / f"{name}.jsonl")
    fine, both = tmp_path / "fine.jsonl", tmp_path / "both.jsonl"
    assert [status(fine, both), status(both, fine)] == [1, 0]
    records.append(made_record("sweep", v_rand=None, outcome="the loss is not finite"), fine)
    assert status(write(tmp_path / "other.jsonl", 0.97), fine) == 0  # it has no run of that recipe
    assert "seed 1" in capsys.readouterr().out


def test_data_other_than_the_challenges_has_no_partner_in_it():
    record = made_record()
    other = dataclasses.replace(record, provenance=record.provenance | {"data": {"train-labels": "0123456789"}})
    assert compare.compare([as_row(record)], [as_row(other)], TOLERANCES)[0] == []


def test_in_a_given_time_only_rows_of_one_device_are_compared():
    def timed(device):
        return [made("systems", budget={"seconds": 60.0}, steps=9, device=device)]

    assert compare.compare(timed(CPU), timed(CPU), TOLERANCES)[0]
    assert compare.compare(timed(CPU), timed(GPU), TOLERANCES)[0] == []
    assert compare.compare([made(device=CPU)], [made(device=GPU)], TOLERANCES)[0]


def test_a_failure_in_a_given_time_on_another_device_is_no_repeat(tmp_path):
    record = made_record("systems", budget={"seconds": 60.0}, device=CPU)
    failed = made_record("systems", v_rand=None, outcome="not finite", budget={"seconds": 60.0}, device=GPU)
    for name, kept in (("a", [record]), ("b", [record, failed])):
        for one in kept:
            records.append(one, tmp_path / f"{name}.jsonl")
    assert status(tmp_path / "a.jsonl", tmp_path / "b.jsonl") == 0


def test_repeats_with_another_seed_meet_the_stated_tolerances():
    repeats = [group for group in by_seed(read(RESULTS / "records.jsonl")) if len(group) > 1 and group[0].scores]
    assert repeats
    for group in repeats:
        for row in group:
            found, _ = compare.compare([other for other in group if other is not row], [row], TOLERANCES)
            assert {difference.verdict for difference in found} == {"within"}, found


@pytest.mark.parametrize("words", ["v_rand", "v_rand=", "=1", "v_rand=-1", "v_rand=nan", "v_rand=x"])
def test_a_bad_tolerance_is_an_error(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        status("a", "b", "--tolerance", words)
    assert stopped.value.code == 2
    assert "METRIC=VALUE" in capsys.readouterr().err


def test_a_tolerance_of_a_metric_that_no_row_has_is_an_error(tmp_path):
    path = write(tmp_path / "a.jsonl", 0.97)
    with pytest.raises(InputError, match="names vrand; it must be a metric of a matched row: warping_error"):
        status(path, path, "--tolerance", "vrand=0.1")


NUMBER = '{"metric": "v_rand", "id": "a", "name": "a", "title": "a", "place": "a", "value": %s}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"3",
        b'{"numbers": [{}]}',
        b'{"numbers": [3]}',
        b"no json",
        b"II*\x00\xff" * 9999,
        b"[" * 99999,
        b'{"numbers": [%s]}' % (NUMBER % '"x"').encode(),
        b'{"numbers": [%s]}' % (NUMBER % "null").encode(),
        b'{"numbers": [%s]}' % (NUMBER.replace('"name": "a"', '"name": []') % "1").encode(),
    ],
    ids=lambda content: content.decode(errors="replace")[:90],
)
def test_a_file_of_another_form_is_told_in_one_short_sentence(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="must have the form of") as told:
        status(path, "paper")
    assert len(str(told.value)) < 300 + len(str(path))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="is no file"):
        status(tmp_path / "missing.jsonl", "paper")


def test_every_experiment_has_tolerances():
    assert set(TOLERANCES) == set(EXPERIMENTS)
