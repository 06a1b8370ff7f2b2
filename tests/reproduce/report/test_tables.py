"""Tables: a line says what its records say, and nothing of another protocol stands beside it."""

import dataclasses

import pytest
from made_rows import CPU, GPU, ablation, made, made_record

from reproduce.records import RESULTS
from reproduce.report import tables
from reproduce.report.claims import claims
from reproduce.report.select import BASE, as_row, read, read_numbers

NUMBERS = read_numbers()
THIRTY = list(range(30))


def lines(table):
    """The cells of each line of a Markdown table but its head, as dictionaries by the head."""
    head, _, *rest = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    return [dict(zip(head, line, strict=True)) for line in rest]


def test_the_table_at_a_glance_has_the_paper_the_sliding_window_and_a_line_a_network():
    rows = [made(rotations=rotations, seeds=[seed]) for rotations in ("none", "eight", "seven") for seed in (0, 1)]
    paper, window, ours = lines(tables.glance(rows, NUMBERS))
    assert (paper["V_Rand"], paper["training of a network"], paper["memory"]) == (
        "0.97276",
        "10 h, NVidia Titan",
        "at most 6 GB",
    )
    assert (window["warping error"], window["V_Rand"]) == ("0.000420", "–")
    assert ours["network"] == "unet, 3,000 steps, rotations eight"
    assert ours["V_Rand"] == "0.97000 ± 0.00000"
    assert ours["scored on"] == "held-out slices 24-29, 2 seeds"
    assert "weights" not in ours


def test_the_table_at_a_glance_has_five_lines_at_most_and_links_weights_where_there_are_any():
    rows = [made(name=f"net{n}", slices=THIRTY[n:]) for n in range(9)]
    recipe = {"settings": {"recipe": "0123abcd"}}
    rows[2] = dataclasses.replace(rows[2], **recipe)
    rows.append(dataclasses.replace(rows[1], experiment="pretrained", weights="an.earlier.one"))
    rows.append(dataclasses.replace(rows[2], experiment="pretrained", weights="unet.safetensors"))
    found = lines(tables.glance(rows, NUMBERS))
    assert [line["network"].split(",")[0] for line in found[2:]] == ["net0", "net1", "net2"]
    assert [line["weights"] for line in found] == ["–"] * 4 + ["[trained on all slices](unet.safetensors)"]


def test_the_network_in_the_package_stands_beside_the_score_of_its_recipe_alone():
    of_recipe = {digits: {"settings": {"recipe": digits}} for digits in "ab"}
    scored = [dataclasses.replace(made(v_rand=v), **of_recipe[digits]) for digits, v in (("a", 0.9), ("b", 0.8))]
    measures = {"parameters_count": 7, "file_bytes": 2**20, "largest_change": 0.00125}
    shipped = dataclasses.replace(scored[0], experiment="pretrained", scores={}, measures=measures, train_slices=30)
    (line,) = lines(tables.pretrained([*scored, shipped], NUMBERS))
    assert (line["training slices"], line["parameters"], line["file, float16"]) == ("30", "7", "1.00 MiB")
    assert (line["largest change by float16"], line["V_Rand"]) == ("0.0013", "0.90000")
    assert line["the recipe scored on"] == "held-out slices 24-29, rotations eight"
    (alone,) = lines(tables.pretrained([shipped], NUMBERS))
    assert alone["V_Rand"] == "–"


def test_every_seed_is_listed_and_then_mean_and_deviation():
    rows = [
        made(v_rand=v, seeds=[s], details={"thresholds": {"v_rand": 0.2}}) for s, v in enumerate((0.96, 0.97, 0.98))
    ]
    found = lines(tables.table1(rows, NUMBERS))[-4:]
    assert [line["V_Rand"] for line in found] == ["0.96000", "0.97000", "0.98000", "0.97000 ± 0.01000"]
    assert [line["seed"] for line in found] == ["0", "1", "2", "**mean of 3**"]
    assert found[0]["threshold of V_Rand"] == "0.2"


def test_the_paper_stands_beside_ours_and_each_line_says_what_was_scored():
    tested = made(slices=THIRTY, volume="test", rows=[67, 511])
    found = lines(tables.table1([made(), tested, made(v_rand=None)], NUMBERS))
    (paper,) = [line for line in found if line["network"] == "U-Net"]
    assert [paper[head] for head in tables.SCORE_HEADS] == ["0.000353", "0.0382", "0.0611", "0.97276", "0.98662"]
    assert paper["scored on"].startswith("test volume (Table 1")
    assert [line["scored on"] for line in found[-2:]] == ["held-out slices 24-29", "test volume, image rows 67-511"]


def test_maps_of_averaged_seeds_are_a_row_of_their_own():
    records = [made(seeds=[0]), made(seeds=[1]), made(seeds=[0, 1], v_rand=0.99)]
    found = [line["seed"] for line in lines(tables.table1(records, NUMBERS))[-4:]]
    assert found == ["0", "1", "**mean of 2**", "0, 1 (maps averaged)"]


def test_a_training_costs_once_whatever_the_rotations():
    rows = [
        made(rotations=rotations, measures={"train_seconds": 3000.0, "predict_seconds_per_slice": seconds})
        for rotations, seconds in (("eight", 4.0), ("none", 0.5))
    ]
    paper, ours = lines(tables.cost(rows, NUMBERS))
    assert (paper["training of a network"], paper["a slice, rotations none"]) == ("10 h", "below 1 s")
    assert (ours["training of a network"], ours["a step"], ours["peak memory"]) == ("50.0 min", "1.00 s", "4.00 GiB")
    assert [ours[f"a slice, rotations {name}"] for name in ("none", "eight", "seven")] == ["500 ms", "4.00 s", "–"]
    parts = [made(volume="test", rows=part, measures={"train_seconds": 3000.0}) for part in ([0, 99], [0, 511])]
    assert len(lines(tables.cost(parts, NUMBERS))) == 2


def test_v_rand_of_each_slice_is_listed_for_each_volume():
    held_out = made(slices=[3, 4], details={"v_rand_by_slice": [0.5, 0.9]})
    tested = made(slices=[0], volume="test", details={"v_rand_by_slice": [0.7]})
    tested_table, table = tables.slices([held_out, tested], NUMBERS).split("\n\n")
    assert [list(line.values()) for line in lines(table)] == [
        ["3", "0.50000"],
        ["4", "0.90000"],
        ["mean", "0.70000 ± 0.28284"],
    ]
    assert lines(tested_table)[0]["unet, test volume"] == "0.70000"
    assert tables.slices([made()], NUMBERS) == ""


def test_a_sweep_shows_what_varies_and_what_diverged():
    rows = [made("sweep", "slow", learning_rate=1e-3, optimizer="sgd", recipe="0a")]
    rows.append(made("sweep", "fast", None, learning_rate=1e-2, optimizer="sgd", recipe="0b", outcome="not finite"))
    slow, fast = lines(tables.sweep(rows, []))
    scores = tables.SCORE_HEADS
    assert list(slow) == ["learning rate", "seed", "scored on", "outcome", *scores, "training", "device"]
    assert (slow["scored on"], slow["device"]) == ("held-out slices 24-29", GPU)
    assert (slow["learning rate"], slow["outcome"]) == ("0.001", "finished")
    assert (fast["learning rate"], fast["outcome"], fast["V_Rand"]) == ("0.01", "not finite", "–")


def test_what_varies_is_told_by_the_conditions_of_early_records_too():
    found = lines(tables.sweep(read(RESULTS / "records.jsonl"), []))
    assert {"learning rate", "steps", "warmup steps", "seed"} < set(found[0])


def test_ablations_are_differences_to_the_unchanged_recipe_of_equal_seeds():
    rows = [
        *ablation(BASE, 0.970, 0.950),
        *ablation("no-elastic", 0.960, 0.944),
        *ablation("adam", None, outcome="inf"),
    ]
    base, variant, failed = lines(tables.ablations(rows, []))
    assert (base["runs"], base["V_Rand"]) == ("2", "0.96000 ± 0.01414")
    assert (variant["runs"], variant["V_Rand"]) == ("2", "-0.00800 ± 0.00283")
    assert (failed["variant"], failed["runs"], failed["V_Rand"]) == ("adam", "inf", "–")
    assert "V_Rand precision" not in base
    assert tables.ablations(ablation(BASE, 0.97), []) == ""


def test_merges_and_splits_are_shown_where_they_are_recorded():
    def detailed(name, precision, merges):
        return ablation(name, 0.9, details={"v_rand_precision": precision, "merge_pixels": merges})

    base, variant = lines(tables.ablations([*detailed(BASE, 0.9, 1500), *detailed("no-border-weight", 0.8, 4000)], []))
    assert (base["V_Rand precision"], base["merge pixels"]) == ("0.90000", "1,500")
    assert (variant["V_Rand precision"], variant["merge pixels"]) == ("-0.10000", "+2,500")
    assert "split pixels" not in base


def test_ablations_of_another_setting_have_a_table_of_their_own():
    rows = [*ablation(BASE, 0.97), *ablation("adam", 0.96)]
    narrow = [*ablation(BASE, 0.8, base_channels=16), *ablation("adam", 0.9, base_channels=16)]
    headings = [line for line in tables.ablations(rows + narrow, []).splitlines() if line.startswith("#")]
    assert headings == [f"### {width} base channels, 3,000 steps, rotations eight" for width in (64, 16)]


def curve(name, *v_rand, size):
    return ablation(name, *v_rand, experiment="learning-curve", train_slices=size, folds=[f"fold0-{size}slices"])


def test_the_learning_curve_has_a_line_for_each_size_and_variant_with_paired_differences():
    rows = [*curve(BASE, 0.9, 0.92, size=24), *curve(BASE, 0.7, 0.72, size=1), *curve("no-elastic", 0.6, 0.64, size=1)]
    found = [
        (line["training slices"], line["variant"], line["runs"], line["V_Rand"], line["change of V_Rand"])
        for line in lines(tables.learning_curve(rows, []))
    ]
    assert found == [
        ("1", BASE, "2", "0.71000 ± 0.01414", "–"),
        ("1", "no-elastic", "2", "0.62000 ± 0.02828", "-0.09000 ± 0.01414"),
        ("24", BASE, "2", "0.91000 ± 0.01414", "–"),
    ]


def test_trainings_that_diverged_are_told_in_every_table():
    def failed(*given, **named):
        return made(*given, v_rand=None, outcome="not finite", rotations="failed", **named)

    found = lines(tables.methods([made("systems"), failed("systems", "fcn")], []))
    assert [(line["method"], line["steps"], line["seeds"]) for line in found] == [
        ("unet", "3,000", "1"),
        ("fcn", "not finite", "0"),
    ]
    rows = [made(), failed(seeds=[1])]
    assert [line["rotations"] for line in lines(tables.table1(rows, NUMBERS))[-2:]] == ["eight", "–"]
    assert "not finite" in tables.table1(rows, NUMBERS)
    assert "not finite" not in tables.cost(rows, NUMBERS)
    curve = [*ablation(BASE, 0.9, experiment="learning-curve"), failed("learning-curve", "no-elastic", variant="x")]
    assert lines(tables.learning_curve(curve, []))[-1]["V_Rand"] == "–"
    assert "not finite" in tables.learning_curve(curve, [])


@pytest.mark.parametrize("scored", [True, False])
def test_trainings_that_diverged_are_told_where_nothing_else_was_scored(scored):
    for experiment, table in (("ablations", tables.ablations), ("learning-curve", tables.learning_curve)):
        (failed,) = ablation(BASE, None, experiment=experiment, outcome="not finite", rotations=None)
        others = ablation("adam", 0.9, experiment=experiment) if scored else []
        text = table([*others, failed], [])
        assert "not finite" in text
        assert "None" not in text
        assert ("adam" in text) == scored
    failed = made("systems", "fcn", v_rand=None, outcome="not finite", rotations=None, base_channels=16)
    text = tables.methods([made("systems")] * scored + [failed], [])
    assert lines(text)[-1]["steps"] == "not finite"
    assert "None" not in text


def test_methods_of_one_title_are_told_apart_by_their_recipes():
    rows = [made("systems", recipe=name, budget={"seconds": 60.0}, steps=9 + len(name)) for name in ("aa", "bbb")]
    rows += [made("systems", "fcn", recipe="c", budget={"seconds": 60.0})]
    named = [line["method"] for line in lines(tables.methods(rows, []))]
    assert sorted(named) == ["fcn", "unet, recipe aa", "unet, recipe bbb"]


def test_costs_of_repeats_are_their_mean_and_memory_their_greatest():
    rows = [
        dataclasses.replace(
            made("systems", seeds=[n], steps=n, measures={"train_seconds": 60.0 * n}), peak_bytes=n * 2**20
        )
        for n in (10, 30, 20)
    ]
    (line,) = lines(tables.methods([dataclasses.replace(row, budget=("seconds", 60.0)) for row in rows], []))
    assert (line["seeds"], line["steps"], line["training of a network"]) == ("3", "20", "20.0 min")
    assert line["peak memory"] == "30.0 MiB"


def test_networks_of_another_width_stand_in_a_table_of_their_own():
    wide, narrow = ({"budget": {"steps": 9}} | width for width in ({}, {"base_channels": 16}))
    found = tables.methods([made("systems", "fcn", **wide), made("systems", "fcn", **narrow)], [])
    headings = [line.split(",")[0] for line in found.splitlines() if line.startswith("###")]
    assert headings == ["### 9 steps", "### 16 base channels"]


def test_recipes_of_one_title_and_length_are_told_apart_by_their_digits():
    rows = [made(recipe="aaaaaaaa"), made(recipe="bbbbbbbb"), made(recipe="cccccccc", steps=7)]
    for table in (tables.table1, tables.cost):
        named = [line["network"] for line in lines(table(rows, NUMBERS))[-3:]]
        assert named == ["unet, recipe aaaaaaaa", "unet, recipe bbbbbbbb", "unet"]


def test_scores_on_data_other_than_the_challenges_say_so_and_decide_no_claim():
    record = made_record()
    other = as_row(dataclasses.replace(record, provenance=record.provenance | {"data": {"train-labels": "0123456789"}}))
    assert lines(tables.table1([other], NUMBERS))[-1]["scored on"] == "held-out slices 24-29 of data 01234567"
    assert claims([other], NUMBERS) == claims([], NUMBERS) != claims([as_row(record)], NUMBERS)


def test_methods_borrow_the_u_net_of_table_1_and_stand_by_v_rand():
    fcn = made("systems", "fcn", measures={"gflop_per_slice": 400.0}, budget={"steps": 3000})
    text = tables.methods([fcn, made()], [])
    assert (
        text.splitlines()[0] == "### 3,000 steps, 24 training slices, held-out slices 24-29, rotations eight, Some GPU"
    )
    assert [line["method"] for line in lines(text)] == ["unet", "fcn"]
    assert lines(text)[1]["GFLOP a slice"] == "400"
    better = made("systems", "fcn", v_rand=0.98)
    assert [line["method"] for line in lines(tables.methods([better, made()], []))] == ["fcn", "unet"]


@pytest.mark.parametrize("other", [{"steps": 100}, {"slices": [0, 1, 2]}, {"rotations": "none"}, {"device": CPU}])
def test_the_u_net_of_another_protocol_is_not_borrowed(other):
    assert [line["method"] for line in lines(tables.methods([made(), made("systems", "fcn", **other)], []))] == ["fcn"]


def test_methods_of_another_budget_or_device_have_a_table_of_their_own():
    timed = [made("systems", name, device=CPU, budget={"seconds": 720.0}) for name in ("unet", "fcn")]
    speeds = {"patchwise_seconds_per_slice": 400.0, "dense_seconds_per_slice": 0.8, "speed_ratio": 500.0}
    measures = speeds | {"arithmetic_ratio": 475.3}
    window = made("systems", "sliding-window", measures=measures, steps=29028, budget={"steps": 3000})
    text = tables.methods([*timed, made(), window], [])  # the timed U-Net does not keep that of Table 1 away
    in_steps, in_time = text.removeprefix("### ").split("### ")
    assert in_time.startswith(
        "12.0 min of training, 24 training slices, held-out slices 24-29, rotations eight, Some CPU"
    )
    assert {line["method"] for line in lines(in_time)} == {"unet", "fcn"}
    table, dense = in_steps.strip().split("\n\n")[1:]
    assert {line["method"] for line in lines(table)} == {"unet", "sliding-window"}
    assert list(lines(dense)[0].values()) == ["sliding-window", "6.67 min", "800 ms", "500", "475"]


def test_slices_of_methods_stand_below_their_table():
    rows = [made("systems", name, slices=[0], details={"v_rand_by_slice": [0.25]}) for name in ("unet", "fcn")]
    assert lines(tables.methods(rows, []).split("\n\n")[2])[0]["fcn, held-out slices 0"] == "0.25000"


def test_the_synthetic_stack_has_a_line_a_network():
    (line,) = lines(tables.phantom([made("quick", "untrained", slices=[8, 9], steps=0)], []))
    assert (line["network"], line["steps"], line["scored on"]) == ("untrained", "0", "held-out slices 8-9")


def test_benchmarks_have_a_table_for_each_group_and_device():
    measures = {"step_seconds": 0.04, "peak_bytes": 2**30}
    records = [
        made("benchmark", "eager", device=GPU, measures=measures, group="metrics", batch=1),
        made("benchmark", "eager", device=CPU, measures={"step_seconds": 4.0}, group="metrics"),
    ]
    first, second = tables.benchmarks(records, []).removeprefix("### ").split("### ")
    assert (first.splitlines()[0], second.splitlines()[0]) == ("metrics, Some GPU", "metrics, Some CPU, 2 cores")
    assert list(lines(first)[0].values()) == ["eager", "1", "40.0 ms", "1.00 GiB"]
    assert tables.benchmarks([made("benchmark", "MONAI UNet", measures=measures, group="alternatives")], []) == ""
    assert tables.benchmarks([made("benchmark", "eager", group="metrics", skipped="needs a GPU")], []) == ""


def test_nothing_measured_is_no_table():
    made_tables = (tables.table1, tables.cost, tables.slices, tables.phantom, tables.sweep, tables.ablations)
    for make in (*made_tables, tables.learning_curve, tables.methods, tables.benchmarks):
        assert make([], NUMBERS) == ""
    assert len(lines(tables.glance([], NUMBERS))) == 2
