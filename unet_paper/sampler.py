"""From a stack to augmented training tiles, on the device that trains.

A tile is drawn from anywhere in the stack: any slice, any position of its centre, mirrored
surroundings. Rotation, shift and elastic deformation act in one resampling; gray values vary by a
factor and an offset. The random numbers are drawn by NumPy on the CPU, so that every device sees the
same tiles; everything else happens where the stack lies.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from unet_paper.config import AugmentationConfig
from unet_paper.elastic import dense_displacement, draw_node_displacements, resample, spline_matrix, tile_coordinates
from unet_paper.errors import InputError


class Tile(NamedTuple):
    """A training batch: image (N, 1, h, w) float32, labels and weights (N, h', w') of its output."""

    image: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


class TileSampler:
    """Draws augmented tiles from a labelled stack.

    Parameters
    ----------
    images : ndarray, float32, (Z, H, W)
        Normalised gray values: mean 0 and standard deviation 1 over the stack.
    labels : ndarray, integer, (Z, H, W)
        Class of every pixel.
    weights : ndarray, float32, (Z, H, W)
        Weight map of every slice.
    input_size, output_size : int
        Sides of the tile and of the network's output at its centre, in pixels.
    augmentation : AugmentationConfig
    device : torch.device or str
        Where the stack is kept and tiles are made.

    Raises
    ------
    InputError
        If the three stacks differ in shape.

    Examples
    --------
    >>> stack = np.zeros((2, 64, 64), np.float32)
    >>> sampler = TileSampler(stack, stack.astype(np.uint8), stack + 1, input_size=188, output_size=4)
    >>> tile = sampler(sampler.draw(np.random.default_rng(0)))
    >>> tile.image.shape, tile.labels.shape
    (torch.Size([1, 1, 188, 188]), torch.Size([1, 4, 4]))
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        weights: np.ndarray,
        *,
        input_size: int = 572,
        output_size: int = 388,
        augmentation: AugmentationConfig | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        shapes = [np.shape(stack) for stack in (images, labels, weights)]
        if len(shapes[0]) != 3 or len(set(shapes)) != 1:
            raise InputError(
                "images, labels and weights are {}, {} and {}; all must be (Z, H, W) of the same shape".format(*shapes)
            )
        self.augmentation = augmentation or AugmentationConfig()
        self.images, self.labels, self.weights = (
            torch.tensor(np.ascontiguousarray(stack, np.float32), device=device)[:, None]  # (Z, 1, H, W)
            for stack in (images, labels, weights)
        )
        self.margin = (input_size - output_size) // 2
        self.matrix = spline_matrix(input_size, self.augmentation.grid).to(device)

    def draw(self, generator: np.random.Generator, batch: int = 1) -> np.ndarray:
        """Draw the random numbers of `batch` tiles.

        Parameters
        ----------
        generator : numpy.random.Generator
        batch : int

        Returns
        -------
        ndarray, float32, (batch, 6 + 2 * grid**2)
            Per tile: slice, centre y and x (pixels), angle (radians), gain, offset, node displacements.
        """
        how = self.augmentation
        slices, _, height, width = self.images.shape
        rows = []
        for _ in range(batch):
            where = [generator.integers(n) for n in (slices, height, width)]
            where[1:] = [c + 0.5 for c in where[1:]]  # an even tile then lies on whole pixels
            angle = math.radians(how.rotation) * generator.uniform()
            gray = 1 + how.gain * generator.uniform(-1, 1), how.offset * generator.uniform(-1, 1)
            nodes = draw_node_displacements(generator, grid=how.grid, sigma=how.sigma)
            rows.append([*where, angle, *gray, *nodes.ravel()])
        return np.array(rows, np.float32)

    def __call__(self, drawn: np.ndarray | torch.Tensor) -> Tile:
        """Make the tiles of a draw.

        Parameters
        ----------
        drawn : ndarray or Tensor, float32, (N, 6 + 2 * grid**2)
            What `draw` returned.

        Returns
        -------
        Tile
            image (N, 1, h, w) float32; labels (N, h', w') int64; weights (N, h', w') float32.
        """
        drawn = torch.as_tensor(drawn).to(self.images.device, non_blocking=True)
        grid = self.augmentation.grid
        slices = drawn[:, 0].long()
        nodes = drawn[:, 6:].view(-1, 2, grid, grid)
        displacement = dense_displacement(nodes, self.matrix, self.matrix)  # (N, 2, 572, 572)
        at = tile_coordinates(drawn[:, 1:3], drawn[:, 3], displacement)
        image = resample(self.images[slices], at, "cubic")  # (N, 1, 572, 572)
        image = image * drawn[:, 4].view(-1, 1, 1, 1) + drawn[:, 5].view(-1, 1, 1, 1)
        m = self.margin
        at = at[..., m : at.shape[-2] - m, m : at.shape[-1] - m]  # (N, 2, 388, 388)
        labels = resample(self.labels[slices], at, "nearest")[:, 0].long()
        weights = resample(self.weights[slices], at, "linear")[:, 0]
        return Tile(image, labels, weights)
