"""A slice of any stack with the probability and the cells that ``python -m unet_paper`` has written of it."""

from reproduce.figures.style import new_figure, outlined, save_figure, show
from unet_paper.errors import InputError
from unet_paper.tiff import check_same_shape, read_images, read_labels


def run(arguments):
    """Draw the figure."""
    images, probability = read_images(arguments.stack).array, read_images(arguments.probability).array
    labels = read_labels(arguments.labels).array
    for path, array in ((arguments.probability, probability), (arguments.labels, labels)):
        check_same_shape(images, array, str(arguments.stack), str(path))
    if not 0 <= arguments.slice < len(images):
        raise InputError(f"slice {arguments.slice} must be in 0 to {len(images) - 1}")
    z = arguments.slice
    figure = draw(images[z], probability[z], labels[z], f"{arguments.stack.name}, slice {z}")
    print(f"figure: {save_figure(figure, arguments.out / 'figures' / 'segmentation.png')}")


def draw(image, probability, labels, title):
    """Image, probability of cell, and the cells over the image."""
    figure = new_figure(9.6, 3.5)
    axes = figure.subplots(1, 3)
    show(axes[0], image, title)
    show(axes[1], probability, "probability of cell")
    show(axes[2], outlined(labels, image), f"{len(set(labels[labels > 0]))} cells")
    return figure
