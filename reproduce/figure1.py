"""Figure 1: the network's sizes, measured on the network itself, and the U drawn from them.

Forward hooks read the shape of every layer's output while a tile passes through on the meta device,
which computes shapes and nothing else. Parameters and multiply-adds follow from what was measured.
"""

import math
from typing import NamedTuple

from reproduce.claims import read_numbers

SIDE_SCALE, CHANNEL_SCALE = 0.115, 0.075  # inches: height by the root of the side, width by log2 of the channels
GAP, DEEPEST_GAP = 0.62, 1.2


class Layer(NamedTuple):
    """One convolutional layer: its name, kind, channels, sides in pixels, parameters and multiply-adds."""

    name: str
    kind: str
    before: int
    after: int
    kernel: int
    input_side: int
    output_side: int
    parameters: int
    multiply_adds: int


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--input-size", type=int, default=572, help="side of the tile, pixels (default: 572)")


def run(arguments):
    """Print and draw the measured network; returns 1 when a size differs from the paper's."""
    layers = measure(arguments.input_size)
    print(layer_table(layers))
    same = True
    if arguments.input_size == 572:
        for metric, measured, published in against_paper(layers):
            same &= measured == published
            print(f"{metric.replace('_', ' ')}: measured {measured}, paper {published}")
    from reproduce.drawing import save_figure

    print(f"figure: {save_figure(draw(layers), arguments.out / 'figures' / 'figure1.png')}")
    return 0 if same else 1


def measure(input_size=572):
    """The layers of the paper's network in the order in which a tile passes them."""
    import torch

    from unet_paper.model import UNet

    with torch.device("meta"):
        model = UNet().eval()
        tile = torch.zeros(1, model.config.in_channels, input_size, input_size)
    layers = []

    def hook(module, inputs, output, name):
        up = isinstance(module, torch.nn.ConvTranspose2d)
        kernel, reached = module.kernel_size[0], module.kernel_size[0] // (module.stride[0] if up else 1)
        work = output.shape[-1] * output.shape[-2] * module.in_channels * module.out_channels * reached**2
        layers.append(
            Layer(
                name,
                "up-convolution" if up else "convolution",
                module.in_channels,
                module.out_channels,
                kernel,
                inputs[0].shape[-1],
                output.shape[-1],
                sum(p.numel() for p in module.parameters()),
                work,
            )
        )

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(lambda m, i, o, name=name: hook(m, i, o, name))
    with torch.no_grad():
        model(tile)
    return layers


def depth_of(layers):
    """Number of poolings of the measured network: one for each up-convolution."""
    return sum(layer.kind == "up-convolution" for layer in layers)


def crops(layers):
    """Pixels cropped from each side of every skip, deepest first, by the measured sides."""
    depth = depth_of(layers)
    skips = [layers[2 * level + 1].output_side for level in range(depth)]
    ups = [layer.output_side for layer in layers if layer.kind == "up-convolution"]
    return tuple((skip - up) // 2 for skip, up in zip(reversed(skips), ups))


def layer_table(layers):
    """The layers as text, with the totals."""
    head = f"{'layer':22} {'channels':>13} {'kernel':>6} {'side':>11} {'parameters':>11} {'GMAC':>8}"
    lines = [head, "-" * len(head)]
    for x in layers:
        lines.append(
            f"{x.name:22} {x.before:>5} -> {x.after:<4} {x.kernel:>5}  {x.input_side:>4} -> {x.output_side:<3} "
            f"{x.parameters:>11,} {x.multiply_adds / 1e9:>8.3f}"
        )
    parameters, work = sum(x.parameters for x in layers), sum(x.multiply_adds for x in layers)
    lines.append(f"{len(layers)} convolutional layers, {parameters:,} parameters, {work / 1e9:.2f} GMAC forward")
    lines.append(f"skips are cropped by {', '.join(map(str, crops(layers)))} px a side, deepest first")
    return "\n".join(lines)


def against_paper(layers):
    """Metric, measured and published value of every number of the drawing."""
    depth = depth_of(layers)
    measured = {
        "convolutional_layers": len(layers),
        "input_size": layers[0].input_side,
        "output_size": layers[-1].output_side,
        "base_channels": layers[0].after,
        "deepest_channels": max(layer.after for layer in layers),
        "lowest_resolution": layers[2 * depth].input_side,
    }
    published = {number["id"]: number["value"] for number in read_numbers()}
    return [(metric, value, published[metric]) for metric, value in measured.items()]


def draw(layers):
    """The U of Figure 1: maps as boxes, with channels above and sides beside them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    from reproduce.drawing import COLOURS, new_figure

    blue, red, green, grey = COLOURS[0], COLOURS[1], COLOURS[2], "#888888"
    figure = new_figure(14, 8)
    axes = figure.subplots()
    axes.set_axis_off()
    depth = depth_of(layers)
    heights = [SIDE_SCALE * math.sqrt(layers[2 * level].input_side) for level in range(depth + 1)]
    middles = [-sum(heights[:level]) - heights[level] / 2 - 0.85 * level for level in range(depth + 1)]

    def width(channels):
        return 0.12 + CHANNEL_SCALE * math.log2(channels)

    def box(x, level, channels, side, *, copied=False):
        w, h, y = width(channels), SIDE_SCALE * math.sqrt(side), middles[level]
        face = "white" if copied else "#cfe3f3"
        axes.add_patch(
            Rectangle((x, y - h / 2), w, h, facecolor=face, edgecolor=blue, lw=1.2, ls="--" if copied else "-")
        )
        axes.text(x + w / 2, y + h / 2 + 0.05, channels, ha="center", va="bottom", fontsize=8)
        axes.text(x - 0.03, y - h / 2, f"{side}²", ha="right", va="bottom", rotation=90, fontsize=7.5, color="#333333")
        return x + w

    def arrow(start, end, colour):
        axes.annotate(
            "", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkA": 1, "shrinkB": 1}
        )

    def convolve(right, level, layer, colour=blue):
        gap = DEEPEST_GAP if level == depth else GAP
        end = box(right + gap, level, layer.after, layer.output_side)
        arrow((right, middles[level]), (right + gap - 0.17, middles[level]), colour)
        return end

    steps = iter(layers)
    left, skips = 0.0, []
    for level in range(depth + 1):
        first, second = next(steps), next(steps)
        right = box(left, level, first.before, first.input_side)
        right = convolve(convolve(right, level, first), level, second)
        left = right - width(second.after)
        bottom = middles[level] - SIDE_SCALE * math.sqrt(second.output_side) / 2
        if level < depth:
            skips.append((right, second))
            top = middles[level + 1] + heights[level + 1] / 2
            arrow((left + 0.2, bottom), (left + 0.2, top + 0.24), red)
    for level, crop in zip(reversed(range(depth)), crops(layers)):
        up, first, second = next(steps), next(steps), next(steps)
        below = middles[level + 1] + SIDE_SCALE * math.sqrt(up.input_side) / 2
        start, skip = skips[level]
        x = left + width(skip.after) + 0.1
        h = SIDE_SCALE * math.sqrt(up.output_side) / 2
        box(x - width(skip.after), level, skip.after, up.output_side, copied=True)
        right = box(x, level, up.after, up.output_side)
        axes.texts[-1].remove()  # one side label for the two halves
        arrow((x + width(up.after) / 2, below + 0.24), (x + width(up.after) / 2, middles[level] - h), green)
        end = x - width(skip.after) - 0.17
        arrow((start, middles[level]), (end, middles[level]), grey)
        text = f"crop {crop} px a side\n{skip.output_side}² to {up.output_side}²"
        axes.text(
            (start + end) / 2, middles[level] + 0.06, text, ha="center", va="bottom", fontsize=8.5, color="#444444"
        )
        right = convolve(convolve(right, level, first), level, second)
        left = right - width(second.after)
    score = next(steps)
    end = convolve(right, 0, score, COLOURS[3])
    axes.text(end + 0.1, middles[0], "segmentation\nmap", va="center", fontsize=9)
    axes.text(-0.3, middles[0], "image\ntile", va="center", ha="right", fontsize=9)
    parameters, work = sum(x.parameters for x in layers), sum(x.multiply_adds for x in layers)
    keys = (
        (blue, "3x3 convolution, ReLU"),
        (grey, "copy and crop"),
        (red, "2x2 max pooling"),
        (green, "2x2 up-convolution, ReLU"),
        (COLOURS[3], "1x1 convolution"),
    )
    handles = [Line2D([], [], color=colour, lw=2, label=text) for colour, text in keys]
    axes.legend(handles=handles, loc="lower left", fontsize=9, frameon=False)
    axes.set_title(
        f"Measured: {len(layers)} convolutional layers, {parameters:,} parameters, {work / 1e9:.2f} GMAC a tile\n"
        "above a box: channels; beside it: side in pixels",
        fontsize=11,
    )
    axes.set_xlim(-1.2, end + 1.3)
    axes.set_ylim(middles[-1] - 1.0, 0.35)
    return figure
