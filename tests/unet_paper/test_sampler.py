"""Tiles against the formula of their draw, and the draw against the distributions it is of."""

import elastic_oracles as oracle
import numpy as np
import pytest
import torch
from scipy import ndimage

from unet_paper.config import AugmentationConfig
from unet_paper.errors import InputError
from unet_paper.sampler import TileSampler

STILL = AugmentationConfig(sigma=0.0, rotation=0.0, gain=0.0, offset=0.0)
SIDE, OUTPUT = 220, 36


@pytest.fixture
def stack():
    return np.random.default_rng(0).normal(size=(3, 40, 50)).astype(np.float32)


def make(stack, augmentation=None):
    labels = (stack > 0).astype(np.uint8)
    return TileSampler(
        stack, labels, np.abs(stack), input_size=SIDE, output_size=OUTPUT, augmentation=augmentation
    )  # fmt: skip


@pytest.mark.parametrize("grid", [3, 4])
def test_a_tile_is_the_formula_of_its_draw(stack, grid):
    """Two tiles with displaced nodes, an angle, a centre off the grid, a gain and an offset, by NumPy and SciPy."""
    nodes = np.random.default_rng(1).normal(0, 10, (2, 2, grid, grid))
    drawn = np.array(
        [[2, 17.3, 30.8, 0.7, 1.2, -0.3, *nodes[0].ravel()], [0, 3.6, 44.1, 4.0, 0.8, 0.25, *nodes[1].ravel()]],
        np.float32,
    )
    tile = make(stack, AugmentationConfig(grid=grid))(drawn)
    assert (tile.image.dtype, tile.labels.dtype, tile.weights.dtype) == (torch.float32, torch.int64, torch.float32)
    assert (tile.image.shape, tile.labels.shape, tile.weights.shape) == (
        (2, 1, SIDE, SIDE),
        (2, OUTPUT, OUTPUT),
        (2, OUTPUT, OUTPUT),
    )
    margin = (SIDE - OUTPUT) // 2
    for i, (z, y, x, angle, gain, offset) in enumerate(drawn[:, :6].astype(float)):
        plane = stack[int(z)]
        at = oracle.coordinates(nodes[i], angle, (y, x), SIDE)
        np.testing.assert_allclose(tile.image[i, 0], gain * oracle.read_cubic(plane, at) + offset, atol=2e-3)
        at = at[:, margin:-margin, margin:-margin]
        weights = ndimage.map_coordinates(np.abs(plane), at, order=1, mode="mirror")
        np.testing.assert_allclose(tile.weights[i], weights, atol=1e-3)
        labels = ndimage.map_coordinates((plane > 0).astype(int), at, order=0, mode="mirror")
        clear = (np.abs(at % 1 - 0.5) > 1e-3).all(axis=0)  # between two pixels rounding decides
        assert clear.mean() > 0.99
        assert np.array_equal(tile.labels[i].numpy()[clear], labels[clear])


def test_without_augmentation_a_tile_is_a_window_of_the_mirrored_slice(stack):
    sampler = make(stack, STILL)
    rng = np.random.default_rng(1)
    for _ in range(8):
        drawn = sampler.draw(rng)
        tile = sampler(drawn)
        z, y, x = (int(np.floor(v)) for v in drawn[0, :3])
        padded = np.pad(stack[z], 200, mode="reflect")
        top, left = y - SIDE // 2 + 1 + 200, x - SIDE // 2 + 1 + 200
        window = padded[top : top + SIDE, left : left + SIDE]
        np.testing.assert_allclose(tile.image[0, 0], window, atol=2e-3)
        centre = window[92:-92, 92:-92]
        assert np.array_equal(tile.labels[0], centre > 0)
        np.testing.assert_allclose(tile.weights[0], np.abs(centre), atol=2e-3)


def test_gain_and_offset_are_uniform_on_both_sides(stack):
    drawn = make(stack, AugmentationConfig(gain=0.3, offset=0.2)).draw(np.random.default_rng(3), batch=400)
    for values, low, high in ((drawn[:, 4], 0.7, 1.3), (drawn[:, 5], -0.2, 0.2)):
        share = np.histogram(values, bins=4, range=(low, high))[0] / len(values)
        assert share.sum() == 1
        assert share.min() > 0.15


@pytest.mark.parametrize("rotation", [360.0, 90.0])
def test_angles_are_uniform_below_the_rotation(stack, rotation):
    drawn = make(stack, AugmentationConfig(rotation=rotation)).draw(np.random.default_rng(4), batch=400)
    share = np.histogram(drawn[:, 3], bins=4, range=(0, np.deg2rad(rotation)))[0] / len(drawn)
    assert share.sum() == 1
    assert share.min() > 0.15


def test_nodes_are_gaussian_of_the_configured_standard_deviation(stack):
    drawn = make(stack, AugmentationConfig(sigma=7.0, grid=4)).draw(np.random.default_rng(5), batch=400)
    assert drawn.shape == (400, 6 + 2 * 4 * 4)
    np.testing.assert_allclose(drawn[:, 6:].std(axis=0), 7, rtol=0.15)
    np.testing.assert_allclose(drawn[:, 6:].mean(axis=0), 0, atol=1.5)


def test_positions_cover_the_slices_evenly(stack):
    drawn = make(stack).draw(np.random.default_rng(5), batch=6000)
    for column, count, middle in ((0, 3, 0), (1, 40, 0.5), (2, 50, 0.5)):  # even sides lie on whole pixels about a half
        found = np.bincount(np.floor(drawn[:, column]).astype(int), minlength=count)
        assert len(found) == count
        assert found.min() > 0.5 * 6000 / count
        assert set(drawn[:, column] % 1) == {middle}


def test_the_parts_of_a_draw_are_independent(stack):
    correlation = np.corrcoef(make(stack).draw(np.random.default_rng(7), batch=6000).T)
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.1


def test_the_next_draw_is_another(stack):
    sampler, generator = make(stack), np.random.default_rng(6)
    first, second = sampler.draw(generator), sampler.draw(generator)
    assert (first[:, 1:] != second[:, 1:]).all()


def test_how_a_stack_lies_in_memory_does_not_matter_and_it_is_not_written_to(stack):
    labels, weights = (stack > 0).astype(np.int32), np.abs(stack)
    drawn = make(stack).draw(np.random.default_rng(0))
    expected = make(stack)(drawn)
    turned = [
        array[:, ::-1, ::-1].copy()[:, ::-1, ::-1] for array in (stack, labels.astype(">i4"), weights.astype(">f4"))
    ]
    for array in turned:
        array.flags.writeable = False
    sampler = TileSampler(*turned, input_size=SIDE, output_size=OUTPUT)
    for found, wanted in zip(sampler(drawn), expected, strict=True):
        assert torch.equal(found, wanted)
    sampler = make(stack)
    stack[:] = 0
    assert torch.equal(sampler(drawn).image, expected.image)


@pytest.mark.parametrize(("part", "shape"), [(0, (40, 50)), (1, (3, 50, 40)), (1, (4, 40, 50)), (2, (3, 40, 40))])
def test_stacks_of_different_shapes_are_refused(stack, part, shape):
    stacks = [stack, stack, stack]
    stacks[part] = np.zeros(shape, np.float32)
    with pytest.raises(InputError, match=r"all must be .Z, H, W. of the same shape"):
        TileSampler(*stacks)
