"""What the figures share: a canvas without global state, files that appear whole, and one set of colours."""

from pathlib import Path

from unet_paper.errors import InputError
from unet_paper.files import atomic_write

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")  # Okabe and Ito
DPI = 130


def new_figure(width, height):
    """A figure of `width` x `height` inches on the Agg canvas, laid out without overlaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path, *, dpi=DPI):
    """Write `figure` as PNG and return the path; the file holds no date."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})
    return path


def show(axes, image, text="", **how):
    """Draw an image in gray, without ticks, under a title."""
    drawn = axes.imshow(image, **{"cmap": "gray", "interpolation": "nearest"} | how)
    axes.set_title(text, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    return drawn


def plain(axes):
    """Leave only the left and lower spines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes
