"""Claims: every one has a place, a check and a status, and the status follows from the records."""

import argparse
import dataclasses
import re

import pytest
from made_rows import CPU, GPU, ablation, made

from reproduce.records import ROOT
from reproduce.report import claims
from reproduce.report.claims import CLAIMS, HELD, MEASURED, NOT_HELD, OPEN, PARTLY
from reproduce.report.select import BASE, read_numbers
from unet_paper.errors import InputError

NUMBERS = read_numbers()
VALUES = {number["id"]: number["value"] for number in NUMBERS}
THIRTY = list(range(30))


def status(word, *rows):
    """Status of the first claim whose text has `word`."""
    return next(claim for claim in CLAIMS if word in claim.text).status(list(rows), VALUES)


def verdict(word, *rows):
    return status(word, *rows).verdict


def test_the_numbers_in_the_words_of_a_claim_are_the_published_ones():
    for metric in ("warping_error", "rand_error", "pixel_error"):
        assert any(f"{VALUES[f'table1/unet/{metric}']:g}" in claim.text for claim in CLAIMS)
    (training,) = [claim.text for claim in CLAIMS if "Titan" in claim.text]
    assert re.findall(r"\d+", training) == [str(VALUES[name]) for name in ("training_time", "training_memory")]


def test_every_test_that_is_named_as_proof_exists():
    named = re.findall(r"`(tests/[\w/]+\.py)`", claims.claims([], NUMBERS))
    assert len(named) == 3
    for path in named:
        assert (ROOT / path).is_file()


def test_without_records_nothing_measured_is_claimed():
    verdicts = [claim.status([], VALUES).verdict for claim in CLAIMS]
    assert [word for word in verdicts if word != OPEN] == [HELD, PARTLY, HELD]
    assert len(verdicts) == 13


# --- a number beside the paper's


def test_held_out_slices_of_the_training_stack_do_not_decide_a_score_of_the_paper():
    found = status("warping error", made(slices=[0, 1, 2, 24, 25]))
    assert found == (MEASURED, "0.000400, held-out slices 0-2, 24-25, rotations eight")


def test_a_score_of_the_earlier_reading_says_so():
    row = made(slices=[24, 25], reading="earlier", measures={"train_seconds": 3600.0})
    assert status("warping error", row).evidence == "0.000400, held-out slices 24-25, earlier reading, rotations eight"
    assert status("Titan", row).evidence.endswith(", held-out slices 24-25, earlier reading")


def test_labels_of_the_test_volume_do():
    def tested(value):
        row = made(slices=THIRTY, volume="test")
        return dataclasses.replace(row, scores=row.scores | {"warping_error": value})

    assert verdict("warping error", tested(0.0003)) == HELD
    assert verdict("warping error", tested(0.0005), made()) == NOT_HELD
    part = tested(0.0003)
    assert verdict("warping error", dataclasses.replace(part, settings=part.settings | {"rows": [67, 100]})) == MEASURED


def test_of_two_trainings_the_longer_counts_and_of_equally_long_ones_the_newer():
    one, other, trial = made(recipe="a"), made(recipe="b"), made(steps=100)
    other = dataclasses.replace(other, scores=other.scores | {"pixel_error": 0.0123})
    trial = dataclasses.replace(trial, scores=trial.scores | {"pixel_error": 0.9})
    for rows in ([one, other, trial], [other, trial, one], [trial, other, one]):
        evidence = status("pixel error", *rows).evidence
        assert evidence.startswith("0.0123" if rows.index(other) > rows.index(one) else "0.0600")


@pytest.mark.parametrize(("hours", "expected"), [(1, HELD), (11, NOT_HELD)])
def test_training_time_is_held_against_ten_hours(hours, expected):
    assert verdict("Titan", made(measures={"train_seconds": 3600.0 * hours})) == expected
    folds = [f"fold{i}" for i in range(5)]
    assert verdict("Titan", made(measures={"train_seconds": 5 * 3600.0 * hours}, folds=folds)) == expected


def test_training_memory_is_held_against_six_gigabytes():
    row = made(measures={"train_seconds": 3600.0})
    assert verdict("Titan", dataclasses.replace(row, peak_bytes=7 * 10**9)) == NOT_HELD
    assert verdict("Titan", dataclasses.replace(row, peak_bytes=5 * 10**9)) == HELD


def test_a_training_that_falls_short_of_the_papers_score_decides_nothing_unless_it_costs_more():
    assert verdict("Titan", made(measures={"train_seconds": 3600.0}, v_rand=0.95)) == MEASURED
    assert verdict("Titan", made(measures={"train_seconds": 3600.0}, v_rand=0.969)) == HELD
    assert verdict("Titan", made(measures={"train_seconds": 3600.0 * 11}, v_rand=0.95)) == NOT_HELD


def test_only_a_gpu_decides_the_time_of_training():
    for hours, v_rand in ((1, 0.98), (11, 0.98), (1, 0.93), (11, 0.93)):
        row = made(measures={"train_seconds": 3600.0 * hours}, v_rand=v_rand, device=CPU)
        assert verdict("Titan", row) == MEASURED


def test_averaged_maps_are_no_training():
    assert verdict("Titan", made(measures={"train_seconds": 3600.0}, seeds=[0, 1])) == OPEN


@pytest.mark.parametrize(
    ("latency", "device", "expected"), [(0.5, CPU, MEASURED), (0.5, GPU, HELD), (2.0, GPU, NOT_HELD)]
)
def test_only_a_gpu_decides_the_second_a_slice(latency, device, expected):
    told = {"group": "segmentation", "rotations": "none"}
    row = made("benchmark", "U-Net of the paper", measures={"median_seconds": latency}, device=device, **told)
    assert verdict("less than a second", row) == expected


# --- paired differences to a base


@pytest.mark.parametrize(
    ("with_it", "without", "expected"),
    [
        ((0.97, 0.97), (0.96, 0.9605), HELD),
        ((0.97, 0.97), (0.98, 0.9795), NOT_HELD),
        ((0.97, 0.97), (0.96, 0.963), MEASURED),  # 4.0 standard deviations; of two pairs 9.0 are needed
        ((0.97, 0.97, 0.97), (0.96, 0.965, 0.964), HELD),  # 2.6; of three 2.5 are needed
        ((0.97, 0.97, 0.97), (0.96, 0.969, 0.965), MEASURED),
        ((0.97, 0.97), (0.97, 0.97), MEASURED),
        ((0.97,), (0.96,), MEASURED),
    ],
)
def test_a_part_of_the_recipe_matters_if_leaving_it_out_costs_something_with_confidence(with_it, without, expected):
    assert verdict("dropout", *ablation(BASE, *with_it), *ablation("no-dropout", *without)) == expected


def test_the_evidence_of_a_part_says_gain_level_pairs_slices_and_setting():
    rows = [*ablation(BASE, 0.97, 0.97, base_channels=16), *ablation("no-dropout", 0.96, 0.96, base_channels=16)]
    assert status("dropout", *rows).evidence == (
        "V_Rand +0.01000 ± 0.00000 to 0.97000 (2 pairs) on 24 training slices; 16 base channels, 3,000 steps"
    )


def test_the_fewest_training_slices_decide_what_is_the_key_to_learning_from_few():
    def curve(name, size, *v_rand):
        return ablation(name, *v_rand, experiment="learning-curve", train_slices=size)

    rows = [*curve(BASE, 24, 0.9, 0.9), *curve("no-elastic", 24, 0.955, 0.96), *curve(BASE, 1, 0.7, 0.7)]
    assert verdict("elastic", *rows) == NOT_HELD
    rows += curve("no-elastic", 1, 0.6, 0.61)
    assert verdict("elastic", *rows) == HELD
    evidence = status("elastic", *rows).evidence
    assert evidence.index("on 1 training slice;") < evidence.index("on 24 training slices;")
    assert "on 3 training" not in status("elastic", *rows, *curve(BASE, 3, 0.8), *curve("no-elastic", 3, 0.8)).evidence
    assert verdict("very few", *rows) == OPEN
    rows += [*curve("shifts-only", 1, 0.5, 0.51)]
    assert verdict("very few", *rows) == HELD


def test_ablations_answer_for_elastic_deformation_where_there_is_no_curve():
    assert verdict("elastic", *ablation(BASE, 0.97, 0.97), *ablation("no-elastic", 0.9, 0.91)) == HELD


def test_the_border_weight_is_decided_by_merges_where_they_are_recorded():
    def rows(name, v_rand, **details):
        return ablation(name, v_rand, v_rand, details=details)

    plain = [*rows(BASE, 0.9), *rows("no-border-weight", 0.91)]
    assert verdict("border weight", *plain) == NOT_HELD
    base, variant = (
        rows(BASE, 0.9, v_rand_precision=0.9, merge_pixels=10),
        {"v_rand_precision": 0.8, "merge_pixels": 30},
    )
    found = status("border weight", *base, *rows("no-border-weight", 0.91, **variant))
    assert found.verdict == HELD
    assert "V_Rand precision +0.10000" in found.evidence
    assert "merge pixels -20 ± 0 to 10" in found.evidence


def both(name, v_rand, warping, **conditions):
    runs = [made("systems", name, v_rand, seeds=[seed], **conditions) for seed in (0, 1)]
    return [dataclasses.replace(r, scores=r.scores | {"warping_error": warping}) for r in runs]


@pytest.mark.parametrize(
    ("v_rand", "warping", "expected"),
    [(0.95, 0.0009, HELD), (0.95, 0.0001, MEASURED), (0.99, 0.0009, MEASURED), (0.99, 0.0001, NOT_HELD)],
)
def test_the_sliding_window_must_lose_by_v_rand_and_by_warping_error(v_rand, warping, expected):
    rows = [*both("unet", 0.97, 0.0005), *both("sliding-window", v_rand, warping)]
    assert verdict("sliding-window network", *rows) == expected


@pytest.mark.parametrize(
    "other", [{"slices": [0, 1]}, {"rotations": "none"}, {"steps": 3001}, {"budget": {"seconds": 60.0}}]
)
def test_the_sliding_window_is_compared_under_one_protocol_only(other):
    rows = [*both("unet", 0.97, 0.0005), *both("sliding-window", 0.95, 0.0009, **other)]
    assert verdict("sliding-window network", *rows) == OPEN


def test_one_seed_does_not_decide_against_or_for_the_sliding_window():
    found = status("sliding-window network", made(v_rand=0.97), made("systems", "sliding-window", 0.99))
    assert found.verdict == MEASURED
    assert "(1 pair)" in found.evidence


def test_the_sliding_window_is_compared_over_the_seeds_both_have():
    ours = [made(v_rand=v, seeds=[s]) for s, v in enumerate((0.95, 0.97, 0.99))]  # the best seed has no partner
    theirs = [made("systems", "sliding-window", v, seeds=[s]) for s, v in enumerate((0.98, 0.99))]
    found = status("sliding-window network", *ours, *theirs)
    assert found.evidence.startswith("V_Rand -0.02500 ± 0.00707 to 0.96000, ")
    assert "(2 pairs)" in found.evidence


def test_the_budget_of_the_sliding_window_is_that_of_the_u_net():
    rival = made("systems", "sliding-window", 0.95, steps=29028, budget={"steps": 3000})
    assert verdict("sliding-window network", made(steps=3000), rival) == MEASURED
    assert verdict("sliding-window network", made(steps=29028), rival) == OPEN


def test_in_a_given_time_the_sliding_window_is_compared_on_one_device():
    timed = [*both("unet", 0.97, 0.0005, budget={"seconds": 60.0}, steps=90)]
    there = both("sliding-window", 0.95, 0.0009, budget={"seconds": 60.0}, steps=400)
    assert verdict("sliding-window network", *timed, *there) == HELD
    elsewhere = [dataclasses.replace(row, device=CPU) for row in there]
    assert verdict("sliding-window network", *timed, *elsewhere) == OPEN


def test_a_short_training_does_not_decide_against_or_for_the_sliding_window():
    for v_rand, warping in ((0.6, 0.0009), (0.8, 0.0001)):
        rows = [*both("unet", 0.7, 0.0005), *both("sliding-window", v_rand, warping)]
        assert verdict("sliding-window network", *rows) == MEASURED


def test_a_trial_on_more_slices_does_not_stand_before_the_full_comparison():
    rows = [*both("unet", 0.97, 0.0005), *both("sliding-window", 0.95, 0.0009)]
    short = {"slices": THIRTY, "steps": 100, "budget": {"steps": 100}}
    rows += [*both("unet", 0.6, 0.0005, **short), *both("sliding-window", 0.5, 0.0009, **short)]
    assert verdict("sliding-window network", *rows) == HELD


def test_u_nets_of_table_1_and_of_the_methods_are_paired_together():
    ours = both("unet", 0.97, 0.0005)
    ours[0] = dataclasses.replace(ours[0], experiment="table1")
    found = status("sliding-window network", *ours, *both("sliding-window", 0.95, 0.0009))
    assert "(2 pairs)" in found.evidence


def test_u_nets_of_two_recipes_are_not_mixed_in_one_comparison():
    theirs = both("sliding-window", 0.95, 0.0009, recipe="s")
    ours, other = both("unet", 0.97, 0.0005, recipe="a"), both("unet", 0.2, 0.0005, recipe="b")[:1]
    assert verdict("sliding-window network", *theirs, *ours, *other) == HELD


def test_no_records_are_told_rather_than_claims_without_a_number(tmp_path):
    with pytest.raises(InputError, match=r"records\.jsonl does not exist; --out must be a folder of records"):
        claims.run(argparse.Namespace(out=tmp_path))


def test_list_prints_every_claim(tmp_path, capsys):
    (tmp_path / "records.jsonl").touch()
    claims.run(argparse.Namespace(out=tmp_path))
    text = capsys.readouterr().out
    for claim in CLAIMS:
        assert claim.text in text
        assert f"python -m reproduce {claim.command}" in text
