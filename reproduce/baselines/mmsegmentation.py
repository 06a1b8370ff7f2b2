"""mmsegmentation's U-Net: UNet-S5-D16 with an FCN head and an auxiliary head.

After github.com/open-mmlab/mmsegmentation, ``configs/_base_/models/fcn_unet_s5-d16.py`` and
``mmseg/models/{backbones/unet,decode_heads/fcn_head}.py``, without that library: batch normalisation,
zero padding, no biases before it; bilinear up-sampling and a 1x1 convolution instead of an
up-convolution; a head of 3x3 convolution, channel dropout 0.1 and 1x1 convolution; the same head on the
128-channel map, weighted 0.4, in training only. Plain cross entropy for both. SGD as in
``configs/unet``: learning rate 0.01 falling to 1e-4 with power 0.9, momentum 0.9, weight decay 5e-4.
Tiles and number of steps are the U-Net's here, the batch is one tile, where the library normalises over sixteen
crops, and a slice is predicted in one window, where it slides one of 256 px.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reproduce.baselines.common import PADDED_PREDICTION, baseline_recipe, convolution, polynomial
from reproduce.experiment.run import Method

conv_module = partial(convolution, bias=False)  # the library's ConvModule
LEARNING_RATE, FLOOR, MOMENTUM, WEIGHT_DECAY = 0.01, 1e-4, 0.9, 5e-4
AUXILIARY = 0.4


def build(config):
    """The library's recipe; augmentation, steps and precision are the U-Net's."""
    recipe = baseline_recipe(
        config,
        UNetS5D16,
        divisor=16,
        loss=partial(two_cross_entropies, auxiliary=AUXILIARY),
        optimizer=partial(torch.optim.SGD, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY),
        schedule=partial(polynomial, peak=LEARNING_RATE, floor=FLOOR),
    )
    return Method("mmsegmentation", "mmsegmentation UNet-S5-D16 + FCN head", recipe, PADDED_PREDICTION)


class UNetS5D16(nn.Module):
    """Maps (N, in_channels, h, w), sides multiples of 16, to logits (N, 2, h, w).

    In training it returns the pair of these and the auxiliary head's, (N, 2, h / 2, w / 2).

    Examples
    --------
    >>> sum(p.numel() for p in UNetS5D16(in_channels=3).parameters())
    29060676
    """

    def __init__(self, in_channels=1, base_channels=64):
        super().__init__()
        channels = [base_channels * 2**level for level in range(5)]  # 64, 128, 256, 512, 1024
        self.contracting = nn.ModuleList(double(b, c) for b, c in zip([in_channels, *channels], channels))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), *conv_module(2 * c, c, 1))
            for c in channels[:-1]
        )
        self.expansive = nn.ModuleList(double(2 * c, c) for c in channels[:-1])
        self.head = head(channels[0], base_channels)
        self.auxiliary = head(channels[1], base_channels)
        self.apply(initialise)

    def forward(self, image):
        x, skips = image, []
        for level, convolutions in enumerate(self.contracting):
            x = convolutions(self.pool(x) if level else x)  # h, h/2, h/4, h/8, h/16
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.expansive[level](torch.cat([skips[level], self.up[level](x)], dim=1))
            if level == 1 and self.training:
                auxiliary = self.auxiliary(x)  # (N, 2, h/2, w/2)
        logits = self.head(x)  # (N, 2, h, w)
        return (logits, auxiliary) if self.training else logits


def double(before, after):
    """Two 3x3 ConvModules."""
    return nn.Sequential(conv_module(before, after), conv_module(after, after))


def head(before, channels):
    """The library's FCNHead with one convolution."""
    return nn.Sequential(conv_module(before, channels), nn.Dropout2d(0.1), nn.Conv2d(channels, 2, 1))


def initialise(module):
    """ConvModules He-normal by fan-out; the two classifiers, which alone have biases, N(0, 0.01)."""
    if not isinstance(module, nn.Conv2d):
        return
    if module.bias is None:
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    else:
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def two_cross_entropies(outputs, labels, weights, *, auxiliary):
    """Cross entropy of the head plus `auxiliary` times that of the auxiliary head, enlarged to the labels.

    Examples
    --------
    >>> labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    >>> equal = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 2, 2)
    >>> round(float(two_cross_entropies(equal, labels, None, auxiliary=0.4)), 4)  # 1.4 log 2
    0.9704
    """
    logits, coarse = (o.float() for o in outputs)
    coarse = F.interpolate(coarse, size=labels.shape[-2:], mode="bilinear")
    return F.cross_entropy(logits, labels) + auxiliary * F.cross_entropy(coarse, labels)
