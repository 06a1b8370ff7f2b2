"""Deformation and resampling written out with NumPy and SciPy, in double precision."""

import numpy as np
from scipy import ndimage

KEYS = -0.75  # parameter of cubic convolution, S16


def coordinates(nodes, angle, centre, size):
    """Where each pixel of a tile comes from, (2, size, size): ``centre + R(angle) (x + displacement(x))``."""
    nodes = np.asarray(nodes, float)  # (2, grid, grid)
    at = np.stack(np.meshgrid(*2 * [np.linspace(0, nodes.shape[-1] - 1, size)], indexing="ij"))
    displacement = np.stack([ndimage.map_coordinates(component, at, order=3, mode="mirror") for component in nodes])
    x = np.stack(np.meshgrid(*2 * [np.arange(size) - (size - 1) / 2], indexing="ij")) + displacement
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.einsum("ij,jyx->iyx", rotation, x) + np.reshape(centre, (2, 1, 1))


def read_cubic(image, at):
    """Cubic convolution (Keys 1981) of the mirrored `image` (H, W) at the points `at` (2, ...)."""
    margin = int(np.abs(at).max()) + 3
    padded = np.pad(np.asarray(image, float), margin, mode="reflect")
    first = np.floor(at).astype(int)
    total = np.zeros(at.shape[1:])
    for dy in range(-1, 3):
        for dx in range(-1, 3):
            y, x = first[0] + dy, first[1] + dx
            total += padded[y + margin, x + margin] * keys_kernel(at[0] - y) * keys_kernel(at[1] - x)
    return total


def keys_kernel(t, a=KEYS):
    """Cubic convolution kernel, from its definition."""
    t = np.abs(t)
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))
