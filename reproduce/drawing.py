"""What the figures share: a canvas without global state, files that appear whole, and one set of colours."""

from pathlib import Path

from unet_paper.files import atomic_write, make_folder

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444")  # Okabe and Ito
DPI = 130


def new_figure(width, height):
    """A figure of `width` x `height` inches on the Agg canvas, laid out without overlaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure, path, *, colours=None, dpi=DPI):
    """Write `figure` as PNG and return the path; `colours` of 256 keeps photographs small. The file holds no date."""
    import numpy as np
    from PIL import Image  # comes with matplotlib

    path = Path(path)
    make_folder(path.parent)
    figure.set_dpi(dpi)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3])
    if colours is not None:
        image = image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG", optimize=True, dpi=(dpi, dpi))
    return path


def show(axes, image, text="", **how):
    """Draw an image in gray, without ticks, under a title."""
    drawn = axes.imshow(image, **{"cmap": "gray", "interpolation": "auto"} | how)
    axes.set_title(text, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    return drawn


def plain(axes):
    """Leave only the left and lower spines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def rgb(colour):
    """Red, green and blue of ``#rrggbb``.

    Examples
    --------
    >>> rgb("#ff0000")
    (1.0, 0.0, 0.0)
    """
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def coloured(cells, opacity=0.55):
    """Cells in scattered colours, (H, W, 4) float in [0, 1]; the membrane is transparent.

    Examples
    --------
    >>> import numpy as np
    >>> coloured(np.array([[0, 1]]))[0, :, 3].tolist()
    [0.0, 0.55]
    """
    import numpy as np
    from matplotlib.colors import hsv_to_rgb

    golden = (np.sqrt(5) - 1) / 2  # neighbouring numbers get distant hues
    hue = (cells * golden) % 1
    colours = hsv_to_rgb(np.stack([hue, 0.55 + 0.4 * ((cells * golden**2) % 1), np.full(cells.shape, 0.95)], axis=-1))
    return np.concatenate([colours, np.where(cells > 0, opacity, 0.0)[..., None]], axis=-1)
