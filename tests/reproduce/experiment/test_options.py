"""Options of the commands and the recipes they stand for."""

import argparse
from dataclasses import asdict

import pytest

from reproduce.experiment import options
from unet_paper.config import ADAM, ExperimentConfig
from unet_paper.device import choose_precision
from unet_paper.recipe import recipe_config

PAPER = ExperimentConfig()


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    options.add_run_arguments(parser)
    return recipe_config("cpu", **options.recipe_arguments(parser.parse_args(words)))


def test_without_options_the_recipe_is_the_papers_in_the_precision_of_the_device():
    paper = asdict(PAPER)
    paper["training"]["precision"] = choose_precision("cpu")
    assert asdict(parsed()) == paper


def test_each_option_changes_what_it_names():
    words = "--steps 90 --base-channels 3 --optimizer adam --learning-rate 0.5 --warmup 7"
    config = parsed(*words.split())
    training = config.training
    assert (training.steps, config.network.base_channels, training.optimizer) == (90, 3, "adam")
    assert (training.learning_rate, training.warmup_steps) == (0.5, 7)


def test_a_short_training_warms_up_for_a_third_at_most():
    assert parsed("--steps", "9").training.warmup_steps == 3
    assert parsed("--steps", "9000").training.warmup_steps == PAPER.training.warmup_steps
    assert parsed("--steps", "9", "--warmup", "8").training.warmup_steps == 8
    assert parsed("--steps", "9", "--warmup", "0").training.warmup_steps == 0


def test_adam_has_a_rate_and_a_warm_up_of_its_own():
    training = parsed("--optimizer", "adam").training
    assert {name: getattr(training, name) for name in ADAM} == ADAM


def test_the_conditions_of_a_recipe_tell_its_options_apart():
    base = options.recipe_conditions(parsed())
    for words in (["--base-channels", "3"], ["--optimizer", "adam"], ["--learning-rate", "0.5"], ["--warmup", "3"]):
        assert options.recipe_conditions(parsed(*words)) != base


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan"])
def test_numbers_that_are_not_positive_are_told(text):
    with pytest.raises(argparse.ArgumentTypeError, match="must be finite and above 0"):
        options.positive(text)
