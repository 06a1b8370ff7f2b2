"""Figure 2: overlap-tile with mirrored context, and what the seams between tiles really are.

Tiles whose distance is a multiple of 16 px agree exactly with one pass over the whole slice; abutting
388-px tiles do not, because pooling then meets another phase. By default a narrow untrained network
shows it: the argument is about shifts, not about weights.
"""

from pathlib import Path

BASE_CHANNELS = 8  # of the untrained network: seams do not depend on the width
EXACT_STRIDE, ABUTTING_STRIDE = 384, 388
SAME = 1e-4  # float32 rounding of probabilities stays below


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--weights", type=Path, help="weights of a trained network (default: untrained, 8 channels)")


def run(arguments):
    """Print and draw the seams; returns 1 if tiles at stride 384 differ from one pass."""
    import numpy as np

    from reproduce.drawing import save_figure
    from reproduce.stacks import load_example

    stack = load_example(arguments.data, n_slices=1)
    images, name = stack.images, stack.title
    predict, network = predictor(images, arguments)
    passes = segment(predict, images[0])
    seams = {stride: np.abs(passes[stride] - passes["one pass"]) for stride in (ABUTTING_STRIDE, EXACT_STRIDE)}
    print(f"{name} 0, {network}; largest difference of probability to one pass:")
    for stride, difference in seams.items():
        print(
            f"  stride {stride}: {difference.max():.2e}, above {SAME:g} at {(difference > SAME).mean():.1%} of pixels"
        )
    figure = draw(images[0], passes["one pass"], seams, name, network)
    path = save_figure(figure, arguments.out / "figures" / "figure2.png", colours=256)
    print(f"figure: {path}")
    return 0 if seams[EXACT_STRIDE].max() <= SAME else 1


def predictor(images, arguments):
    """A callable that maps tiles to the probability of cell, and the network in words."""
    import torch

    from unet_paper.model import UNet
    from unet_paper.train import gray_statistics

    if arguments.weights is not None:
        from unet_paper.predict import load_weights

        model, metadata = load_weights(arguments.weights)
        words = f"{model.config.base_channels}-channel network of {arguments.weights.name}"
    else:
        torch.manual_seed(arguments.seed)
        model, metadata = UNet(base_channels=BASE_CHANNELS), gray_statistics(images)
        words = f"untrained network, {BASE_CHANNELS} base channels"
    model = model.to(arguments.device).eval()
    mean, std = metadata["image_mean"], metadata["image_std"]

    def predict(tile):
        with torch.inference_mode():
            logits = model((torch.from_numpy(tile).to(arguments.device) - mean) / std)
            return torch.softmax(logits, dim=1)[:, 1:].cpu().numpy()  # (1, 1, h, w)

    return predict, words


def segment(predict, image):
    """Probability of cell by one pass over the whole image, and tiled at both strides."""
    from unet_paper import shapes
    from unet_paper.overlap_tile import predict_overlap_tile

    whole = shapes.output_size(shapes.input_size_for(max(image.shape)))
    plans = {"one pass": (whole, whole)} | {s: (ABUTTING_STRIDE, s) for s in (ABUTTING_STRIDE, EXACT_STRIDE)}
    return {name: predict_overlap_tile(predict, image, tile=t, stride=s)[0] for name, (t, s) in plans.items()}


def draw(image, whole, seams, name, network):
    """The slice with its mirrored context and tiles, its segmentation, and the two seams."""
    import numpy as np

    from reproduce.drawing import new_figure, show

    figure = new_figure(9.6, 8.4)
    grid = figure.add_gridspec(2, 3, height_ratios=(1.75, 1))
    draw_tiles(figure.add_subplot(grid[0, :]), image, name)
    show(figure.add_subplot(grid[1, 0]), whole, f"probability of cell in one pass\n{network}")
    bright = float(np.quantile(seams[ABUTTING_STRIDE], 0.99)) or 1.0
    for column, (stride, difference) in enumerate(seams.items(), 1):
        axes = figure.add_subplot(grid[1, column])
        verdict = "abutting tiles: seams" if stride == ABUTTING_STRIDE else "a multiple of 16: exact"
        text = f"stride {stride}, {verdict}\nlargest difference {difference.max():.2g}"
        drawn = show(axes, difference, text, cmap="magma", vmin=0, vmax=bright)
    figure.colorbar(drawn, ax=axes, shrink=0.85, format="%g", extend="max").ax.tick_params(labelsize=8)
    return figure


def draw_tiles(axes, image, name):
    """Two of the tiles of a slice: output (solid) and the input it needs (dashed), mirrored beyond the slice."""
    import numpy as np
    from matplotlib.patches import Rectangle

    from reproduce.drawing import COLOURS, rgb, show
    from unet_paper import shapes
    from unet_paper.overlap_tile import mirrored

    context, (height, width) = shapes.context(), image.shape
    tiles = ((0, 0, COLOURS[0]), (EXACT_STRIDE, EXACT_STRIDE, COLOURS[1]))
    span = np.arange(-context, EXACT_STRIDE + ABUTTING_STRIDE + context)
    seen = image[np.ix_(mirrored(span, height), mirrored(span, width))]
    inside = (span >= 0) & (span < height)
    shade = np.where(inside[:, None] & inside, seen, 0.55 + 0.45 * seen)  # what is mirrored is paler
    edges = (span[0] - 0.5, span[-1] + 0.5, span[-1] + 0.5, span[0] - 0.5)
    show(axes, shade, f"{name} and its mirrored surroundings (pale)", extent=edges, vmin=0, vmax=1)
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor="black", lw=2, label="slice"))
    for top, left, colour in tiles:
        for margin, line, what in ((0, "-", "output 388 x 388"), (context, "--", "input 572 x 572")):
            side = ABUTTING_STRIDE + 2 * margin
            corner = left - margin - 0.5, top - margin - 0.5
            label = f"tile at ({top}, {left}): {what}"
            how = {"edgecolor": colour, "lw": 2.2, "ls": line, "facecolor": (*rgb(colour), 0.0 if margin else 0.12)}
            axes.add_patch(Rectangle(corner, side, side, label=label, **how))
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False)
