"""Held-out slices: image, label, probability, segmentation, and its merges and splits in colours."""

import numpy as np

from reproduce.drawing import COLOURS, coloured, new_figure, rgb, save_figure, show

MOST_SLICES = 3
MERGE, SPLIT = COLOURS[1], COLOURS[0]
SPREAD = 5  # pixels by which merges and splits are thickened, or they would not be seen


def draw_montage(images, labels, probability, scores, path, *, titles=None):
    """Draw up to three slices and save the figure; returns its path.

    Parameters
    ----------
    images : ndarray, float, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, otherwise cell.
    probability : ndarray, float in [0, 1] or uint8, (Z, H, W)
        Probability of cell.
    scores : unet_paper.metrics.Scores
        Of these slices: the thresholds of V_Rand and of the warping error, merges and splits.
    path : path-like
        The PNG to write.
    titles : list of str, optional
        What the rows are called; by default "slice 0", "slice 1", ...
    """
    probability = probability / 255 if probability.dtype == np.uint8 else probability
    rows = chosen(len(images))
    warping, threshold = scores.warping_error, scores.v_rand.threshold
    figure = new_figure(13.5, 2.95 * len(rows) + 0.7)
    axes = figure.subplots(len(rows), 5, squeeze=False)
    heads = (
        "image",
        "label",
        "probability of cell",
        f"segmentation at {threshold:.1f}",
        f"errors at {warping.threshold:.1f}",
    )
    for row, z in enumerate(rows):
        merges, splits = warping.merges[z], warping.splits[z]
        segments = coloured(components(probability[z] > threshold), opacity=1.0)
        errors = error_overlay(labels[z] > 0, merges, splits)
        panels = (images[z], labels[z] > 0, probability[z], np.zeros_like(images[z]), np.ones_like(images[z]))
        for column, (panel, overlay) in enumerate(zip(panels, (None, None, None, segments, errors))):
            show(axes[row, column], panel, heads[column] if row == 0 else "", vmin=0, vmax=1)
            if overlay is not None:
                axes[row, column].imshow(overlay)
        axes[row, 0].set_ylabel(titles[z] if titles else f"slice {z}", fontsize=10)
        text = f"{components(merges, 8).max()} merges, {components(splits, 8).max()} splits"
        axes[row, 4].set_xlabel(text, fontsize=9)
    figure.suptitle(
        f"V_Rand {scores.v_rand.value:.4f}, V_Info {scores.v_info.value:.4f}, "
        f"warping error {warping.value:.6f} of {len(images)} slices; last column: merges orange, splits blue, "
        "true membrane gray",
        fontsize=10,
    )
    return save_figure(figure, path, colours=256, dpi=100)


def draw_systems(images, labels, maps, path, *, names, words):
    """Draw the middle slice as several systems see it, probability above errors; returns the figure's path.

    Parameters
    ----------
    images : ndarray, float, (Z, H, W)
        Gray values in [0, 1].
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, otherwise cell.
    maps : dict
        Title of a system to its probability of cell, float (Z, H, W), and its `unet_paper.metrics.Scores`.
    path : path-like
        The PNG to write.
    names : list of str
        What the slices are called.
    words : str
        How the systems were trained, for the heading.
    """
    z, columns = len(images) // 2, 4
    panels = [((images[z], names[z]), (labels[z] > 0, "label"), "")]
    for title, (probability, scores) in maps.items():
        warping = scores.warping_error
        errors = error_overlay(labels[z] > 0, warping.merges[z], warping.splits[z])
        said = f"warping errors at {warping.threshold:.1f}; V_Rand of {len(images)} slices {scores.v_rand.value:.3f}"
        panels.append(((probability[z], title), (errors, ""), said))
    lines = -(-len(panels) // columns)
    figure = new_figure(13.5, 6.9 * lines + 0.4)
    axes = figure.subplots(2 * lines, columns, squeeze=False)
    for number, (above, below, said) in enumerate(panels):
        line, column = divmod(number, columns)
        for row, (panel, title) in ((2 * line, above), (2 * line + 1, below)):
            show(axes[row, column], panel, title, vmin=0, vmax=1)
        axes[2 * line + 1, column].set_xlabel(said, fontsize=9)
    for empty in (one for one in axes.ravel() if not one.has_data()):
        empty.set_axis_off()
    figure.suptitle(
        f"{words}\nprobability of cell and, below, its warping errors: merges orange, splits blue, true membrane gray",
        fontsize=10,
    )
    return save_figure(figure, path, colours=256, dpi=70)


def chosen(n_slices):
    """Slices to draw, spread over the stack.

    Examples
    --------
    >>> chosen(6), chosen(2)
    ([0, 2, 5], [0, 1])
    """
    return sorted(set(np.linspace(0, n_slices - 1, min(n_slices, MOST_SLICES)).astype(int).tolist()))


def components(mask, connectivity=4):
    """Connected components of a 2-D mask, numbered from 1."""
    from scipy import ndimage

    return ndimage.label(mask, ndimage.generate_binary_structure(2, connectivity // 4))[0]


def error_overlay(cells, merges, splits):
    """Colours to lay over white, (H, W, 4): true membrane, and merges and splits thickened."""
    from scipy import ndimage

    overlay = np.zeros((*cells.shape, 4))
    overlay[~cells] = (0, 0, 0, 0.3)
    for mask, colour in ((merges, MERGE), (splits, SPLIT)):
        overlay[ndimage.binary_dilation(mask, iterations=SPREAD)] = (*rgb(colour), 1)
    return overlay
