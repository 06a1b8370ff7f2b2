"""The main job in minutes: what it trains with."""

from reproduce import quick
from unet_paper.train import paper_recipe


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    recipe = paper_recipe(quick.config())
    rates = [recipe.learning_rate(step) for step in range(recipe.steps)]
    assert max(rates) == quick.LEARNING_RATE == rates[quick.WARMUP_STEPS]
    assert rates[-1] < 0.01 * quick.LEARNING_RATE
