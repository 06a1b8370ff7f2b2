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
    torch.testing.assert_close(made.image.cpu(), image, rtol=0, atol=2e-3)
    torch.testing.assert_close(made.weights.cpu(), weights, rtol=0, atol=1e-2)
    assert (made.labels.cpu() != labels).float().mean() < 1e-4  # a coordinate between two pixels


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training_without_dropout_has_the_losses_of_the_processor(optimizer):
    recipe = small_recipe(optimizer=optimizer, learning_rate=1e-4)
    recipe = replace(recipe, network=partial(recipe.network, dropout=0.0))
    losses = [train(recipe, *small_stack(), seed=5, device=device)[1].loss for device in DEVICES]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


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
