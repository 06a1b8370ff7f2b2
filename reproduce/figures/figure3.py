"""Figure 3: an image, the cells of its ground truth, the mask, and the weight map of Equation 2."""

from skimage.segmentation import relabel_sequential

from reproduce.data import load_example
from reproduce.figures.style import coloured, new_figure, save_figure, show
from unet_paper.errors import InputError
from unet_paper.weight_map import cells_from_membranes, unet_weight_map


def run(arguments):
    """Draw the figure."""
    z = arguments.slice
    stack = load_example(arguments.data, n_slices=z + 1)
    if z >= len(stack.images):
        raise InputError(f"slice {z} must be in 0 to {len(stack.images) - 1}")
    image, mask, title = stack.images[z], stack.labels[z], f"{stack.title} {z}"
    cells = cells_from_membranes(mask)
    weights = unet_weight_map(cells)
    print(f"{title}: {cells.max()} cells, weights {weights.min():.3f} to {weights.max():.3f}")
    part = (slice(0, arguments.crop),) * 2
    figure = draw(image[part], relabel_sequential(cells[part])[0], mask[part], weights[part], title)
    print(f"figure: {save_figure(figure, arguments.out / 'figures' / 'figure3.png')}")


def draw(image, cells, mask, weights, title):
    """The four panels of the paper's figure."""
    figure = new_figure(9.6, 9)
    axes = figure.subplots(2, 2).ravel()
    show(axes[0], image, f"a  {title}")
    show(axes[1], coloured(cells, image), f"b  {cells.max()} cells of the ground truth")
    show(axes[2], mask, "c  mask: white cell, black membrane")
    drawn = show(axes[3], weights, "d  weight map, Equation 2", cmap="jet", vmin=None, vmax=None)
    figure.colorbar(drawn, ax=axes[3], shrink=0.85, label="weight")
    return figure
