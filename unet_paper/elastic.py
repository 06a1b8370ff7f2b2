"""Elastic deformation (section 3.1): smooth random displacements from a coarse grid, and resampling.

A displacement vector is drawn at every node of a 3x3 grid that spans the tile, corners included, and
interpolated to every pixel by a bicubic spline that passes through the nodes (S5). Rotation and shift
are composed with it into one set of coordinates, so that the image is resampled once. Everything but
the draw runs on any torch device. Coordinates are (y, x) in pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

MODES = {"cubic": "bicubic", "linear": "bilinear", "nearest": "nearest"}


def draw_node_displacements(generator: np.random.Generator, *, grid: int = 3, sigma: float = 10.0) -> np.ndarray:
    """Draw the displacement vectors of the coarse grid.

    Parameters
    ----------
    generator : numpy.random.Generator
    grid : int
        Nodes a side, at least 2.
    sigma : float
        Standard deviation of each component, in pixels.

    Returns
    -------
    ndarray, float32, (2, grid, grid)
        Components (y, x) at every node, in pixels.

    Examples
    --------
    >>> draw_node_displacements(np.random.default_rng(0)).shape
    (2, 3, 3)
    """
    return generator.normal(0.0, sigma, (2, grid, grid)).astype(np.float32)


def spline_matrix(size: int, grid: int = 3) -> torch.Tensor:
    """Matrix that interpolates `grid` node values to `size` pixels by a cubic spline.

    Parameters
    ----------
    size : int
        Number of pixels, the first and the last of which lie on nodes.
    grid : int
        Number of nodes.

    Returns
    -------
    Tensor, float32, (size, grid)
        Row i holds the weights of the nodes at pixel i. The spline continues mirrored beyond the
        outer nodes.

    Examples
    --------
    >>> spline_matrix(5, grid=3)[2].tolist()  # the middle pixel lies on the middle node
    [0.0, 1.0, 0.0]
    """
    nodes = np.linspace(0, grid - 1, size)
    columns = [ndimage.map_coordinates(unit, [nodes], order=3, mode="mirror") for unit in np.eye(grid)]
    return torch.tensor(np.round(np.stack(columns, axis=1), 12) + 0.0, dtype=torch.float32)


def dense_displacement(nodes: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Interpolate node displacements to every pixel.

    Parameters
    ----------
    nodes : Tensor, float32, (N, 2, grid, grid)
        Displacements of the nodes, in pixels.
    rows, columns : Tensor, float32, (H, grid) and (W, grid)
        `spline_matrix` of the two sides.

    Returns
    -------
    Tensor, float32, (N, 2, H, W)
        Displacement of every pixel, in pixels.

    Examples
    --------
    A constant displacement of the nodes displaces every pixel by the same vector:

    >>> matrix = spline_matrix(4)
    >>> dense_displacement(torch.full((1, 2, 3, 3), 7.0), matrix, matrix).unique().tolist()
    [7.0]
    """
    return rows @ nodes @ columns.T


def tile_coordinates(centre: torch.Tensor, angle: torch.Tensor, displacement: torch.Tensor) -> torch.Tensor:
    """Image coordinates of every pixel of a shifted, rotated and deformed tile.

    Parameters
    ----------
    centre : Tensor, float32, (N, 2)
        Position in the image of the centre of the tile, (y, x) in pixels.
    angle : Tensor, float32, (N,)
        Rotation in radians.
    displacement : Tensor, float32, (N, 2, H, W)
        Elastic displacement, in pixels, applied before the rotation.

    Returns
    -------
    Tensor, float32, (N, 2, H, W)
        ``centre + R(angle) (x - middle of the tile + displacement(x))``.

    Examples
    --------
    >>> zero = torch.zeros(1, 2, 1, 3)
    >>> tile_coordinates(torch.tensor([[5.0, 5.0]]), torch.zeros(1), zero)[0, 1].tolist()
    [[4.0, 5.0, 6.0]]
    """
    height, width = displacement.shape[-2:]
    y = torch.arange(height, device=centre.device) - (height - 1) / 2
    x = torch.arange(width, device=centre.device) - (width - 1) / 2
    y = y[:, None] + displacement[:, 0]  # (N, H, W)
    x = x + displacement[:, 1]
    cos, sin = (f(angle)[:, None, None] for f in (torch.cos, torch.sin))
    return torch.stack([cos * y - sin * x, sin * y + cos * x], dim=1) + centre[:, :, None, None]


def resample(image: torch.Tensor, coordinates: torch.Tensor, mode: str) -> torch.Tensor:
    """Read `image` at `coordinates`, mirrored beyond its border.

    Parameters
    ----------
    image : Tensor, float32, (N, C, H, W)
    coordinates : Tensor, float32, (N, 2, h, w)
        (y, x) in pixels; mirroring does not repeat the edge pixel (S11).
    mode : {"cubic", "linear", "nearest"}
        Cubic convolution (S16) for images, linear for weights, nearest for labels.

    Returns
    -------
    Tensor, float32, (N, C, h, w)

    Examples
    --------
    >>> image = torch.tensor([[[[10.0, 20.0, 30.0]]]])
    >>> at = torch.tensor([[[[0.0, 0.0, 0.0]], [[-1.0, 0.5, 3.0]]]])
    >>> resample(image, at, "linear").tolist()
    [[[[20.0, 15.0, 20.0]]]]
    """
    height, width = (max(side - 1, 1) for side in image.shape[-2:])  # numbers: nothing waits for the host
    y, x = coordinates.unbind(dim=1)
    at = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=1).permute(0, 2, 3, 1)  # (N, h, w, 2), x first
    return F.grid_sample(image, at, mode=MODES[mode], padding_mode="reflection", align_corners=True)
