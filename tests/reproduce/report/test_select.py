"""Queries on records: old and new forms are one, and only what belongs together is compared."""

import dataclasses
import json

import pytest
from made_rows import CPU, GPU, ablation, made, made_record

from data_scripts.isbi2012 import SHA256
from reproduce import records
from reproduce.records import RESULTS, Record
from reproduce.report import select
from reproduce.report.select import BASE, as_row
from unet_paper.errors import InputError

COMMON = {"title": "FCN", "folds": ["fold0"], "train_slices": 24, "seeds": [1], "rotations": "none", "steps": 170}
THIRTY = list(range(30))


def row(name, where, **conditions):
    return as_row(Record("systems", name, COMMON | conditions, provenance={"peak_bytes": 1, **where}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("u2net", {"slices": "24-26"}), {"slices": [24, 25, 26], "volume": "train"}),
        (("u2net-720s", {"seconds": 720.0}), {"budget": {"seconds": 720.0}}),
        (("u2net", {"steps": 9}), {"budget": {"steps": 9}, "steps": 9}),
        (("u2net", {"learning_rate": 0.1}), {"learning_rate": 0.1}),
    ],
)
def test_old_and_new_forms_of_a_record_are_one_row(old, new):
    name, conditions = old
    for device, kind in (("AMD EPYC, 2 cores", "cpu"), ("NVIDIA H100", "cuda")):
        first = row(name, {"device": device}, **conditions)
        assert first == row("u2net", {"device": device, "device_kind": kind}, **new)
        assert first.device_kind == kind


def test_the_kind_of_device_is_what_the_record_says():
    assert row("u2net", {"device": "Apple M3, 8 cores", "device_kind": "cuda"}).device_kind == "cuda"


def test_every_record_of_the_project_has_its_slices_and_budget():
    for one in map(as_row, records.read(RESULTS / "records.jsonl")):
        if one.experiment != "benchmark" and one.volume == "train":
            assert one.slices == tuple(sorted(one.slices))
            assert 6 <= len(one.slices) <= 30
            assert one.budget[1] > 0
            assert not one.name.endswith("s")


@pytest.mark.parametrize(
    "wrong",
    [
        {"conditions": {"slices": 5}},
        {"conditions": {"slices": "all"}},
        {"conditions": {"slices": ["0"]}},
        {"conditions": {"seeds": 0}},
        {"conditions": {"seeds": [None]}},
        {"conditions": {"folds": [3]}},
        {"conditions": {"steps": "many"}},
        {"conditions": {"budget": {"hours": "ten"}}},
        {"conditions": {"budget": {"seconds": 1.0, "steps": 2}}},
        {"conditions": {"seconds": "x"}},
        {"conditions": {"title": 7}},
        {"conditions": {"variant": {}}},
        {"conditions": {"base_channels": "wide"}},
        {"conditions": {"outcome": 1}},
        {"conditions": None},
        {"scores": {"v_rand": "high"}},
        {"scores": {"v_rand": True}},
        {"scores": []},
        {"measures": None},
        {"measures": {"train_seconds": None}},
        {"name": None},
        {"prediction": 3},
        {"details": {"v_rand_by_slice": [0.5]}},
        {"details": {"v_rand_by_slice": 0.5}},
        {"details": {"thresholds": [0.1]}},
        {"details": {"thresholds": {"v_rand": "low"}}},
    ],
    ids=str,
)
def test_a_record_with_an_entry_of_another_kind_is_told_in_a_sentence_with_its_line(tmp_path, wrong):
    good = dataclasses.asdict(made_record())
    (part, value), *_ = wrong.items()
    bad = good | {part: good[part] | value if isinstance(value, dict) and part != "details" else value}
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(map(json.dumps, (good, bad))))
    with pytest.raises(InputError, match=r"line 2 of .*records.jsonl is not a record: ") as told:
        select.read(path)
    assert len(str(told.value)) < 300


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfe{\x00", "not UTF-8"), (b"[" * 100_000, "nested too deeply"), (b"{", "not JSON"), (b"[]", "mapping")],
)
def test_a_line_that_is_no_record_is_told_without_its_bytes(tmp_path, content, reason):
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"line 1 of .* is not a record: .*{reason}") as told:
        select.read(path)
    assert len(str(told.value)) < 300


def test_rows_of_the_earlier_reading_say_so():
    def read_as(name, experiment="table1", **conditions):
        row = as_row(Record(experiment, name, {"title": "U-Net", "seeds": [0]} | conditions))
        return row.title, row.settings.get("reading")

    earlier = ("U-Net, earlier reading", "earlier")
    assert read_as("unet", slices="24-29") == read_as("fcn-720s", "systems", slices="24-29", seconds=720.0) == earlier
    assert read_as("sweep-rate0.002", "sweep", slices="18-23") == earlier
    assert read_as("modern-720s", "systems", slices="24-29", seconds=720.0) == ("U-Net", None)
    assert read_as("unet", slices=[24], recipe="0123abcd") == ("U-Net", None)


def test_conditions_that_lack_are_no_error():
    bare = as_row(Record("table1", "unet", {}, provenance={"device": None}))
    assert (bare.title, bare.slices, bare.seeds, bare.steps, bare.device) == ("unet", (), (), None, "")


def test_of_two_records_of_one_map_the_newer_counts():
    older, newer = (dataclasses.replace(made(steps=n), prediction="map.tif") for n in (100, 200))
    assert select.latest([older, newer]) == [newer]
    other = dataclasses.replace(older, prediction="other.tif")
    assert select.latest([other, newer]) == [other, newer]
    elsewhere = dataclasses.replace(newer, experiment="systems")
    assert select.latest([newer, elsewhere]) == [newer, elsewhere]


def test_one_map_in_two_settings_is_two_rows():
    one, other = (dataclasses.replace(made(learning_rate=rate), prediction="map.tif") for rate in (0.1, 0.2))
    assert select.latest([one, other]) == [one, other]
    assert select.latest([one, other, one]) == [other, one]
    unscored = dataclasses.replace(made(), prediction="map.tif", scores={})
    assert select.latest([unscored, one, other, unscored]) == [one, other]


@pytest.mark.parametrize("name", ["train-volume", "train-labels", "test-volume"])
def test_a_row_of_other_data_says_so_whatever_differs(name):
    def of(experiment, **data):
        record = made_record(experiment)
        return as_row(dataclasses.replace(record, provenance=record.provenance | {"data": data}))

    known = SHA256[f"{name}.tif"]
    for experiment in ("table1", "benchmark"):
        assert select.is_challenge(of(experiment, **{name: known, "weights": "any", "test-labels": "any"}))
        other = of(experiment, **{name: known[::-1]})
        assert other.settings["data"] == known[::-1][:8]
        assert not select.is_challenge(other)
    assert select.is_challenge(of("quick", **{name: "0123"}))


def test_a_map_that_was_predicted_again_without_labels_keeps_its_scores():
    scored = dataclasses.replace(made(), prediction="map.tif")
    again = dataclasses.replace(scored, scores={})
    assert select.latest([scored, again]) == [scored]
    assert select.latest([again, scored]) == [scored]


def test_a_repeated_measurement_replaces_the_earlier_one_on_the_same_device_and_is_the_newest():
    kept = select.latest([made(v_rand=0.1), made(v_rand=0.3, device=CPU), made(v_rand=0.2)])
    assert [r.scores["v_rand"] for r in kept] == [0.3, 0.2]


def test_training_time_is_that_of_one_network():
    hours = {"train_seconds": 3600.0 * 10}
    assert made(measures=hours, folds=[f"fold{i}" for i in range(5)]).network_seconds == 3600.0 * 2
    assert made(measures=hours, seeds=[0, 1]).network_seconds == 3600.0 * 5
    assert made().network_seconds is None


def test_differences_are_paired_by_everything_but_variant_and_recipe():
    base, variant = ablation(BASE, 0.970, 0.950), ablation("no-elastic", 0.960, 0.944)
    alone = [made("ablations", "no-elastic", 0.5, **other) for other in ({"seeds": [7]}, {"base_channels": 8})]
    found = select.differences(select.pairs([*variant, *alone], base), "v_rand")
    assert found == pytest.approx([-0.010, -0.006])


def test_a_variant_is_not_compared_with_the_unchanged_recipe_in_another_arithmetic():
    def computed(name, precision):
        record = made_record("ablations", name, variant=name, recipe=f"{name}-{precision}")
        return as_row(dataclasses.replace(record, provenance={"config": {"recipe": {"precision": precision}}}))

    base, other, variant = computed(BASE, "bfloat16"), computed(BASE, "float32"), computed("adam", "bfloat16")
    assert select.pairs([variant], [base, other]) == [(variant, base)]
    assert select.comparisons([base, other, variant], "ablations") == [
        ([base], {"adam": [variant]}, []),
        ([other], {}, []),
    ]


def test_in_a_given_time_pairs_are_of_one_device():
    def timed(device):
        return made("systems", budget={"seconds": 60.0}, steps=9, device=device)

    assert len(select.pairs([timed(CPU)], [timed(CPU)])) == 1
    assert select.pairs([timed(CPU)], [timed(GPU)]) == []
    assert len(select.pairs([made(device=CPU)], [made(device=GPU)])) == 1


def test_runs_of_another_width_rate_or_rotation_are_another_comparison():
    rows = [*ablation(BASE, 0.9), *ablation("adam", 0.8)]
    others = [ablation(BASE, 0.7, **{name: value}) for name, value in WIDER.items()]
    found = select.comparisons([*rows, *(row for other in others for row in other)], "ablations")
    assert [([r.scores["v_rand"] for r in base], list(variants)) for base, variants, _ in found] == [
        ([0.9], ["adam"]),
        *[([0.7], [])] * len(WIDER),
    ]


WIDER = {"base_channels": 16, "learning_rate": 0.1, "rotations": "none", "budget": {"steps": 7}, "volume": "test"}


def test_a_diverged_training_belongs_to_its_comparison_whatever_its_rotations():
    (failed,) = ablation("adam", None, outcome="not finite", rotations="failed")
    ((base, variants, found),) = select.comparisons([*ablation(BASE, 0.9), failed], "ablations")
    assert (len(base), variants, found) == (1, {}, [failed])
    assert select.comparisons([failed], "ablations") == [([], {}, [failed])]
    assert select.comparisons(ablation(BASE, None), "ablations") == []
    (_, _, found), _ = select.comparisons([*ablation(BASE, 0.9, base_channels=16), failed], "ablations")
    assert found == []


def test_the_comparison_that_says_most_has_pairs_then_width():
    def both(*v_rand, **conditions):
        return [*ablation(BASE, *v_rand, **conditions), *ablation("adam", *v_rand, **conditions)]

    narrow, wide, alone = both(0.5, 0.6, base_channels=16), both(0.7, 0.8), both(0.9, rotations="none")
    found = select.against([*wide, *narrow, *alone], "ablations", "adam")
    assert [ours.scores["v_rand"] for ours, _ in found] == [0.7, 0.8]
    assert len(select.against([*narrow, *alone], "ablations", "adam")) == 2
    assert select.against(wide, "ablations", "no-dropout") == []


def test_the_best_documented_rows_of_a_network_have_most_steps_then_slices_then_seeds_then_symmetries():
    few, many = made(v_rand=0.99), [made(v_rand=0.9, slices=THIRTY, seeds=[s], rotations="none") for s in (0, 1)]
    eight = made(v_rand=0.91, slices=THIRTY)
    assert select.networks([few, *many, eight]) == [many]
    assert select.networks([few, many[0], eight]) == [[eight]]
    assert select.networks([few, made(seeds=[1]), eight]) == [[eight]]
    averaged = made(slices=THIRTY, seeds=[0, 1])
    assert select.networks([eight, averaged]) == [[eight]]
    tested = made(slices=THIRTY, volume="test")
    assert select.networks([eight, tested]) == [[tested], [eight]]
    assert select.network([eight, tested], "unet") == [tested]
    earlier = made(slices=THIRTY, reading="earlier")
    assert select.networks([many[0], earlier]) == [[many[0]]]
    newer = made(v_rand=0.5, steps=4000)
    assert select.networks([few, newer, made("systems", "fcn")]) == [[newer]]
    trials = [made(v_rand=0.5, slices=THIRTY, seeds=[s], steps=100) for s in (0, 1)]
    assert select.networks([few, *trials]) == [[few]]
    shorter = made(v_rand=0.5, steps=2000)
    assert select.networks([newer, few]) == [[newer]]
    assert select.networks([few, shorter]) == [[few]]


def test_networks_of_the_present_reading_and_of_these_the_widest_come_first():
    wide, narrow = made(), made(name="narrow", base_channels=16, slices=THIRTY)
    earlier = made(name="earlier", reading="earlier", slices=THIRTY)
    assert select.networks([earlier, narrow, wide]) == [[wide], [narrow], [earlier]]


def test_the_fastest_slice_is_that_of_a_gpu():
    def slice_of(seconds, device, name="U-Net of the paper", **conditions):
        measures, told = {"median_seconds": seconds}, {"group": "segmentation", "rotations": "none"}
        return made("benchmark", name, device=device, measures=measures, **told | conditions)

    slow, fast, eight = slice_of(0.5, GPU), slice_of(0.1, CPU), slice_of(0.01, GPU, rotations="eight")
    table = [made(name=name, device=GPU, measures={"predict_seconds_per_slice": 0.3}) for name in ("unet", "fcn")]
    assert select.fastest_slice([*table, slow, fast, eight, slice_of(0.01, GPU, "MONAI UNet")]) == (0.5, slow)
    assert select.fastest_slice([*table, fast]) == (0.3, table[0])
    assert (
        select.fastest_slice([made("benchmark", "eager", measures={"latency_seconds": 0.4}, group="inference")]) is None
    )
    assert select.fastest_slice([made()]) is None


def test_v_rand_of_a_slice_is_the_mean_over_seeds():
    rows = [made(slices=[3, 4], seeds=[s], details={"v_rand_by_slice": [0.5 + s / 10, 0.9]}) for s in (0, 1)]
    assert select.by_slice([*rows, made()]) == pytest.approx({3: 0.55, 4: 0.9})


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
