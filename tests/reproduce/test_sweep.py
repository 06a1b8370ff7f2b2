"""The sweep chooses on training slices: those for which a score is reported are not looked at."""

import itertools

import pytest
from small_experiment import numbers

from data_scripts.phantom import write_phantom
from reproduce import __main__ as commands
from reproduce import records
from reproduce.data import load_data
from unet_paper.errors import NonFiniteLoss

BASE = ["--learning-rates", "0.1", "--steps", "2", "--warmup", "0", "--base-channels", "2"]


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ten")
    write_phantom(folder, n_slices=10, size=64, seed=0)
    return folder


@pytest.fixture
def run(ten, tiny, work, tmp_path):
    return lambda *more: commands.main(
        ["sweep", "--data", str(ten), "--out", str(tmp_path), "--device", "cpu", *BASE, *more]
    )


@pytest.fixture
def recorded(tmp_path):
    return lambda: records.read(tmp_path / "records.jsonl")


@pytest.mark.parametrize("fold", [0, 2, 4])
def test_the_held_out_slices_of_the_fold_are_neither_trained_on_nor_scored(run, work, ten, recorded, fold):
    assert run("--fold", str(fold)) == 0
    data = load_data(ten)
    (trained,), (call,) = work.trained, work.predicted
    held_out = {2 * fold, 2 * fold + 1}
    on, scored = numbers(trained.images, data.images), numbers(call.images, data.images)
    assert on == numbers(trained.labels, data.labels)
    assert not held_out & {*on, *scored}
    assert sorted([*on, *scored, *held_out]) == list(range(10))
    (record,) = recorded()
    assert (record.conditions["slices"], record.conditions["folds"]) == (scored, [f"fold{fold}-inner"])


def test_by_default_the_last_fold_is_chosen_on(run, recorded):
    assert run() == 0
    assert recorded()[0].conditions["folds"] == ["fold4-inner"]


def test_every_combination_is_trained_and_recorded_under_its_settings(run, work, recorded):
    asked = "--learning-rates 0.1 0.2 --steps 4 2 --warmup 0 1 --seed 5 --rotations seven --optimizer adam"
    assert run(*asked.split()) == 0
    expected = list(itertools.product((2, 4), (0, 1), (0.1, 0.2)))
    for (steps, warmup, rate), trained, record in zip(expected, work.trained, recorded(), strict=True):
        recipe = trained.recipe
        assert (recipe.steps, trained.seed) == (steps, 5)
        assert recipe.schedule.keywords == {"peak": rate, "warmup": warmup}
        assert recipe.configuration["optimizer"]["name"] == "Adam"
        settings = {"steps": steps, "warmup_steps": warmup, "learning_rate": rate, "rotations": "seven"}
        assert settings.items() <= record.conditions.items()
        assert (record.conditions["base_channels"], record.conditions["optimizer"]) == (2, "adam")
        assert (record.experiment, record.name) == ("sweep", "sweep")
    assert len({record.conditions["title"] for record in recorded()}) == len(expected)


def test_what_diverged_is_a_row_like_the_others(run, work, recorded):
    work.failing[0] = NonFiniteLoss("the loss is not finite at step 1")
    assert run("--learning-rates", "9", "0.1") == 0
    failed, made = recorded()
    assert (failed.conditions["learning_rate"], failed.scores) == (9.0, {})
    assert made.scores


def test_an_illegal_combination_is_told_before_any_is_trained(run, work, capsys):
    assert run("--warmup", "0", "2") == 2
    assert "the warm-up is 2 steps" in capsys.readouterr().err
    assert not work.trained
