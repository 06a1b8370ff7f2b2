"""compare: rows that belong together meet, differences are judged by the stated tolerances."""

import argparse
import json

import pytest

from reproduce import records
from reproduce.records import EXPERIMENTS, PROVENANCE, RESULTS, Record
from reproduce.report import compare
from unet_paper.errors import InputError


def write(path, *values, **conditions):
    for seed, v_rand in enumerate(values):
        record = Record("table1", "unet", {"seeds": [seed], **conditions}, {"v_rand": v_rand}, {}, None)
        records.append(
            Record(**{**vars(record), "provenance": dict.fromkeys(PROVENANCE, "x")}),
            path,
        )
    return path


def status(*words):
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    return compare.run(parser.parse_args([str(word) for word in words]))


def test_equal_files_agree(tmp_path):
    path = write(tmp_path / "a.jsonl", 0.97, 0.98)
    assert status(path, path) == 0


def test_a_difference_beyond_the_tolerance_fails_and_is_named(tmp_path, capsys):
    a, b = write(tmp_path / "a.jsonl", 0.97, 0.97), write(tmp_path / "b.jsonl", 0.97, 0.90)
    assert status(a, b) == 1
    assert "0.97000  0.90000  -0.07000  NOT within" in capsys.readouterr().out
    assert status(a, b, "--tolerance", "v_rand=0.1") == 0


def test_the_stated_tolerance_decides_at_its_edge(tmp_path):
    tolerance = json.loads((RESULTS / "expected.json").read_text())["tolerances"]["table1"]["v_rand"]
    a = write(tmp_path / "a.jsonl", 0.5)
    assert status(a, write(tmp_path / "b.jsonl", 0.5 + tolerance)) == 0
    assert status(a, write(tmp_path / "c.jsonl", 0.5 + 1.01 * tolerance)) == 1


def test_rows_under_other_conditions_are_not_compared(tmp_path, capsys):
    a, b = write(tmp_path / "a.jsonl", 0.97, steps=10), write(tmp_path / "b.jsonl", 0.5, steps=20)
    with pytest.raises(InputError, match="has a partner"):
        status(a, b)
    write(b, 0.97, steps=10)
    assert status(a, b) == 0
    assert "1 rows without a partner" in capsys.readouterr().out


def test_a_repeated_row_counts_once_and_the_newest(tmp_path):
    a, b = write(tmp_path / "a.jsonl", 0.97), write(tmp_path / "b.jsonl", 0.1)
    assert status(a, b) == 1
    write(b, 0.97)
    assert status(a, b) == 0


def test_the_paper_can_stand_on_either_side(tmp_path, capsys):
    near = write(tmp_path / "near.jsonl", 0.97276, slices=list(range(30)))
    assert status("paper", near) == 0
    assert status(near, RESULTS / "paper.json") == 0
    assert "hidden labels of the test volume" in capsys.readouterr().out
    assert status("paper", write(tmp_path / "far.jsonl", 0.9)) == 1
    assert status("paper", "paper") == 0


@pytest.mark.parametrize("text", ["v_rand", "v_rand=", "=1", "v_rand=-1", "v_rand=nan", "v_rand=x"])
def test_a_bad_tolerance_is_an_error(tmp_path, text):
    path = write(tmp_path / "a.jsonl", 0.97)
    with pytest.raises(InputError, match="METRIC=VALUE"):
        status(path, path, "--tolerance", text)


def test_a_tolerance_of_a_metric_that_no_row_has_is_an_error(tmp_path):
    path = write(tmp_path / "a.jsonl", 0.97)
    with pytest.raises(InputError, match="names vrand, which no matched row has; legal: v_rand"):
        status(path, path, "--tolerance", "vrand=0.1")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"numbers": [{}]}', "no json"])
def test_a_file_of_another_form_is_an_error(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match="does not have the form"):
        status(path, "paper")
    with pytest.raises(InputError, match="is no file"):
        status(tmp_path / "missing.jsonl", "paper")


def test_every_experiment_has_tolerances():
    assert set(json.loads((RESULTS / "expected.json").read_text())["tolerances"]) == set(EXPERIMENTS)
