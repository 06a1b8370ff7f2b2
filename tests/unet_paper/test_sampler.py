"""Tiles against the stack they come from."""

import numpy as np
import pytest
import torch

from unet_paper.config import AugmentationConfig
from unet_paper.sampler import TileSampler

STILL = AugmentationConfig(sigma=0.0, rotation=0.0, gain=0.0, offset=0.0)


@pytest.fixture
def stack():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 40, 50)).astype(np.float32)


def make(stack, augmentation=None):
    labels = (stack > 0).astype(np.uint8)
    return TileSampler(stack, labels, np.abs(stack), input_size=188, output_size=4, augmentation=augmentation)


def test_without_augmentation_a_tile_is_a_window_of_the_mirrored_slice(stack):
    sampler = make(stack, STILL)
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(40):
        drawn = sampler.draw(rng)
        tile = sampler(drawn)
        z, y, x = (int(np.floor(v)) for v in drawn[0, :3])
        seen.add(z)
        padded = np.pad(stack[z], 200, mode="reflect")
        top, left = y - 93 + 200, x - 93 + 200
        window = padded[top : top + 188, left : left + 188]
        np.testing.assert_allclose(tile.image[0, 0], window, atol=2e-3)
        centre = window[92:96, 92:96]
        assert np.array_equal(tile.labels[0], centre > 0)
        np.testing.assert_allclose(tile.weights[0], np.abs(centre), atol=2e-3)
    assert seen == {0, 1, 2}


def test_image_labels_and_weights_stay_aligned_under_deformation(stack):
    smooth = np.tile(np.linspace(-1, 1, 50, dtype=np.float32), (3, 40, 1))
    sampler = TileSampler(
        smooth, (smooth > 0).astype(np.uint8), smooth + 2, input_size=188, output_size=4,
        augmentation=AugmentationConfig(gain=0.0, offset=0.0),
    )  # fmt: skip
    rng = np.random.default_rng(2)
    for _ in range(30):
        tile = sampler(sampler.draw(rng))
        image = tile.image[0, 0, 92:96, 92:96]
        torch.testing.assert_close(tile.weights[0], image + 2, atol=0.03, rtol=0)
        clear = image.abs() > 0.05
        assert torch.equal(tile.labels[0][clear], (image > 0).long()[clear])


def test_gray_values_vary_by_factor_and_offset(stack):
    how = AugmentationConfig(sigma=0.0, rotation=0.0, gain=0.3, offset=0.2)
    sampler = make(stack, how)
    drawn = sampler.draw(np.random.default_rng(3), batch=200)
    assert np.all((drawn[:, 4] >= 0.7) & (drawn[:, 4] <= 1.3))
    assert np.all(np.abs(drawn[:, 5]) <= 0.2)
    assert drawn[:, 4].std() == pytest.approx(0.6 / 12**0.5, rel=0.2)
    varied, plain = drawn[:1], drawn[:1].copy()
    plain[:, 4:6] = 1, 0
    gain, offset = varied[0, 4:6].tolist()
    torch.testing.assert_close(sampler(varied).image, sampler(plain).image * gain + offset)


def test_the_same_draw_gives_the_same_tile_and_batches_equal_single_tiles(stack):
    sampler = make(stack)
    drawn = sampler.draw(np.random.default_rng(4), batch=3)
    together = sampler(drawn)
    for i in range(3):
        alone = sampler(drawn[i : i + 1])
        for whole, part in zip(together, alone):
            torch.testing.assert_close(whole[i : i + 1], part)


def test_positions_cover_the_slice_evenly(stack):
    drawn = make(stack).draw(np.random.default_rng(5), batch=6000)
    for column, count in ((0, 3), (1, 40), (2, 50)):
        found = np.bincount(np.floor(drawn[:, column]).astype(int), minlength=count)
        assert len(found) == count
        assert found.min() > 0.5 * 6000 / count
    angles = np.histogram(drawn[:, 3], bins=4, range=(0, 2 * np.pi))[0]
    assert angles.min() > 1300
