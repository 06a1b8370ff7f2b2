"""Claims: every one has a place, a check and a status, and the status follows from the records."""

import argparse
import dataclasses
import re

import pytest
from made_rows import CPU, made

from reproduce import ablations
from reproduce.records import ROOT
from reproduce.report import claims
from reproduce.report.claims import CLAIMS, HELD, MEASURED, NOT_HELD, OPEN, claims_table
from reproduce.report.select import BASE, read_numbers
from reproduce.systems import build_system
from unet_paper.config import ExperimentConfig

NUMBERS = {number["id"]: number for number in read_numbers()}


def state(word, *records):
    """State of the first claim whose text has `word`."""
    claim = next(claim for claim in CLAIMS if word in claim.text)
    return claim.status(list(records), NUMBERS).state


def test_the_numbers_in_the_words_of_a_claim_are_the_published_ones():
    for metric in ("warping_error", "rand_error", "pixel_error"):
        value = f"{NUMBERS[f'table1/unet/{metric}']['value']:g}"
        assert any(value in claim.text for claim in CLAIMS)
    (training,) = [claim.text for claim in CLAIMS if "Titan" in claim.text]
    assert re.findall(r"\d+", training) == [str(NUMBERS[n]["value"]) for n in ("training_time", "training_memory")]


def test_every_test_that_is_named_as_proof_exists():
    named = re.findall(r"`(tests/\w+\.py)`", claims_table([], read_numbers()))
    assert len(named) == 3
    for path in named:
        assert (ROOT / path).is_file()


def test_without_records_nothing_measured_is_claimed():
    states = [claim.status([], NUMBERS).state for claim in CLAIMS]
    assert sum(state.startswith(HELD) for state in states) == 3
    assert {state for state in states if not state.startswith(HELD)} == {OPEN}


def test_seamless_tiling_is_claimed_for_legal_strides_only():
    text = claims_table([], read_numbers())
    assert "**held, but not for abutting 388 px tiles** | tiles equal one pass at strides that are multiples of" in text


def test_held_out_slices_of_the_training_stack_do_not_decide_a_score_of_the_paper():
    assert state("warping error", made()) == MEASURED


def test_slices_of_folds_that_are_not_neighbours_are_counted():
    found = claims.score_of_table1("rand_error")([made(slices=[0, 1, 2, 3, 4, 5, 24, 25, 26, 27, 28, 29])], NUMBERS)
    assert "on 12 held-out slices" in found.evidence


def test_labels_of_the_test_volume_do():
    def tested(value):
        record = made(slices=list(range(30)), volume="test")
        return dataclasses.replace(record, scores=record.scores | {"warping_error": value})

    assert state("warping error", tested(0.0003)) == HELD
    assert state("warping error", tested(0.0005)) == NOT_HELD


@pytest.mark.parametrize(("hours", "expected"), [(1, HELD), (11, NOT_HELD)])
def test_training_time_is_held_against_ten_hours(hours, expected):
    assert state("Titan", made(measures={"train_seconds": 3600.0 * hours})) == expected


def test_a_training_that_falls_short_of_the_papers_score_decides_nothing():
    short = made(measures={"train_seconds": 3600.0}, v_rand=0.93)
    assert state("Titan", short) == MEASURED
    assert state("Titan", made(measures={"train_seconds": 3600.0 * 11}, v_rand=0.93)) == NOT_HELD


def test_only_a_gpu_decides_the_time_of_training():
    for hours, v_rand in ((1, 0.98), (11, 0.98), (1, 0.93), (11, 0.93)):
        row = made(measures={"train_seconds": 3600.0 * hours}, v_rand=v_rand, device=CPU)
        assert state("Titan", row) == MEASURED


def test_of_two_trainings_the_newer_counts():
    older, newer = made(steps=100), made(steps=200)
    newer = dataclasses.replace(newer, scores=newer.scores | {"pixel_error": 0.0123})
    for found in ([older, newer], [newer, older]):
        evidence = claims.score_of_table1("pixel_error")(found, NUMBERS).evidence
        assert ("0.0123" in evidence) == (found[-1] is newer)


def test_training_time_is_that_of_one_network():
    folds = [f"fold{i}" for i in range(5)]
    assert state("Titan", made(measures={"train_seconds": 3600.0 * 20}, folds=folds)) == HELD
    averaged = made(measures={"train_seconds": 3600.0 * 20}, seeds=[0, 1], v_rand=0.99)
    assert averaged.network_seconds == 3600.0 * 10
    assert state("Titan", averaged) == OPEN


def test_only_a_gpu_decides_the_second_a_slice():
    fast = {"predict_seconds_per_slice": 0.5}
    assert state("less than a second", made(measures=fast, rotations="none", device=CPU)) == MEASURED
    assert state("less than a second", made(measures=fast, rotations="none")) == HELD
    assert state("less than a second", made(measures={"predict_seconds_per_slice": 2.0}, rotations="none")) == NOT_HELD
    assert state("less than a second", made(measures=fast, rotations="eight")) == OPEN
    row = made("benchmark", "compiled", None, measures={"latency_seconds": 0.01}, group="inference", batch=1)
    assert state("less than a second", row) == HELD


def ablation(*pairs):
    names = (BASE, "no-elastic")
    return [made("ablations", n, v, seeds=[s]) for s, pair in enumerate(pairs) for n, v in zip(names, pair)]


def test_the_unchanged_recipe_has_one_name():
    assert ablations.BASE == BASE


def test_a_part_of_the_recipe_matters_if_leaving_it_out_costs_more_than_the_spread():
    assert state("elastic", *ablation((0.97, 0.96), (0.97, 0.961))) == HELD
    assert state("elastic", *ablation((0.97, 0.979), (0.97, 0.98))) == NOT_HELD
    assert state("elastic", *ablation((0.97, 0.96), (0.97, 0.979))) == MEASURED
    assert state("elastic", *ablation((0.97, 0.97), (0.97, 0.97))) == MEASURED
    assert state("elastic", *ablation((0.97, 0.96))) == MEASURED


def test_the_sliding_window_is_compared_under_one_protocol_only():
    def both(name, v_rand, warping, **conditions):
        runs = [made(*name, v_rand, seeds=[seed], **conditions) for seed in (0, 1)]
        return [dataclasses.replace(r, scores=r.scores | {"warping_error": warping}) for r in runs]

    unet, rival = ("table1", "unet"), ("systems", "sliding-window")
    ours = both(unet, 0.97, 0.0005)
    assert state("sliding-window network", *ours, *both(rival, 0.95, 0.0009)) == HELD
    assert state("sliding-window network", *ours, *both(rival, 0.95, 0.0001)) == MEASURED
    assert state("sliding-window network", *ours, *both(rival, 0.99, 0.0001)) == NOT_HELD
    for other in ({"slices": [0, 1]}, {"rotations": "none"}, {"steps": 3001}, {"budget": {"seconds": 60.0}}):
        assert state("sliding-window network", *ours, *both(rival, 0.95, 0.0009, **other)) == OPEN


def test_one_seed_does_not_decide_against_or_for_the_sliding_window():
    ours, theirs = made(v_rand=0.97), made("systems", "sliding-window", 0.99)
    found = claims.beats_sliding_window([ours, theirs], NUMBERS)
    assert found.state == MEASURED
    assert found.evidence.endswith("one seed")
    assert state("sliding-window network", ours, made("systems", "sliding-window", 0.95, seeds=[1])) == OPEN


def test_the_sliding_window_is_compared_by_means_over_the_seeds_both_have():
    ours = [made(v_rand=v, seeds=[s]) for s, v in enumerate((0.95, 0.97, 0.99))]  # the best seed has no partner
    theirs = [made("systems", "sliding-window", v, seeds=[s]) for s, v in enumerate((0.98, 0.955))]
    found = claims.beats_sliding_window([*ours, *theirs], NUMBERS)
    assert found.state == NOT_HELD
    assert "0.96000 against 0.96750" in found.evidence
    assert "2 seeds" in found.evidence


def test_the_budget_of_the_sliding_window_is_that_of_the_u_net():
    def steps(name):
        return build_system(name, ExperimentConfig()).recipe.steps

    budget = {"steps": steps("sliding-window"), "budget": {"steps": steps("unet")}}
    rival = made("systems", "sliding-window", 0.95, **budget)
    assert state("sliding-window network", made(steps=steps("unet")), rival) == MEASURED
    timed = [
        made("systems", name, v, budget={"seconds": 60.0}, steps=n + seed, seeds=[seed])
        for name, v, n in (("unet", 0.97, 90), ("sliding-window", 0.95, 400))
        for seed in (0, 1)
    ]
    assert "2 seeds" in claims.beats_sliding_window(timed, NUMBERS).evidence
    elsewhere = [dataclasses.replace(row, device=CPU) for row in timed[2:]]
    assert state("sliding-window network", *timed[:2], *elsewhere) == OPEN


def test_list_prints_every_claim(tmp_path, capsys):
    assert claims.run(argparse.Namespace(out=tmp_path)) == 0
    text = capsys.readouterr().out
    for claim in CLAIMS:
        assert claim.text in text
        assert f"python -m reproduce {claim.command}" in text
