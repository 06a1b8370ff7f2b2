"""The Keras U-Net of many tutorials: half the channels, zero padding, one sigmoid channel, Dice loss.

Channels 32 to 512, 3x3 convolutions with "same" padding and ReLU, 2x2 transposed convolutions without
ReLU, no dropout and no normalisation; Glorot-uniform weights and zero biases, which are Keras's
defaults; Dice loss with 1 added to numerator and denominator, Adam with a constant rate of 1e-5. This is
the widely copied solution for the ultrasound nerve challenge
(github.com/jocicmarko/ultrasound-nerve-segmentation, its last version), not the Keras tutorial for the
membranes of ISBI 2012 (github.com/zhixuhao/unet: 64 to 1024 channels, cross entropy, Adam 1e-4). The
Dice coefficient is that of membrane, the rarer class, as the nerve is there: with the cells, which fill
four fifths of a slice, small trials settled on calling everything cell. Tiles and number of steps are
those of the U-Net here, the batch is one tile; the tutorials have no weight map.
"""

from functools import partial

import torch
from torch import nn

from reproduce.baselines.common import PADDED_PREDICTION, baseline_recipe, constant, same_padding
from reproduce.experiment.run import Method
from unet_paper.model import DoubleConvolution

LEARNING_RATE = 1e-5
MEMBRANE = 0  # class of the Dice loss


def build(config):
    """The tutorials' recipe; augmentation, steps and precision are the U-Net's."""
    recipe = baseline_recipe(
        config,
        KerasUNet,
        divisor=16,
        loss=partial(dice_loss, target=MEMBRANE),
        optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE, eps=1e-7),  # Keras's default since 2.1.3
        schedule=partial(constant, rate=LEARNING_RATE),
    )
    return Method("keras-unet", "Keras U-Net of the tutorials", recipe, PADDED_PREDICTION)


class KerasUNet(nn.Module):
    """Padded U-Net: (N, in_channels, h, w) to logits of cell (N, 1, h, w), sides multiples of 16.

    Examples
    --------
    >>> sum(p.numel() for p in KerasUNet().parameters())
    7759521
    """

    def __init__(self, in_channels=1, base_channels=32):
        super().__init__()
        channels = [base_channels * 2**level for level in range(5)]  # 32, 64, 128, 256, 512
        self.contracting = nn.ModuleList(DoubleConvolution(b, c) for b, c in zip([in_channels, *channels], channels))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * c, c, 2, stride=2) for c in channels[:-1])
        self.expansive = nn.ModuleList(DoubleConvolution(2 * c, c) for c in channels[:-1])
        self.score = nn.Conv2d(base_channels, 1, 1)
        self.apply(same_padding).apply(glorot_uniform)

    def forward(self, image):
        x, skips = image, []
        for level, double in enumerate(self.contracting):
            x = double(self.pool(x) if level else x)  # h, h/2, h/4, h/8, h/16
            skips.append(x)
        for up, double, skip in reversed(list(zip(self.up, self.expansive, skips))):
            x = double(torch.cat([up(x), skip], dim=1))
        return self.score(x)


def glorot_uniform(module):
    """Initialise as Keras does: weights uniform by fan-in plus fan-out, biases zero."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def dice_loss(logits, labels, weights, *, target):
    """One minus the Dice coefficient of class `target` over the batch, smoothed by 1; `weights` are not used.

    Examples
    --------
    >>> logits, labels = torch.tensor([[[[-100.0, 100.0]]]]), torch.tensor([[[0, 0]]])
    >>> round(float(dice_loss(logits, labels, None, target=0)), 3)  # 1 - (2 * 1 + 1) / (1 + 2 + 1)
    0.25
    """
    sign = 1 if target else -1
    probability, truth = torch.sigmoid(sign * logits.float())[:, 0], (labels == target).float()
    return 1 - (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
