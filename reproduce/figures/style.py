"""What the figures share: a canvas without global state, files that appear whole, one set of colours."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from PIL import Image  # comes with matplotlib
from skimage.color import label2rgb
from skimage.segmentation import find_boundaries

from unet_paper.files import atomic_write, make_folder

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")  # Okabe and Ito
GOLDEN = (np.sqrt(5) - 1) / 2  # multiples of it scatter: neighbouring numbers get distant hues
CELL_COLOURS = [hsv_to_rgb((n * GOLDEN % 1, 0.45 + 0.45 * (n * GOLDEN**2 % 1), 0.95)) for n in range(64)]
DPI = 130


def new_figure(width, height):
    """A figure of `width` x `height` inches on the Agg canvas, laid out without overlaps."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path):
    """Write `figure` as a PNG of 256 colours, which keeps photographs small, and return the path. It holds no date."""
    path = Path(path)
    make_folder(path.parent)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    one_round = image.width * image.height  # of k-means: without it grays get a tint, to convergence it takes long
    image = image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=one_round, dither=Image.Dither.NONE)
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG", optimize=True, dpi=(DPI, DPI))
    return path


def show(axes, image, title="", **options):
    """Draw an image of gray values in [0, 1], or in colours, without ticks, under a title."""
    drawn = axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 1} | options)
    axes.set_title(title, fontsize=10)
    axes.set(xticks=[], yticks=[])
    return drawn


def plain(axes):
    """Leave only the left and lower spines."""
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def coloured(cells, image=None):
    """Numbered cells in scattered colours on black or, half transparent, on an image in [0, 1]; (H, W, 3) float.

    Examples
    --------
    >>> coloured(np.array([[0, 1]]))[0, 0].tolist()
    [0.0, 0.0, 0.0]
    """
    return label2rgb(cells, image, colors=CELL_COLOURS, alpha=1 if image is None else 0.5, bg_label=0)


def outlined(cells, image=None):
    """As `coloured`, with borders of three pixels: those of a thinned segmentation would not be seen."""
    return np.where(find_boundaries(cells)[..., None], 0, coloured(cells, image))
