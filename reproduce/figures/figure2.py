"""Figure 2: overlap-tile with mirrored context, and what the seams between tiles really are.

Tiles whose distance is a multiple of 16 px agree exactly with one pass over the whole slice; abutting
388-px tiles do not, because pooling then meets another phase. By default a narrow untrained network
shows it: the argument is about shifts, not about weights.
"""

import numpy as np
import torch
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from reproduce.data import load_example
from reproduce.figures.style import COLOURS, new_figure, save_figure, show
from unet_paper import shapes
from unet_paper.checkpoint import load_weights
from unet_paper.model import UNet
from unet_paper.overlap_tile import mirrored
from unet_paper.predict import predict_stack
from unet_paper.train import gray_statistics

BASE_CHANNELS = 8  # of the untrained network: seams do not depend on the width
TILE = 388  # output of the paper's tile, pixels
EXACT, ABUTTING = 384, TILE  # strides
SAME = 1e-4  # float32 rounding of probabilities stays below


def run(arguments):
    """Print and draw the seams; returns 1 if tiles at stride 384 differ from one pass."""
    stack = load_example(arguments.data, n_slices=1)
    if arguments.weights is None:
        torch.manual_seed(arguments.seed)
        model, gray = UNet(base_channels=BASE_CHANNELS), gray_statistics(stack.images)
        network = f"untrained network, {BASE_CHANNELS} base channels"
    else:
        model, gray = load_weights(arguments.weights)
        network = f"{model.config.base_channels}-channel network of {arguments.weights.name}"

    def predict(tile, stride):
        how = {"rotations": "none", "precision": "float32", "device": arguments.device, "depth": model.config.depth}
        mean, std = gray["image_mean"], gray["image_std"]
        return predict_stack(model, stack.images, mean=mean, std=std, tile=tile, stride=stride, **how)[0]

    whole = shapes.output_size(shapes.input_size_for(max(stack.images.shape)))
    one_pass = predict(whole, whole)
    seams = {stride: np.abs(predict(TILE, stride) - one_pass) for stride in (ABUTTING, EXACT)}
    print(f"{stack.title} 0, {network}; largest difference of probability to one pass:")
    for stride, seam in seams.items():
        print(f"  stride {stride}: {seam.max():.2e}, above {SAME:g} at {(seam > SAME).mean():.1%} of pixels")
    figure = draw(stack.images[0], one_pass, seams, f"{stack.title} 0", network)
    print(f"figure: {save_figure(figure, arguments.out / 'figures' / 'figure2.png')}")
    return 0 if seams[EXACT].max() <= SAME else 1


def draw(image, one_pass, seams, title, network):
    """The slice with its mirrored context and two tiles, its segmentation, and the seams of both strides."""
    figure = new_figure(9, 8.8)
    axes = figure.subplots(2, 2)
    draw_tiles(axes[0, 0], image)
    axes[0, 0].set_title(f"two tiles of {title},\nwhich is mirrored beyond its border (pale)", fontsize=10)
    axes[0, 0].legend(loc="upper center", bbox_to_anchor=(0.5, 0), fontsize=8, ncols=3, frameon=False)
    show(axes[0, 1], one_pass, f"probability of cell in one pass\n{network}")
    bright = float(np.quantile(seams[ABUTTING], 0.99)) or 1.0
    verdicts = ("abutting tiles: seams", "a multiple of 16: exact")
    for below, (stride, seam), verdict in zip(axes[1], seams.items(), verdicts):
        text = f"stride {stride}, {verdict}\nlargest difference {seam.max():.2g}"
        drawn = show(below, seam, text, cmap="magma", vmax=bright)
    figure.colorbar(drawn, ax=axes[1], shrink=0.85, format="%g", extend="max").ax.tick_params(labelsize=8)
    return figure


def draw_tiles(axes, image):
    """Two tiles of a slice: output (solid) and the input it needs (dashed), mirrored beyond the slice."""
    context, (height, width) = shapes.context(), image.shape
    span = np.arange(-context, EXACT + TILE + context)
    seen = image[np.ix_(mirrored(span, height), mirrored(span, width))]
    inside = ((span >= 0) & (span < height))[:, None] & (span >= 0) & (span < width)
    edges = (span[0] - 0.5, span[-1] + 0.5, span[-1] + 0.5, span[0] - 0.5)
    show(axes, np.where(inside, seen, 0.55 + 0.45 * seen), extent=edges)
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor="black", lw=2, label="slice"))
    for corner, colour in ((0, COLOURS[0]), (EXACT, COLOURS[1])):
        for margin, line, part in ((0, "-", "output"), (context, "--", "input")):
            place, side = (corner - margin - 0.5,) * 2, TILE + 2 * margin
            label = None if corner else f"{part} {side} x {side}"
            face = to_rgba(colour, 0 if margin else 0.12)
            axes.add_patch(Rectangle(place, side, side, label=label, edgecolor=colour, facecolor=face, lw=2, ls=line))
