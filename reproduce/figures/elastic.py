"""Elastic deformation (section 3.1): a grid, a slice and its labels before and after.

Drawn by the sampler's own functions, with the displacements of the nodes as arrows.
"""

import numpy as np
import torch

from reproduce.data import load_example
from reproduce.figures.style import COLOURS, new_figure, save_figure, show
from unet_paper.config import AugmentationConfig
from unet_paper.elastic import dense_displacement, draw_node_displacements, resample, spline_matrix, tile_coordinates
from unet_paper.errors import InputError

LINES = 32  # pixels between the lines of the grid
SIDE = 512
ARROWS = 3  # the displacements are drawn longer by this factor


def run(arguments):
    """Draw the figure."""
    if not 0 <= arguments.sigma <= SIDE:
        raise InputError(f"standard deviation {arguments.sigma:g} must be in 0 to {SIDE} pixels")
    stack = load_example(arguments.data, n_slices=1)
    image, mask = stack.images[0, :SIDE, :SIDE], stack.labels[0, :SIDE, :SIDE]
    generator = np.random.default_rng(arguments.seed)
    nodes = draw_node_displacements(generator, grid=AugmentationConfig.grid, sigma=arguments.sigma)
    figure = draw(image, mask, nodes, f"{stack.title} 0", f"standard deviation {arguments.sigma:g} px")
    print(f"figure: {save_figure(figure, arguments.out / 'figures' / 'elastic.png')}")


def deform(plane, nodes, mode):
    """Deform a plane (H, W) by the displacements of the nodes, (2, grid, grid), without rotation or shift."""
    matrices = (spline_matrix(side, nodes.shape[-1]) for side in plane.shape)
    displacement = dense_displacement(torch.from_numpy(nodes)[None], *matrices)
    centre = torch.tensor([[(side - 1) / 2 for side in plane.shape]])
    at = tile_coordinates(centre, torch.zeros(1), displacement)
    return resample(torch.from_numpy(plane).float()[None, None], at, mode)[0, 0].numpy()


def draw(image, mask, nodes, title, deviation):
    """Grid, slice and labels, before (above) and after (below)."""
    y, x = np.indices(image.shape)
    grid = ((y % LINES >= 2) & (x % LINES >= 2)).astype(np.float32)
    figure = new_figure(9.6, 6.9)
    figure.get_layout_engine().set(rect=(0.04, 0, 0.94, 1))  # room for arrows that leave the grid
    axes = figure.subplots(2, 3)
    panels = ((grid, "linear", f"grid, lines {LINES} px apart"), (image, "cubic", title), (mask, "nearest", "labels"))
    for (above, below), (plane, mode, text) in zip(axes.T, panels):
        show(above, plane, text)
        show(below, deform(plane, nodes, mode), f"deformed, {deviation}")
    at = np.meshgrid(*(np.linspace(0, side - 1, nodes.shape[-1]) for side in image.shape[::-1]))
    units = {"angles": "xy", "scale_units": "xy", "scale": 1 / ARROWS}
    arrows = axes[0, 0].quiver(*at, nodes[1], nodes[0], color=COLOURS[1], width=0.012, clip_on=False, zorder=3, **units)
    arrows.set_in_layout(False)
    text = f"arrows: displacements of the nodes, {ARROWS} times as long"
    axes[0, 0].set_xlabel(text, color=COLOURS[1], fontsize=8, labelpad=12)
    axes[1, 0].set_xlabel("a pixel shows what lies at its displaced position", fontsize=8)
    return figure
