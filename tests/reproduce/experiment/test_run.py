"""Runs as data: which slices are trained on and which are held out, and what a run is known by."""

import json
import pickle
from dataclasses import replace

import pytest

from reproduce.experiment.run import Run, every_slice, inner, splits
from unet_paper.errors import InputError


def test_each_slice_is_held_out_once_and_never_trained_on():
    made = splits(30)
    assert sorted(z for split in made for z in split.held_out) == list(range(30))
    for split in made:
        assert sorted(split.train + split.held_out) == list(range(30))


def test_folds_are_given_once_and_in_order():
    assert [split.name for split in splits(10, [3, 0, 3])] == ["fold0", "fold3"]


def test_the_inner_split_leaves_the_folds_own_held_out_slices_alone():
    (split,) = splits(30, [2])
    within = inner(split)
    assert not {*within.train, *within.held_out} & {*split.held_out}
    assert sorted(within.train + within.held_out) == sorted(split.train)
    assert len(within.held_out) == len(split.held_out)
    assert within.name != split.name


@pytest.mark.parametrize("n_train", [1, 3, 6, 12, 23])
def test_fewer_training_slices_are_spread_over_those_of_the_fold(n_train):
    (split,) = splits(30, [1], n_train=n_train)
    (whole,) = splits(30, [1])
    assert len(set(split.train)) == n_train
    assert {*split.train} < {*whole.train}
    assert split.held_out == whole.held_out
    assert split.name == f"fold1-{n_train}slices"


def test_all_training_slices_are_the_fold_itself():
    assert splits(30, [1], n_train=24) == splits(30, [1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((4,), "4 slices; it must have at least 5"),
        ((30, [5]), "fold 5 does not exist"),
        ((30, [-1]), "fold -1 does not exist"),
        ((30, [0], 0), "0 training slices"),
        ((30, [0], 25), "it must be 1 to 24"),
    ],
)
def test_what_cannot_be_split_is_told(arguments, words):
    with pytest.raises(InputError, match=words):
        splits(*arguments)


def test_a_run_has_a_training_for_each_split_and_seed(method):
    run = Run("table1", method, splits(10, [1, 3]), (0, 7))
    assert [(split.name, seed) for split, seed in run.trainings] == [
        ("fold1", 0),
        ("fold3", 0),
        ("fold1", 7),
        ("fold3", 7),
    ]
    assert run.held_out == [2, 3, 6, 7]
    assert not run.on_test
    assert Run("table1", method, (every_slice(10),), (0,)).on_test


def test_a_run_is_known_by_recipe_splits_and_seeds_as_json_gives_them_back(method):
    run = Run("table1", method, splits(10, [1]), (0,))
    assert json.loads(json.dumps(run.configuration)) == run.configuration
    others = [
        replace(run, splits=splits(10, [1], n_train=3)),
        replace(run, seeds=(1,)),
        replace(run, method=replace(method, recipe=replace(method.recipe, steps=3))),
        replace(run, method=replace(method, predict={"padding": "zero"})),
    ]
    assert all(other.configuration != run.configuration for other in others)


def test_files_of_another_recipe_have_another_name(method):
    other = replace(method, recipe=replace(method.recipe, steps=3))
    assert method.label == f"unet-{method.recipe.digits}"
    assert other.label != method.label


def test_a_run_can_be_sent_to_another_process(method):
    run = Run("table1", method, splits(10, [1]), (0,))
    assert pickle.loads(pickle.dumps(run)).configuration == run.configuration
