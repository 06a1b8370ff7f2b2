"""U2-Net: a U whose levels are small residual Us.

After Qin et al. (2020), Figures 2 and 5, and github.com/xuebinqin/U-2-Net, the full-size model:
RSU-7/6/5/4 blocks that pool inside themselves, RSU-4F blocks that dilate instead, a side output of
every stage of the decoder and of the bottom, and a fused one; the loss is the sum of their seven binary
cross entropies, the prediction the fused output, without stretching each slice to [0, 1]. Adam with a constant
rate of 1e-3 and PyTorch's default initialisation, as the authors' training program has them; in their version
of PyTorch that of the factors of batch normalisation was uniform in [0, 1], today they begin at 1. Tiles and
number of steps are the U-Net's here, the batch is one tile.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reproduce.baselines.common import PADDED_PREDICTION, baseline_recipe, constant, convolution
from reproduce.experiment.run import Method

LEARNING_RATE = 1e-3


def build(config):
    """The authors' recipe; augmentation, steps and precision are the U-Net's."""
    recipe = baseline_recipe(
        config,
        U2Net,
        divisor=32,
        loss=deep_cross_entropy,
        optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE),
        schedule=partial(constant, rate=LEARNING_RATE),
    )
    return Method("u2net", "U2-Net", recipe, PADDED_PREDICTION)


class U2Net(nn.Module):
    """Maps (N, in_channels, h, w), sides multiples of 32, to the fused logits of cell (N, 1, h, w).

    In training it returns all seven, (N, 7, h, w), the fused one first.

    Parameters
    ----------
    in_channels : int
    width : float
        Factor of all channel numbers; 1 is the published network.

    References
    ----------
    Qin et al. (2020), doi:10.1016/j.patcog.2020.107404.

    Examples
    --------
    >>> sum(p.numel() for p in U2Net(in_channels=3).parameters())
    44009869
    """

    def __init__(self, in_channels=1, width=1.0):
        super().__init__()

        def stages(*rows):
            scaled = [[c if c == in_channels else int(c * width) for c in row[1:]] for row in rows]
            return nn.ModuleList(ResidualU(row[0], *channels) for row, channels in zip(rows, scaled))

        self.encoder = stages(  # layers (0: RSU-4F), channels in, inside, out
            (7, in_channels, 32, 64),
            (6, 64, 32, 128),
            (5, 128, 64, 256),
            (4, 256, 128, 512),
            (0, 512, 256, 512),
            (0, 512, 256, 512),
        )
        self.decoder = stages(
            (7, 128, 16, 64), (6, 256, 32, 64), (5, 512, 64, 128), (4, 1024, 128, 256), (0, 1024, 256, 512)
        )
        sides = [int(c * width) for c in (64, 64, 128, 256, 512, 512)]
        self.side = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in sides)
        self.fuse = nn.Conv2d(6, 1, 1)

    def forward(self, image):
        x, skips = image, []
        for level, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(x, 2) if level else x)  # h, h/2, h/4, h/8, h/16, h/32
            skips.append(x)
        maps = [self.side[5](x)]
        for level in reversed(range(5)):
            x = self.decoder[level](torch.cat([enlarge(x, skips[level]), skips[level]], dim=1))
            maps.insert(0, self.side[level](x))
        maps = torch.cat([enlarge(m, image) for m in maps], dim=1)  # (N, 6, h, w)
        fused = self.fuse(maps)
        return torch.cat([fused, maps], dim=1) if self.training else fused


class ResidualU(nn.Module):
    """RSU-L: a U of L layers, its input convolution added to its output.

    Parameters
    ----------
    layers : int
        L, with L - 2 poolings; 0 for RSU-4F, which has dilations 1, 2, 4, 8 and no pooling.
    before, inside, after : int
        Channels.
    """

    def __init__(self, layers, before, inside, after):
        super().__init__()
        self.pools = layers > 0
        dilations = [1] * (layers - 1) + [2] if self.pools else [1, 2, 4, 8]
        self.entry = convolution(before, after)
        self.down = nn.ModuleList(
            convolution(after if i == 0 else inside, inside, dilation=d) for i, d in enumerate(dilations[:-1])
        )
        self.bottom = convolution(inside, inside, dilation=dilations[-1])
        self.up = nn.ModuleList(
            convolution(2 * inside, after if i == 0 else inside, dilation=d) for i, d in enumerate(dilations[:-1])
        )

    def forward(self, x):
        entry = x = self.entry(x)
        skips = []
        for level, down in enumerate(self.down):
            x = down(F.max_pool2d(x, 2) if level and self.pools else x)
            skips.append(x)
        x = self.bottom(x)
        for skip, up in reversed(list(zip(skips, self.up))):
            x = up(torch.cat([enlarge(x, skip), skip], dim=1))
        return x + entry


def enlarge(x, like):
    """Bilinear interpolation of `x` to the height and width of `like`."""
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, size=like.shape[-2:], mode="bilinear")


def deep_cross_entropy(logits, labels, weights):
    """Sum over the channels of `logits` (N, 7, H, W) of their mean binary cross entropies.

    Examples
    --------
    >>> round(float(deep_cross_entropy(torch.zeros(1, 7, 2, 2), torch.ones(1, 2, 2), None)), 4)  # 7 log 2
    4.852
    """
    truth = labels[:, None].float().expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits.float(), truth) * logits.shape[1]
