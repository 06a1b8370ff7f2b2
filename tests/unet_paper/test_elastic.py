"""Elastic deformation against SciPy, the identity, and the draw at the nodes."""

import elastic_oracles as oracle
import numpy as np
import pytest
import torch
from scipy import ndimage

from unet_paper.elastic import dense_displacement, draw_node_displacements, resample, spline_matrix, tile_coordinates


def deformed(rng, angle=0.7, size=96, centre=(40.2, 51.9)):
    """Coordinates of a deformed, rotated, shifted tile, once by us and once by SciPy."""
    nodes = draw_node_displacements(rng)
    matrix = spline_matrix(size)
    dense = dense_displacement(torch.tensor(nodes)[None], matrix, matrix)
    ours = tile_coordinates(torch.tensor([centre]), torch.tensor([angle]), dense)[0].numpy()
    return ours, oracle.coordinates(nodes, angle, centre, size)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coordinates_equal_the_scipy_reference(seed):
    ours, reference = deformed(np.random.default_rng(seed))
    np.testing.assert_allclose(ours, reference, atol=1e-3)


def test_nodes_reproduce_the_draw():
    nodes = torch.tensor(draw_node_displacements(np.random.default_rng(0)))[None]
    matrix = spline_matrix(573)
    dense = dense_displacement(nodes, matrix, matrix)
    torch.testing.assert_close(dense[..., ::286, ::286], nodes, atol=1e-4, rtol=0)


def test_the_draw_is_gaussian_of_the_papers_standard_deviation():
    rng = np.random.default_rng(0)
    draws = np.stack([draw_node_displacements(rng) for _ in range(2000)])
    assert draws.shape == (2000, 2, 3, 3)
    assert abs(draws.std() - 10) < 0.15
    assert abs(draws.mean()) < 0.2
    assert (np.abs(draws) > 20).mean() == pytest.approx(0.0455, abs=0.005)
    covariance = np.cov(draws.reshape(2000, 18).T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 10  # independent nodes and components


def test_weights_of_the_nodes_sum_to_one():
    for size, grid in ((572, 3), (100, 4), (7, 2)):
        torch.testing.assert_close(spline_matrix(size, grid).sum(1), torch.ones(size))


def test_zero_displacement_is_the_identity():
    rng = np.random.default_rng(0)
    image = torch.tensor(rng.random((1, 1, 60, 80)), dtype=torch.float32)
    still = tile_coordinates(torch.tensor([[29.5, 39.5]]), torch.zeros(1), torch.zeros(1, 2, 60, 80))
    for mode in ("cubic", "linear"):
        torch.testing.assert_close(resample(image, still, mode), image, atol=1e-4, rtol=0)
    assert torch.equal(resample(image, still, "nearest"), image)


@pytest.mark.parametrize(("mode", "order"), [("nearest", 0), ("linear", 1)])
def test_resampling_equals_scipy(mode, order):
    rng = np.random.default_rng(3)
    _, reference = deformed(rng, size=200)  # far beyond the border on all sides
    image = rng.random((70, 90)).astype(np.float32)
    got = resample(torch.tensor(image)[None, None], torch.tensor(reference, dtype=torch.float32)[None], mode)
    want = ndimage.map_coordinates(image, reference, order=order, mode="mirror")
    agree = np.isclose(got[0, 0].numpy(), want, atol=1e-3)
    assert agree.mean() > (0.999 if mode == "nearest" else 0.99999)  # nearest may differ at exact halves


def test_bicubic_resampling_equals_cubic_convolution_on_a_mirrored_image():
    rng = np.random.default_rng(4)
    image = rng.random((20, 30))
    points = rng.uniform([-40, -40], [59, 69], (200, 2)).T
    at = torch.tensor(points[None, :, None], dtype=torch.float32)
    got = resample(torch.tensor(image, dtype=torch.float32)[None, None], at, "cubic")[0, 0, 0]
    np.testing.assert_allclose(got, oracle.read_cubic(image, points), atol=1e-4)


def test_a_quarter_turn_is_exact():
    image = torch.rand(1, 1, 50, 50)
    at = tile_coordinates(torch.tensor([[24.5, 24.5]]), torch.tensor([torch.pi / 2]), torch.zeros(1, 2, 50, 50))
    torch.testing.assert_close(resample(image, at, "linear"), torch.rot90(image, -1, (2, 3)), atol=1e-4, rtol=0)


def test_a_one_pixel_image_is_constant_everywhere():
    at = torch.rand(1, 2, 4, 4) * 100 - 50
    assert torch.equal(resample(torch.full((1, 1, 1, 1), 3.0), at, "nearest"), torch.full((1, 1, 4, 4), 3.0))
