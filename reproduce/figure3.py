"""Figure 3: an image, the cells of its ground truth, the mask, and the weight map of Equation 2."""


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--slice", type=int, default=0, help="slice of the training stack, from 0 (default: 0)")
    parser.add_argument("--crop", type=int, default=256, help="side of the part that is drawn, pixels (default: 256)")


def run(arguments):
    """Draw the figure; returns the exit status."""
    from reproduce.drawing import save_figure
    from reproduce.stacks import SLICES, load_example
    from unet_paper.errors import InputError
    from unet_paper.weight_map import cells_from_membranes, unet_weight_map

    stack = load_example(arguments.data, n_slices=SLICES if arguments.slice else 1)
    images, labels, name = stack.images, stack.labels, stack.title
    if not 0 <= arguments.slice < len(images):
        raise InputError(f"slice {arguments.slice} is not in 0 to {len(images) - 1}")
    side = min(arguments.crop, *images.shape[1:])
    if side < 1:
        raise InputError(f"a crop of {arguments.crop} pixels is empty; legal: 1 and more")
    image, mask = images[arguments.slice], labels[arguments.slice]
    cells, weights = cells_from_membranes(mask), unet_weight_map(cells_from_membranes(mask))
    print(f"{name} {arguments.slice}: {cells.max()} cells, weights {weights.min():.3f} to {weights.max():.3f}")
    part = (slice(0, side), slice(0, side))
    figure = draw(image[part], cells[part], mask[part], weights[part], f"{name} {arguments.slice}")
    print(f"figure: {save_figure(figure, arguments.out / 'figures' / 'figure3.png')}")
    return 0


def draw(image, cells, mask, weights, name):
    """The four panels of the paper's figure."""
    from reproduce.drawing import coloured, new_figure, show

    figure = new_figure(14, 4)
    axes = figure.subplots(1, 4)
    show(axes[0], image, f"a  {name}", vmin=0, vmax=1)
    show(axes[1], image, f"b  {len(set(cells[cells > 0].tolist()))} cells of the ground truth", vmin=0, vmax=1)
    axes[1].imshow(coloured(cells), interpolation="nearest")
    show(axes[2], mask, "c  mask: white cell, black membrane", vmin=0, vmax=1)
    drawn = show(axes[3], weights, "d  weight map, Equation 2", cmap="jet")
    figure.colorbar(drawn, ax=axes[3], shrink=0.85, label="weight")
    return figure
