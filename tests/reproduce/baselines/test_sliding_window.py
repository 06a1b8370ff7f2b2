"""N4: its numbers, the exactness of the dense form, and its patches."""

import numpy as np
import pytest
import torch
from reproduce.systems.sliding_window import MARGIN, WINDOW, PatchSampler, SlidingWindow, measure_speed

from reproduce.systems import common, sliding_window
from unet_paper.config import ExperimentConfig
from unet_paper.errors import InputError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SlidingWindow()


def test_parameters(network):
    assert sum(p.numel() for p in network.parameters()) == 219_290


def test_multiply_adds_of_a_slice_in_both_forms_and_their_ratio():
    with torch.device("meta"):
        network = SlidingWindow()
        dense = common.multiply_adds(network.eval(), 1, 1, 512 + 94, 512 + 94)
        window = common.multiply_adds(network.train(), 1, 1, WINDOW, WINDOW)
    assert window == sliding_window.PATCH_MACS
    assert round(dense / 1e9, 2) == 66.99
    assert round(window * 512**2 / 1e12, 2) == 31.84
    assert round(window * 512**2 / dense) == 475


def test_map_sizes_of_the_paper(network):
    sides = []
    hooks = [m.register_forward_hook(lambda m, i, o: sides.append(o.shape[-1])) for m in network.convolutions]
    network.patchwise(torch.zeros(1, 1, WINDOW, WINDOW))
    for hook in hooks:
        hook.remove()
    assert sides == [92, 42, 18, 6]


def test_dense_form_equals_patch_by_patch(network):
    torch.manual_seed(1)
    image = torch.randn(1, 1, WINDOW + 17, WINDOW + 20)
    with torch.no_grad():
        dense = network.eval()(image)  # (1, 2, 18, 21)
        windows = image[0, 0].unfold(0, WINDOW, 1).unfold(1, WINDOW, 1)
        some = [(0, 0), (17, 20), (1, 0), (0, 1), (3, 5), (8, 16), (9, 2), (15, 13), (16, 7), (7, 19)]
        patches = torch.stack([windows[y, x] for y, x in some])[:, None]
        one_by_one = network.train()(patches)
    assert dense.shape == (1, 2, 18, 21)
    assert dense.std() > 0.01
    for (y, x), logits in zip(some, one_by_one):
        assert (dense[0, :, y, x] - logits[:, 0, 0]).abs().max() < 1e-5


def test_illegal_sizes(network):
    with pytest.raises(InputError, match="legal: 95 and more"):
        network.eval()(torch.zeros(1, 1, 94, 200))
    with pytest.raises(InputError, match=r"legal: \(95, 95\)"):
        network.train()(torch.zeros(1, 1, 96, 96))


def test_patches_are_balanced_and_centred_on_their_pixel():
    rng = np.random.default_rng(0)
    labels = (rng.random((2, 40, 50)) < 0.9).astype(np.uint8)  # one membrane pixel in ten
    images = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)  # each pixel tells where it is
    sampler = PatchSampler(images, labels)
    drawn = sampler.draw(rng, 100)
    tile = sampler(drawn)
    assert tile.image.shape == (100, 1, WINDOW, WINDOW)
    assert tile.labels.sum() == 50
    centres = tile.image[:, 0, MARGIN, MARGIN].long()
    assert torch.equal(torch.as_tensor(labels.ravel())[centres].long(), tile.labels.ravel())
    assert len(set(drawn[:, 2])) == 8


def test_the_eight_symmetries_are_those_of_the_square():
    rng = np.random.default_rng(0)
    images = rng.random((1, 120, 130)).astype(np.float32)
    labels = np.ones(images.shape, np.uint8)
    labels[0, 60, 60] = 0  # far enough from the border to see no mirror
    patch = images[0, 60 - MARGIN : 61 + MARGIN, 60 - MARGIN : 61 + MARGIN]
    drawn = np.array([[0, 60 * 130 + 60, k] for k in range(8)])
    made = {t.numpy().tobytes() for t in PatchSampler(images, labels)(drawn).image[:, 0]}
    expected = {np.ascontiguousarray(np.rot90(p, k)).tobytes() for p in (patch, patch.T) for k in range(4)}
    assert made == expected


def test_training_labels_of_one_class_are_refused():
    with pytest.raises(InputError, match="one class only"):
        PatchSampler(np.zeros((1, 60, 60), np.float32), np.ones((1, 60, 60)))


def test_the_budget_is_the_unets():
    recipe = sliding_window.build(ExperimentConfig()).recipe
    windows = recipe.steps * recipe.batch
    assert windows * sliding_window.PATCH_MACS == pytest.approx(ExperimentConfig().training.steps * 150.43e9, rel=1e-3)


def test_the_dense_form_is_much_faster():
    speed = measure_speed(SlidingWindow(maps=8, hidden=8), side=64, windows=8, repeats=1)
    assert speed.ratio == speed.patchwise_seconds / speed.dense_seconds
    assert speed.ratio > 10
