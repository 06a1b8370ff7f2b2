"""Figure 1: the network's sizes, measured on the network itself, and the U drawn from them.

Forward hooks read the shape of every layer's output while a tile passes through on the meta device,
which computes shapes and nothing else. Parameters and multiply-adds follow from what was measured.
"""

import json
import math
from typing import NamedTuple

import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from reproduce.figures.style import COLOURS, new_figure, save_figure
from reproduce.records import RESULTS
from unet_paper.model import UNet

BLUE, RED, GREEN, PINK = COLOURS[:4]
GREY = "#888888"
ARROWS = {
    "3x3 convolution, ReLU": BLUE,
    "copy and crop": GREY,
    "2x2 max pooling": RED,
    "2x2 up-convolution, ReLU": GREEN,
    "1x1 convolution": PINK,
}
SIDE_SCALE, CHANNEL_SCALE = 0.1, 0.05  # height by the root of the side, width by log2 of the channels
GAP = 0.7


class Layer(NamedTuple):
    """One convolutional layer: its name, channels, sides in pixels, parameters and multiply-adds."""

    name: str
    is_up: bool
    before: int
    after: int
    kernel: int
    input_side: int
    output_side: int
    parameters: int
    multiply_adds: int


def run(arguments):
    """Print and draw the measured network; returns 1 when a size differs from the paper's."""
    layers = measure(arguments.input_size)
    print(layer_table(layers))
    same = True
    if arguments.input_size == 572:
        for metric, measured, published in against_paper(layers):
            same &= measured == published
            print(f"{metric.replace('_', ' ')}: measured {measured}, paper {published}")
    print(f"figure: {save_figure(draw(layers), arguments.out / 'figures' / 'figure1.png')}")
    return 0 if same else 1


def measure(input_size=572):
    """The layers of the paper's network in the order in which a tile passes them."""
    with torch.device("meta"):
        model = UNet().eval()
        tile = torch.zeros(1, model.config.in_channels, input_size, input_size)
    names = {module: name for name, module in model.named_modules()}
    layers = []

    def measure_layer(module, inputs, output):
        is_up, kernel = isinstance(module, torch.nn.ConvTranspose2d), module.kernel_size[0]
        before, after, sides = module.in_channels, module.out_channels, (inputs[0].shape[-1], output.shape[-1])
        reached = kernel // module.stride[0]  # pixels a side that make one of the output
        parameters, work = sum(p.numel() for p in module.parameters()), (sides[1] * reached) ** 2 * before * after
        layers.append(Layer(names[module], is_up, before, after, kernel, *sides, parameters, work))

    for module in names:
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.register_forward_hook(measure_layer)
    with torch.no_grad():
        model(tile)
    return layers


def paths(layers):
    """The two convolutions of each level of the contracting path, the up-convolution and two of the expansive path."""
    bottom = 2 * sum(layer.is_up for layer in layers) + 2
    down, up = layers[:bottom], layers[bottom:-1]
    return list(zip(down[::2], down[1::2])), list(zip(up[::3], up[1::3], up[2::3]))


def crops(layers):
    """Pixels cropped from each side of every skip, deepest first, by the measured sides."""
    contracting, expansive = paths(layers)
    skips = [second.output_side for _, second in reversed(contracting[:-1])]
    return tuple((skip - up.output_side) // 2 for skip, (up, _, _) in zip(skips, expansive))


def totals(layers):
    """The size of the network in words."""
    parameters, work = (sum(getattr(x, name) for x in layers) for name in ("parameters", "multiply_adds"))
    return f"{len(layers)} convolutional layers, {parameters:,} parameters, {work / 1e9:.2f} GMAC forward"


def layer_table(layers):
    """The layers as text, with the totals."""
    head = f"{'layer':22} {'channels':>13} {'kernel':>6} {'side':>11} {'parameters':>11} {'GMAC':>8}"
    lines = [
        f"{x.name:22} {x.before:>5} -> {x.after:<4} {x.kernel:>5}  {x.input_side:>4} -> {x.output_side:<3} "
        f"{x.parameters:>11,} {x.multiply_adds / 1e9:>8.3f}"
        for x in layers
    ]
    skips = f"skips are cropped by {', '.join(map(str, crops(layers)))} px a side, deepest first"
    return "\n".join([head, "-" * len(head), *lines, totals(layers), skips])


def against_paper(layers):
    """Metric, measured and published value of every number of the drawing."""
    contracting, _ = paths(layers)
    measured = {
        "convolutional_layers": len(layers),
        "input_size": layers[0].input_side,
        "output_size": layers[-1].output_side,
        "base_channels": layers[0].after,
        "deepest_channels": max(layer.after for layer in layers),
        "lowest_resolution": contracting[-1][0].input_side,
    }
    numbers = json.loads((RESULTS / "paper.json").read_text(encoding="utf-8"))["numbers"]
    published = {number["id"]: number["value"] for number in numbers}
    return [(metric, value, published[metric]) for metric, value in measured.items()]


def draw(layers):
    """The U of Figure 1: maps as boxes, with their channels above them and their sides in them."""
    figure = new_figure(11, 6.6)
    axes = figure.subplots()
    axes.set_axis_off()
    contracting, expansive = paths(layers)
    heights = [height(first.input_side) for first, _ in contracting]
    middles = [-sum(heights[:level]) - heights[level] / 2 - 0.8 * level for level in range(len(heights))]

    def box(x, level, channels, side, style="-"):
        y, face = middles[level] - height(side) / 2, "#cfe3f3" if style == "-" else "white"
        colours = {"facecolor": face, "edgecolor": BLUE}
        axes.add_patch(Rectangle((x, y), width(channels), height(side), lw=1.2, ls=style, **colours))
        centre = x + width(channels) / 2
        axes.text(centre, y + height(side) + 0.04, channels, ha="center", va="bottom", fontsize=8)
        axes.text(centre, middles[level], f"{side}²", ha="center", va="center", rotation=90, fontsize=8)
        return x + width(channels)

    def arrow(start, end, colour):
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "shrinkB": 1})

    def convolve(x, level, layer, colour=BLUE):
        arrow((x, middles[level]), (x + GAP, middles[level]), colour)
        return box(x + GAP, level, layer.after, layer.output_side)

    left, ends = 0.0, []
    for level, (first, second) in enumerate(contracting):
        right = box(left, level, first.before, first.input_side)
        ends.append(convolve(convolve(right, level, first), level, second))
        left = ends[-1] - width(second.after)
        if level < len(expansive):
            x, bottom = left + width(second.after) / 2, middles[level] - height(second.output_side) / 2
            arrow((x, bottom), (x, middles[level + 1] + heights[level + 1] / 2 + 0.25), RED)
    for level, (up, first, second), crop in zip(reversed(range(len(expansive))), expansive, crops(layers)):
        skip, y = contracting[level][1], middles[level]
        copied = left - width(skip.after)
        box(copied, level, skip.after, up.output_side, "--")
        right = box(left, level, up.after, up.output_side)
        x, top = left + width(up.after) / 2, middles[level + 1] + height(up.input_side) / 2
        arrow((x, top + 0.25), (x, y - height(up.output_side) / 2), GREEN)
        arrow((ends[level], y), (copied, y), GREY)
        axes.text((ends[level] + copied) / 2, y + 0.06, f"crop {crop}", ha="center", va="bottom", fontsize=8)
        right = convolve(convolve(right, level, first), level, second)
        left = right - width(second.after)
    end = convolve(right, 0, layers[-1], PINK)
    axes.text(-0.15, middles[0], "image\ntile", va="center", ha="right", fontsize=9)
    axes.text(end + 0.15, middles[0], "segmentation\nmap", va="center", fontsize=9)
    handles = [Line2D([], [], color=colour, lw=2, label=name) for name, colour in ARROWS.items()]
    axes.legend(handles=handles, loc="lower left", fontsize=9, frameon=False)
    key = "above a box: channels; in it: side in pixels; above a skip: pixels cropped from each side"
    axes.set_title(f"Measured: {totals(layers)}\n{key}", fontsize=10)
    axes.autoscale_view()
    return figure


def height(side):
    """Height of a box."""
    return SIDE_SCALE * math.sqrt(side)


def width(channels):
    """Width of a box."""
    return 0.4 + CHANNEL_SCALE * math.log2(channels)
