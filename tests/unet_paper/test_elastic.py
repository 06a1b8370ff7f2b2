"""Elastic deformation against SciPy, the identity, and the draw at the nodes."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from unet_paper.elastic import dense_displacement, draw_node_displacements, resample, spline_matrix, tile_coordinates


def coordinates(rng, sigma=10.0, angle=0.7, size=96, centre=(40.2, 51.9)):
    """Composed coordinates of a deformed, rotated, shifted tile, once by us and once by SciPy."""
    nodes = draw_node_displacements(rng, sigma=sigma)
    matrix = spline_matrix(size)
    dense = dense_displacement(torch.tensor(nodes)[None], matrix, matrix)
    ours = tile_coordinates(torch.tensor([centre]), torch.tensor([angle]), dense)[0].numpy()
    at = np.stack(np.meshgrid(*2 * [np.linspace(0, 2, size)], indexing="ij"))
    u = np.stack([ndimage.map_coordinates(c.astype(float), at, order=3, mode="mirror") for c in nodes])
    x = np.stack(np.meshgrid(*2 * [np.arange(size) - (size - 1) / 2], indexing="ij")) + u
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return ours, np.einsum("ij,jyx->iyx", rotation, x) + np.reshape(centre, (2, 1, 1))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coordinates_equal_the_scipy_reference(seed):
    ours, reference = coordinates(np.random.default_rng(seed))
    np.testing.assert_allclose(ours, reference, atol=1e-3)


def test_nodes_reproduce_the_draw():
    nodes = torch.tensor(draw_node_displacements(np.random.default_rng(0)))[None]
    matrix = spline_matrix(573)
    dense = dense_displacement(nodes, matrix, matrix)
    torch.testing.assert_close(dense[..., ::286, ::286], nodes, atol=1e-4, rtol=0)


def test_the_draw_has_the_papers_standard_deviation():
    rng = np.random.default_rng(0)
    draws = np.stack([draw_node_displacements(rng) for _ in range(2000)])
    assert draws.shape == (2000, 2, 3, 3)
    assert abs(draws.std() - 10) < 0.15
    assert abs(draws.mean()) < 0.2
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
    _, reference = coordinates(rng, size=200)  # far beyond the border on all sides
    image = rng.random((70, 90)).astype(np.float32)
    got = resample(torch.tensor(image)[None, None], torch.tensor(reference, dtype=torch.float32)[None], mode)
    want = ndimage.map_coordinates(image, reference, order=order, mode="mirror")
    agree = np.isclose(got[0, 0].numpy(), want, atol=1e-3)
    assert agree.mean() > (0.999 if mode == "nearest" else 0.99999)  # nearest may differ at exact halves


def keys_kernel(t, a=-0.75):
    """Cubic convolution kernel (Keys 1981), written from its definition."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def test_bicubic_resampling_equals_cubic_convolution_on_a_mirrored_image():
    rng = np.random.default_rng(4)
    image = rng.random((20, 30))
    padded = np.pad(image, 15, mode="reflect")
    points = rng.uniform([-12, -12], [31, 41], (200, 2))
    want = []
    for y, x in points + 15:
        rows = np.arange(int(np.floor(y)) - 1, int(np.floor(y)) + 3)
        columns = np.arange(int(np.floor(x)) - 1, int(np.floor(x)) + 3)
        want.append(keys_kernel(y - rows) @ padded[np.ix_(rows, columns)] @ keys_kernel(x - columns))
    at = torch.tensor(points.T[None, :, None], dtype=torch.float32)
    got = resample(torch.tensor(image, dtype=torch.float32)[None, None], at, "cubic")[0, 0, 0]
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_bicubic_resampling_is_close_to_the_scipy_spline_on_a_smooth_image():
    rng = np.random.default_rng(5)
    image = ndimage.gaussian_filter(rng.random((90, 90)), 4).astype(np.float32)
    _, reference = coordinates(rng, size=120)
    got = resample(torch.tensor(image)[None, None], torch.tensor(reference, dtype=torch.float32)[None], "cubic")
    want = ndimage.map_coordinates(image, reference, order=3, mode="mirror")
    assert np.abs(got[0, 0].numpy() - want).max() < 0.02 * np.ptp(image)


def test_a_quarter_turn_is_exact():
    image = torch.rand(1, 1, 50, 50)
    at = tile_coordinates(torch.tensor([[24.5, 24.5]]), torch.tensor([torch.pi / 2]), torch.zeros(1, 2, 50, 50))
    torch.testing.assert_close(resample(image, at, "linear"), torch.rot90(image, -1, (2, 3)), atol=1e-4, rtol=0)


def test_a_one_pixel_image_is_constant_everywhere():
    at = torch.rand(1, 2, 4, 4) * 100 - 50
    assert torch.equal(resample(torch.full((1, 1, 1, 1), 3.0), at, "nearest"), torch.full((1, 1, 4, 4), 3.0))
