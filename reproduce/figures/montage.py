"""Slices as networks see them: image, probability, segmentation, and its merges and splits in colours.

One grid of four columns serves both montages: a slice a row, or two methods a row on one slice.
"""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from skimage.measure import label
from skimage.segmentation import expand_labels

from reproduce.figures.style import COLOURS, new_figure, outlined, save_figure, show
from unet_paper import metrics
from unet_paper.segment import segment
from unet_paper.tiff import read_images

MOST_SLICES = 3
COLUMNS = 4
PALETTE = {"merge": COLOURS[1], "split": COLOURS[0], "true membrane": "#b8b8b8"}
SPREAD = 5  # pixels by which merges and splits are thickened, or they would not be seen


def draw_montage(images, labels, probability, scores, path, name, titles, shown=None):
    """Draw some slices of a stack and save the figure; returns its path.

    Parameters
    ----------
    images : ndarray, float, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, otherwise cell.
    probability : ndarray, float, (Z, H, W)
        Probability of cell.
    scores : unet_paper.metrics.Scores
        Of these slices: the thresholds of V_Rand and of the warping error, merges and splits.
    path : path-like
        The PNG to write.
    name : str
        What made the probability.
    titles : list of str
        What the slices are called.
    shown : iterable of int, optional
        Indices of the slices that are drawn (default: up to three, spread over the stack).
    """
    if shown is None:
        shown = np.linspace(0, len(images) - 1, min(len(images), MOST_SLICES)).astype(int)
    warping, threshold = scores.warping_error, scores.v_rand.threshold or 0.0
    panels = []
    for z in shown:
        cells = segment(probability[z], threshold=threshold)
        merges, splits = (label(mask[z], connectivity=2).max() for mask in (warping.merges, warping.splits))
        panels += [
            (images[z], titles[z]),
            (probability[z], "probability of cell"),
            (outlined(cells), f"{cells.max()} cells above {threshold:.1f}"),
            (errors(labels[z], warping, z), f"above {warping.threshold:.1f}: {merges} merges, {splits} splits"),
        ]
    heading = f"{name}; {len(images)} slice{'s' * (len(images) > 1)}: {in_words(scores)}"
    return draw_panels(panels, heading, path)


def montage_of_record(record, data, out):
    """Draw the held-out slices of a record of Table 1 or of `quick`; returns the figure's path."""
    return _montage_of_record(record, data, out, "montage.png")


def worst_slice_of_record(record, data, out):
    """Draw the slice of a record with the lowest V_Rand; returns the figure's path."""
    worst = int(np.argmin(record.details["v_rand_by_slice"]))
    return _montage_of_record(record, data, out, "worst_slice.png", [worst])


def _montage_of_record(record, data, out, name, shown=None):
    slices, by_slice = record.conditions["slices"], record.details["v_rand_by_slice"]
    labels, probability = data.labels[slices], read_images(out / record.prediction).array
    titles = [f"slice {z}, V_Rand {value:.3f}" for z, value in zip(slices, by_slice)]
    scores, path = metrics.score(labels, probability), out / "figures" / name
    about = f"{record.conditions['title']}, {record.conditions['steps']:,} steps"
    return draw_montage(data.images[slices], labels, probability, scores, path, about, titles, shown)


def montage_of_methods(made, data, out):
    """Draw the middle slice as several methods see it, probability beside errors; returns the figure's path.

    Of the records `made`, those are drawn that differ from the first in their method alone.
    """
    told = made[0].conditions
    alike = [r for r in made if all(r.conditions[name] == told[name] for name in ("rotations", "seeds", "slices"))]
    slices, ((unit, amount),) = told["slices"], told["budget"].items()
    labels, z = data.labels[slices], len(slices) // 2
    panels = [(data.images[slices[z]], f"slice {slices[z]}"), (labels[z] > 0, "label")]
    for record in alike:
        probability = read_images(out / record.prediction).array
        scores = metrics.score(labels, probability)
        panels += [
            (probability[z], record.conditions["title"]),
            (errors(labels[z], scores.warping_error, z), in_words(scores)),
        ]
    heading = f"training of {amount:g} {unit}; scores of {len(slices)} slices"
    return draw_panels(panels, heading, out / "figures" / "systems_montage.png")


def draw_panels(panels, heading, path):
    """Pairs of image and title, four a row, with the legend of the errors; returns the figure's path."""
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(9.6, 2.6 * rows + 0.6)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for one, panel in zip(axes, panels):
        show(one, *panel)
        one.title.set_fontsize(8)
    for empty in axes[len(panels) :]:
        empty.set_axis_off()
    figure.suptitle(heading, fontsize=10)
    patches = [Patch(color=colour, label=name) for name, colour in PALETTE.items()]
    figure.legend(handles=patches, loc="outside lower right", ncols=len(patches), fontsize=9, frameon=False)
    return save_figure(figure, path)


def errors(labels, warping, z):
    """Merges and splits of slice `z`, thickened, over its true membrane; (H, W, 3) float."""
    merge, split, membrane = (to_rgb(colour) for colour in PALETTE.values())
    colours = np.array([(1.0, 1.0, 1.0), merge, split, membrane])
    marks = expand_labels(np.where(warping.splits[z], 2, warping.merges[z]), SPREAD)
    return colours[np.where((marks == 0) & (labels == 0), 3, marks)]


def in_words(scores):
    """The two scores that the montage explains."""
    return f"V_Rand {scores.v_rand.value:.3f}, warping error {scores.warping_error.value:.5f}"
