"""Each system's network and loss overfit one small synthetic slice, through the project's training loop."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from data_scripts.phantom import make_phantom
from reproduce.systems import (
    SYSTEMS,
    build_system,
    common,
    fcn,
    keras_unet,
    mmsegmentation,
    modern,
    sliding_window,
    u2net,
    variants,
)
from unet_paper.config import AugmentationConfig, ExperimentConfig, TrainingConfig
from unet_paper.overlap_tile import predict_overlap_tile
from unet_paper.predict import read_weights, save_weights
from unet_paper.train import train, warmup_cosine

STILL = AugmentationConfig(sigma=0, rotation=0, gain=0, offset=0)
CONFIG = ExperimentConfig(augmentation=STILL, training=TrainingConfig(input_size=252, precision="float32"))


@pytest.fixture(scope="module")
def phantom():
    images, labels = make_phantom(1, 96, 96, seed=3)
    return images.astype(np.float32) / 255, (labels > 0).astype(np.uint8)


def learn(phantom, name, build, steps, sampler=None, rate=3e-3, batch=None):
    """Balanced accuracy on the slice it was trained on, of a network trained with the system's own loss."""
    system = build_system(name, CONFIG)
    recipe = replace(
        system.recipe,
        build=build,
        optimizer=partial(torch.optim.Adam, lr=rate),
        learning_rate=partial(warmup_cosine, steps=steps, peak=rate, warmup=5),
        sampler=sampler or system.recipe.sampler,
        steps=steps,
        batch=batch or system.recipe.batch,
    )
    images, labels = phantom
    network, curve = train(recipe, images, labels, seed=0)
    network.eval()
    image = torch.as_tensor((images[0] - images.mean()) / images.std())
    margin = network.margin if isinstance(network, common.Padded) else system.predict.get("margin")
    predict = {"tile": 96, "margin": margin} if margin else {"tile": 100}
    cell = predict_overlap_tile(network, image, stride=96, **predict).softmax(0)[1].numpy() > 0.5
    assert curve.loss[-1] < curve.loss[0]
    return np.mean([(cell == labels[0])[labels[0] == k].mean() for k in (0, 1)])


SMALL = common.plain_sampler(CONFIG, size=128)


def test_fcn(phantom):
    assert learn(phantom, "fcn", lambda: fcn.AddedSkips(base_channels=8, dropout=0.0), 80, rate=5e-3) > 0.9


def test_keras(phantom):
    build = lambda: common.Padded(keras_unet.KerasUNet(base_channels=8), 16)  # noqa: E731
    assert learn(phantom, "keras-unet", build, 60, SMALL, rate=5e-3) > 0.9


def test_mmsegmentation(phantom):
    build = lambda: common.Padded(mmsegmentation.UNetS5D16(base_channels=16), 16)  # noqa: E731
    assert learn(phantom, "mmsegmentation", build, 50, SMALL, rate=5e-3) > 0.9


def test_u2net(phantom):
    build = lambda: common.Padded(u2net.U2Net(width=1 / 8), 32)  # noqa: E731
    assert learn(phantom, "u2net", build, 80, SMALL, rate=1e-2) > 0.9


def test_sliding_window(phantom):
    build = partial(sliding_window.SlidingWindow, maps=12, hidden=24)
    assert learn(phantom, "sliding-window", build, 150, rate=4e-3, batch=16) > 0.75


@pytest.mark.filterwarnings("default")
def test_modern(phantom):
    build = lambda: common.Padded(modern.network(channels=(6, 8, 8, 8, 8, 8, 8, 8)), 128, margin=144)  # noqa: E731
    tiles = common.plain_sampler(CONFIG, size=256)  # the deepest of eight levels then has more than one pixel
    assert learn(phantom, "modern", build, 60, tiles, rate=1e-2) > 0.9


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_takes_a_step_as_recorded_and_its_weights_come_back(name, phantom, tmp_path):
    recipe = replace(build_system(name, ExperimentConfig()).recipe, steps=1)
    network, curve = train(recipe, *phantom, seed=0)
    assert recipe.precision == "bfloat16"
    assert np.isfinite(curve.loss).all()
    save_weights(tmp_path / "net.safetensors", network, {"image_mean": 0.5, "image_std": 0.2})
    back = recipe.build()
    read_weights(tmp_path / "net.safetensors", back)
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in network.state_dict().items())


def test_padded_variant(phantom):
    build = partial(variants.padded, base_channels=6, dropout=0.0)
    assert learn(phantom, "unet", build, 60, SMALL) > 0.9
