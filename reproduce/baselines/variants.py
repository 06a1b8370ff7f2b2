"""Variants of the U-Net for the ablations: what the paper leaves open or argues for, changed alone.

Each network is a class of its own, so that the network of the paper keeps no option that
the paper does not have.
"""

import math
from copy import copy

import torch
import torch.nn.functional as F
from torch import nn

from reproduce.baselines.common import MARGIN, Padded, same_padding
from unet_paper import shapes
from unet_paper.model import DoubleConvolution, UNet, UpConvolution, he_normal
from unet_paper.recipe import weighted_sampler

REACH = 0.8  # of its side a tile, rotated and deformed, reaches from its centre; half a border of zeros mirrors to it


class LinearUpUNet(UNet):
    """U-Net without the ReLU after its up-convolutions; the paper does not mention one (S6).

    Examples
    --------
    >>> sum(isinstance(m, nn.ReLU) for m in LinearUpUNet(base_channels=1).modules())
    18
    """

    def __init__(self, **network):
        super().__init__(**network)
        for up in self.up_convolutions:
            up[1] = nn.Identity()


class ReleasedUNet(UNet):
    """U-Net of the authors' release: the last up-convolution keeps its 128 channels (S7).

    The upsampled map comes first in the concatenation, as in `UNet`.

    Examples
    --------
    >>> sum(p.numel() for p in ReleasedUNet().parameters())
    31100354
    """

    def __init__(self, **network):
        super().__init__(**network)
        channels = self.config.base_channels
        self.up_convolutions[0] = UpConvolution(2 * channels, 2 * channels).apply(he_normal)
        self.expansive[0] = DoubleConvolution(3 * channels, channels).apply(he_normal)


def padded_unet(*, margin=MARGIN, **network):
    """U-Net with zero padding in every 3x3 convolution, so that nothing is cropped.

    Sides are multiples of 16; in evaluation `margin` pixels a side are left out of the output.

    Examples
    --------
    >>> padded_unet(margin=8, base_channels=1).eval()(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 2, 16, 32])
    """
    model = SamePaddingUNet(**network)
    return Padded(model, shapes.period(model.config.depth), margin)


class SamePaddingUNet(UNet):
    """The U-Net's layers with zero padding: logits as large as the image, whose sides `Padded` checks."""

    def __init__(self, **network):
        super().__init__(**network)
        self.apply(same_padding)

    def check_side(self, side):
        """Every side that `Padded` lets through is legal."""


def zero_padded_sampler(images, labels, device, **settings):
    """The paper's tiles with zeros, the mean gray value, instead of the mirrored image around each slice."""
    return ZeroPaddedSampler(weighted_sampler(images, labels, device, **settings))


class ZeroPaddedSampler:
    """Tiles of a `TileSampler` that sees nothing beyond a slice: gray value 0 and weight 0 there.

    It draws the same random numbers, so that its tiles differ from the U-Net's in nothing else.

    Examples
    --------
    >>> import numpy as np
    >>> from unet_paper.sampler import TileSampler
    >>> stack = np.ones((1, 20, 20), np.float32)
    >>> sampler = ZeroPaddedSampler(TileSampler(stack, stack, stack, input_size=188, output_size=4))
    >>> tile = sampler(np.array([[0, 9.5, 9.5, 0, 1, 0] + [0] * 18], np.float32))  # centred, nothing random
    >>> round(tile.image.sum().item(), 2), round(tile.weights.sum().item(), 2)
    (400.0, 16.0)
    """

    def __init__(self, sampler):
        self.draw, self.padded = sampler.draw, copy(sampler)
        self.border = math.ceil(REACH * len(sampler.matrix) / 2)
        for name in ("images", "labels", "weights"):
            setattr(self.padded, name, F.pad(getattr(sampler, name), [self.border] * 4))

    def __call__(self, drawn):
        """As `TileSampler.__call__`, of what `draw` returned."""
        drawn = torch.as_tensor(drawn).clone()
        drawn[:, 1:3] += self.border
        return self.padded(drawn)
