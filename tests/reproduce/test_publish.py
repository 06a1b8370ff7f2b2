"""Publishing: what was run is taken into a folder of results; nothing there is replaced unless that is asked for."""

import pytest

from reproduce import __main__ as commands
from reproduce import records
from reproduce.records import PROVENANCE, Record

RECIPE = "0123abcd"


def record(seed=0, experiment="table1", **changes):
    conditions = {"recipe": RECIPE, "folds": ["fold4"], "seeds": [seed], "rotations": "none"}
    provenance = dict.fromkeys(PROVENANCE) | {"device": "Some CPU"}
    fields = {"scores": {"v_rand": 0.9}, "prediction": f"predictions/unet-{RECIPE}-seed{seed}.tif"} | changes
    return Record(experiment, "unet", conditions, provenance=provenance, **fields)


@pytest.fixture
def rendered(monkeypatch):
    made = []
    monkeypatch.setattr("reproduce.report.render.render", made.append)
    return made


@pytest.fixture
def runs(tmp_path, rendered):
    """A folder of what was run: two records with their maps and curves, and a benchmark."""
    runs = tmp_path / "runs"
    for seed in (0, 1):
        for name in (f"predictions/unet-{RECIPE}-seed{seed}.tif", f"curves/unet-{RECIPE}-fold4-seed{seed}.csv"):
            (runs / name).parent.mkdir(parents=True, exist_ok=True)
            (runs / name).write_text(f"{name}: new")
        records.append(record(seed), runs / "records.jsonl")
    records.append(record(experiment="benchmark", scores={}, prediction=None), runs / "records.jsonl")
    (runs / "trainings").mkdir()
    return runs


@pytest.fixture
def into(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def publish(runs, into):
    return lambda *more: commands.main(["publish", "--out", str(runs), "--into", str(into), *more])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_records_are_appended_maps_and_curves_copied_and_tables_rendered(publish, runs, into, rendered, capsys):
    records.append(record(9), into / "records.jsonl")
    before = (into / "records.jsonl").read_bytes()
    assert publish() == 0
    assert (into / "records.jsonl").read_bytes() == before + (runs / "records.jsonl").read_bytes()
    made, kept = contents(runs), contents(into)
    assert {name: kept[name] for name in made if name != "records.jsonl"} == {
        name: content for name, content in made.items() if name != "records.jsonl"
    }
    assert rendered == [into]
    printed = capsys.readouterr().out
    assert printed.count("copied ") == 4
    assert "replaced" not in printed
    assert "appended 3 records" in printed


def test_what_is_published_already_is_not_published_again(publish, runs, into, capsys):
    assert publish() == 0
    before = contents(into)
    assert publish() == 2
    assert "has no record that" in capsys.readouterr().err
    assert contents(into) == before
    records.append(record(0, experiment="systems"), runs / "records.jsonl")
    assert publish() == 0
    assert len(records.read(into / "records.jsonl")) == 4


def test_another_map_of_the_name_is_replaced_only_if_that_is_asked_for(publish, into, capsys):
    name = f"predictions/unet-{RECIPE}-seed1.tif"
    (into / name).parent.mkdir(parents=True)
    (into / name).write_text("published")
    before = contents(into)
    assert publish() == 2
    told = capsys.readouterr().err
    assert name in told
    assert "seed0" not in told
    assert "--replace" in told
    assert contents(into) == before
    assert publish("--replace") == 0
    assert (into / name).read_text() == f"{name}: new"
    printed = capsys.readouterr().out
    assert f"replaced {into / name}" in printed
    assert printed.count("replaced") == 1


def test_a_map_that_other_published_records_have_too_is_not_replaced_under_them(publish, runs, into, capsys):
    name = record(1).prediction
    (into / name).parent.mkdir(parents=True)
    (into / name).write_text("published")
    records.append(record(1, scores={"v_rand": 0.8}), into / "records.jsonl")
    records.append(record(1, experiment="systems"), into / "records.jsonl")
    before = contents(into)
    assert publish("--replace") == 2
    told = capsys.readouterr().err
    assert f"{name} (systems)" in told
    assert "table1" not in told  # whose new record replaces the old one
    assert contents(into) == before
    records.append(record(1, experiment="systems", scores={"v_rand": 0.7}), runs / "records.jsonl")
    assert publish("--replace") == 0


@pytest.mark.parametrize("replace", [True, False])
def test_the_montage_is_published_with_records_of_table_1_and_replaces_another_if_asked(
    publish, runs, into, capsys, replace
):
    for folder in (runs, into):
        (folder / "figures").mkdir(parents=True)
        (folder / "figures/montage.png").write_text(f"montage of {folder.name}")
    assert publish("--only", "benchmark") == 0
    assert (into / "figures/montage.png").read_text() == "montage of results"
    assert publish(*["--replace"] * replace) == 0
    assert (into / "figures/montage.png").read_text() == f"montage of {'runs' if replace else 'results'}"
    assert f"{'replaced' if replace else 'left'} {into}/figures/montage.png" in capsys.readouterr().out


def test_the_worst_slice_is_published_with_the_network_in_the_package(publish, runs, into):
    (runs / "figures").mkdir()
    (runs / "figures/worst_slice.png").write_text("worst")
    assert publish("--only", "table1") == 0
    assert not (into / "figures").exists()
    records.append(record(experiment="pretrained", scores={}, prediction=None), runs / "records.jsonl")
    assert publish("--only", "pretrained") == 0
    assert (into / "figures/worst_slice.png").read_text() == "worst"


def test_one_experiment_alone_can_be_published(publish, into):
    assert publish("--only", "benchmark") == 0
    assert [one.experiment for one in records.read(into / "records.jsonl")] == ["benchmark"]
    assert set(contents(into)) == {"records.jsonl"}


def test_a_map_that_is_missing_is_told_and_nothing_published(publish, runs, into, capsys):
    (runs / record(1).prediction).unlink()
    assert publish() == 2
    assert f"lacks {record(1).prediction}" in capsys.readouterr().err
    assert not into.exists()


def test_a_map_of_a_record_of_an_earlier_form_is_told_and_nothing_published(publish, runs, into, capsys):
    earlier = Record("table1", "unet", {}, {}, {}, record().prediction, dict.fromkeys(PROVENANCE, "something"))
    records.append(earlier, runs / "records.jsonl")
    assert publish() == 2
    assert f"the record of {earlier.prediction} is of an earlier form" in capsys.readouterr().err
    assert not into.exists()


@pytest.mark.parametrize("place", ["runs", "results"])
def test_records_that_cannot_be_read_are_told_and_nothing_published(publish, runs, into, capsys, place):
    path = {"runs": runs, "results": into}[place] / "records.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\xe9")
    before = contents(into) if into.exists() else {}
    assert publish() == 2
    assert f"line 1 of {path} is not a record" in capsys.readouterr().err
    assert (contents(into) if into.exists() else {}) == before


def test_by_default_runs_are_published_into_results():
    defaults = commands.parser("publish").parse_args(["publish"])
    assert (defaults.out, defaults.into, defaults.replace) == (records.RUNS, records.RESULTS, False)
