"""What the baselines share: tiles without a weight map, layers, padded networks in overlap-tile, and schedules.

Every baseline that does not define its own augmentation sees the tiles of `unet_paper.sampler.TileSampler`, all see
one channel, normalised as the U-Net's (S17).
A network with zero padding is trained on tiles of which every pixel counts, as its authors do, but
predicts with surroundings: its output is cropped by `MARGIN` pixels a side, so that the overlap-tile
strategy works for it. For the Keras U-Net and mmsegmentation's the margin is all that a pixel can see, and
tiles agree as the U-Net's do; the U2-Net and the modern one see further, the latter by instance
normalisation the whole tile, so theirs agree only for slices of one tile.
"""

from functools import partial

import numpy as np
import torch
from torch import nn

from unet_paper.errors import InputError
from unet_paper.recipe import Recipe
from unet_paper.sampler import TileSampler

TILE = 512  # side of a training tile and of a predicted tile of padded networks, pixels: one ISBI slice
MARGIN = 128  # context in prediction, pixels a side; with it 768 divides by two seven times
PADDED_PREDICTION = {"tile": TILE, "margin": MARGIN}  # of predict_stack


class MissingLibrary(InputError):
    """A baseline needs a library that is not installed; the message says how to get it."""


class Padded(nn.Module):
    """A network with zero padding, with its legal sides and its output in prediction.

    In training it returns what `network` returns. In evaluation it returns logits (N, 2, h - 2 margin,
    w - 2 margin) of membrane and cell: a single channel z, whose sigmoid is the probability of cell,
    becomes the pair (0, z), whose softmax is the same.

    Parameters
    ----------
    network : Module
        Maps (N, 1, h, w) to logits; in evaluation to (N, 1 or 2, h, w).
    divisor : int
        Legal sides are its multiples: two to the number of poolings.
    margin : int
        Pixels a side that the output loses in evaluation.

    Raises
    ------
    InputError
        From `forward`, if a side is illegal; the message names the nearest legal ones.

    Examples
    --------
    >>> network = Padded(nn.Conv2d(1, 1, 3, padding=1), 2, margin=3).eval()
    >>> network(torch.zeros(1, 1, 10, 8)).shape
    torch.Size([1, 2, 4, 2])
    >>> network(torch.zeros(1, 1, 11, 8))
    Traceback (most recent call last):
    ...
    unet_paper.errors.InputError: input side 11 must be a multiple of 2 above 6: 10, 12
    """

    def __init__(self, network, divisor, margin=MARGIN):
        super().__init__()
        self.network, self.divisor, self.margin = network, divisor, margin

    def forward(self, image):
        m = 0 if self.training else self.margin
        for side in image.shape[-2:]:
            self.check_side(side, 2 * m)
        output = self.network(image)
        if self.training:
            return output
        if output.shape[1] == 1:
            output = torch.cat([torch.zeros_like(output), output], dim=1)
        return output[..., m : output.shape[-2] - m, m : output.shape[-1] - m]

    def check_side(self, side, lost):
        """Raise `InputError` unless `side` is a multiple of the divisor that leaves an output."""
        if side % self.divisor == 0 and side > lost:
            return
        below = side // self.divisor * self.divisor
        nearest = [str(n) for n in (below, below + self.divisor) if n > lost]
        if not nearest:
            nearest = [str(lost // self.divisor * self.divisor + self.divisor)]
        above = f" above {lost}" if lost else ""
        raise InputError(f"input side {side} must be a multiple of {self.divisor}{above}: {', '.join(nearest)}")


def padded_network(*, network, divisor, margin=MARGIN):
    """`Padded` around ``network()``, for a `Recipe`."""
    return Padded(network(), divisor, margin)


def baseline_recipe(config, network, *, divisor, loss, optimizer, schedule):
    """The recipe of a padded baseline: augmented tiles without weights; steps and precision of the U-Net."""
    return Recipe(
        network=partial(padded_network, network=network, divisor=divisor),
        loss=loss,
        optimizer=optimizer,
        schedule=schedule,
        sampler=partial(plain_sampler, size=TILE, augmentation=config.augmentation),
        steps=config.training.steps,
        precision=config.training.precision,
    )


def plain_sampler(images, labels, device, *, size, augmentation):
    """Augmented tiles of `size` pixels without border or class weights."""
    weights = np.ones(np.shape(images), np.float32)
    return TileSampler(
        images, labels, weights, input_size=size, output_size=size, augmentation=augmentation, device=device
    )


def convolution(before, after, kernel=3, *, dilation=1, bias=True):
    """Convolution with zero padding, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=kernel // 2 * dilation, dilation=dilation, bias=bias),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def same_padding(module):
    """Let a 3x3 convolution keep the sides of its map, by zeros around it."""
    if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
        module.padding = (1, 1)


def constant(step, steps, *, rate):
    """The same learning rate at every step."""
    return rate


def polynomial(step, steps, *, peak, power=0.9, floor=0.0):
    """Learning rate that falls from `peak` to `floor` with a power of the fraction of steps left.

    Examples
    --------
    >>> [round(polynomial(s, 100, peak=1.0), 3) for s in (0, 50, 99)]
    [1.0, 0.536, 0.016]
    """
    return floor + (peak - floor) * (1 - step / steps) ** power
