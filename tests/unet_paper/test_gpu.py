"""A GPU does what the processor does: tiles, loss, training and prediction."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_training import small_recipe, small_stack

from unet_paper.model import UNet
from unet_paper.predict import predict_stack
from unet_paper.train import Descent, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ("cpu", "cuda")


@pytest.fixture(autouse=True)
def exact_products():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def test_tiles_are_those_of_the_processor():
    processor, gpu = (Descent(small_recipe(), *small_stack(), seed=3, device=device).sampler for device in DEVICES)
    drawn = processor.draw(np.random.default_rng(0), 4)
    (image, labels, weights), made = processor(drawn), gpu(drawn)
    torch.testing.assert_close(made.image.cpu(), image, rtol=0, atol=1e-3)
    torch.testing.assert_close(made.weights.cpu(), weights, rtol=0, atol=5e-3)
    assert (made.labels.cpu() != labels).sum() <= 2  # a coordinate between two pixels


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 1e-2)])
@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 4e-3), ("adam", 1e-4)])
def test_training_without_dropout_has_the_losses_of_the_processor(optimizer, rate, precision, tolerance):
    recipe = small_recipe(optimizer=optimizer, learning_rate=rate)
    recipe = replace(recipe, network=partial(recipe.network, dropout=0.0))
    expected = train(recipe, *small_stack(), seed=5)[1].loss
    found = train(replace(recipe, precision=precision), *small_stack(), seed=5, device="cuda")[1].loss
    np.testing.assert_allclose(found, expected, rtol=tolerance)


@pytest.mark.parametrize("rotations", ["none", "eight", "seven"])
def test_a_stack_is_segmented_as_on_the_processor(rotations):
    torch.manual_seed(0)
    model, images = UNet(base_channels=4), small_stack()[0]
    options = {"mean": 0.5, "std": 0.2, "rotations": rotations, "tile": 132, "stride": 128}
    maps = {
        (device, precision): predict_stack(model, images, device=device, precision=precision, **options)
        for device, precision in (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"))
    }
    expected = maps["cpu", "float32"]
    np.testing.assert_allclose(maps["cuda", "float32"], expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(maps["cuda", "bfloat16"], expected, rtol=0, atol=3e-2)
    assert np.abs(maps["cuda", "bfloat16"] - maps["cuda", "float32"]).max() > 1e-4


def test_a_second_training_counts_its_own_memory_alone():
    peaks = []
    for _ in range(2):
        descent = Descent(small_recipe(), *small_stack(), seed=5, device="cuda")
        for step in range(5):  # captured and replayed
            descent(step)
        peaks.append(torch.cuda.max_memory_allocated())
        del descent
    assert peaks[1] == pytest.approx(peaks[0], rel=0.05)
