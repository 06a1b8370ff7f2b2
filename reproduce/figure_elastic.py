"""Elastic deformation (section 3.1): a grid, a slice and its labels before and after.

Drawn by the sampler's own functions, with the displacements of the nodes as arrows.
"""

LINES = 32  # pixels between the lines of the grid
SIDE = 512
ARROWS = 3  # the displacements are drawn longer by this factor


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--sigma", type=float, help="standard deviation of the nodes, pixels (default: the paper's 10)")


def run(arguments):
    """Draw the figure; returns the exit status."""
    import numpy as np

    from reproduce.drawing import save_figure
    from reproduce.stacks import load_example
    from unet_paper.config import AugmentationConfig
    from unet_paper.elastic import draw_node_displacements
    from unet_paper.errors import InputError

    how = AugmentationConfig()
    sigma = how.sigma if arguments.sigma is None else arguments.sigma
    if not sigma >= 0:
        raise InputError(f"standard deviation {sigma} is negative; legal: 0 and more")
    stack = load_example(arguments.data, n_slices=1)
    images, labels, name = stack.images, stack.labels, stack.title
    image, mask = images[0, :SIDE, :SIDE], labels[0, :SIDE, :SIDE]
    nodes = draw_node_displacements(np.random.default_rng(arguments.seed), grid=how.grid, sigma=sigma)
    figure = draw(image, mask, nodes, f"{name} 0", sigma)
    print(f"figure: {save_figure(figure, arguments.out / 'figures' / 'elastic.png', colours=256)}")
    return 0


def deform(planes, nodes):
    """Deform ``(plane, mode)`` pairs by the displacements of the nodes, (2, grid, grid), without rotation or shift."""
    import torch

    from unet_paper.elastic import dense_displacement, resample, spline_matrix, tile_coordinates

    (height, width), grid = planes[0][0].shape, nodes.shape[-1]
    displacement = dense_displacement(
        torch.from_numpy(nodes)[None], spline_matrix(height, grid), spline_matrix(width, grid)
    )
    centre = torch.tensor([[(height - 1) / 2, (width - 1) / 2]])
    at = tile_coordinates(centre, torch.zeros(1), displacement)
    return [resample(torch.from_numpy(plane).float()[None, None], at, mode)[0, 0].numpy() for plane, mode in planes]


def draw(image, mask, nodes, name, sigma):
    """Grid, slice and labels, before (above) and after (below)."""
    import numpy as np

    from reproduce.drawing import COLOURS, new_figure, show

    height, width = image.shape
    y, x = np.mgrid[:height, :width]
    lines = np.minimum(y % LINES, x % LINES) < 2
    grid = np.where(lines, 0.0, 1.0)
    after = deform([(grid, "linear"), (image, "cubic"), (mask, "nearest")], nodes)
    figure = new_figure(11.5, 8)
    figure.get_layout_engine().set(rect=(0.04, 0, 0.94, 1))  # room for arrows that leave the grid
    axes = figure.subplots(2, 3)
    titles = (f"grid, lines {LINES} px apart", name, "labels")
    for column, (before, deformed, text) in enumerate(zip((grid, image, mask), after, titles)):
        show(axes[0, column], before, text, vmin=0, vmax=1)
        show(axes[1, column], deformed, f"deformed, standard deviation {sigma:g} px", vmin=0, vmax=1)
    at = np.meshgrid(*(np.linspace(0, side - 1, nodes.shape[-1]) for side in (width, height)))
    how = {"angles": "xy", "scale_units": "xy", "scale": 1 / ARROWS, "color": COLOURS[1], "width": 0.012}
    arrows = axes[0, 0].quiver(*at, nodes[1], nodes[0], **how, clip_on=False, zorder=3)
    arrows.set_in_layout(False)
    text = f"arrows: displacements of the nodes, {ARROWS} times as long"
    axes[0, 0].set_xlabel(text, color=COLOURS[1], fontsize=9, labelpad=12)
    axes[1, 0].set_xlabel("a pixel shows what lies at its displaced position", fontsize=9)
    return figure
