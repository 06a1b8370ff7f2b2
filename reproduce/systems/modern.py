"""A practitioner's choice of today: the U-Net of nnU-Net, as MONAI's DynUNet.

nnU-Net (Isensee et al. 2021) configures a plain U-Net well; its choices for two-dimensional 512x512
tiles are taken: channels 32, 64, 128, 256, 512, 512, 512, 512, strided convolutions, instance
normalisation, leaky ReLU, no pre-trained weights; the sum of Dice loss and cross entropy at six
resolutions with weights 1, 1/2, 1/4, ... divided by their sum; SGD with Nesterov momentum 0.99, weight
decay 3e-5, gradients clipped to a norm of 12, and learning rate 0.01 falling to zero with power 0.9.

Different from nnU-Net: tiles and number of steps are the U-Net's here and the batch is one tile; DynUNet
enlarges coarse logits to the labels, where nnU-Net makes the labels coarser; Dice is the mean of both
classes, where nnU-Net leaves out the background; its own augmentation, cascade and ensemble are left out.

Needs MONAI (``pip install monai``), which is imported only when this system is used.
"""

from dataclasses import asdict
from functools import partial

import torch

from reproduce.experiment import System
from reproduce.systems.common import PADDED_PREDICTION, TILE, Padded, plain_sampler, polynomial
from unet_paper.errors import InputError
from unet_paper.train import Recipe

CHANNELS = (32, 64, 128, 256, 512, 512, 512, 512)
SUPERVISED = 6  # resolutions that enter the loss
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, CLIP = 0.01, 0.99, 3e-5, 12.0


def build(config):
    """nnU-Net's recipe; augmentation, steps and precision are the U-Net's."""
    how = config.training
    recipe = Recipe(
        build=lambda: Padded(network(), 2 ** (len(CHANNELS) - 1)),
        loss=DeepDiceCrossEntropy(),
        optimizer=partial(ClippedSGD, lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY),
        learning_rate=partial(polynomial, steps=how.steps, peak=LEARNING_RATE),
        sampler=plain_sampler(config),
        steps=how.steps,
        batch=1,
        precision=how.precision,
        identity={
            "system": "modern",
            "optimizer": {
                "name": "sgd, nesterov",
                "learning_rate": LEARNING_RATE,
                "momentum": MOMENTUM,
                "weight_decay": WEIGHT_DECAY,
                "clip": CLIP,
                "supervised": SUPERVISED,
                "schedule": "poly 0.9",
            },
            "tile": TILE,
            "steps": how.steps,
            "precision": how.precision,
            "augmentation": asdict(config.augmentation),
        },
    )
    return System("modern", "nnU-Net's U-Net (MONAI DynUNet)", recipe, PADDED_PREDICTION)


def monai():
    """The library, or an `InputError` that says how to get it."""
    try:
        import monai.losses
        import monai.networks.nets
    except ImportError as error:
        raise InputError("the system 'modern' needs MONAI: pip install monai") from error
    return monai


def network(channels=CHANNELS, supervised=SUPERVISED):
    """DynUNet: (N, 1, h, w), sides multiples of 128, to logits (N, 2, h, w).

    In training the result is (N, supervised, 2, h, w), the coarser resolutions enlarged.
    """
    strides = [1] + [2] * (len(channels) - 1)
    return monai().networks.nets.DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        kernel_size=[3] * len(channels),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=channels,
        norm_name=("instance", {"affine": True}),
        deep_supervision=True,
        deep_supr_num=supervised - 1,
    )


class ClippedSGD(torch.optim.SGD):
    """SGD that first shortens the gradient of all parameters to a norm of 12."""

    def step(self, closure=None):
        """One step, after clipping."""
        for group in self.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], CLIP)
        return super().step(closure)


class DeepDiceCrossEntropy:
    """Dice loss plus cross entropy at every supervised resolution, weighted 1, 1/2, 1/4, ... over their sum."""

    def __init__(self):
        self.loss = monai().losses.DiceCELoss(softmax=True, to_onehot_y=True, batch=True)

    def __call__(self, outputs, labels, weights):
        factors = [0.5**i for i in range(outputs.shape[1])]
        parts = [f * self.loss(outputs[:, i].float(), labels[:, None]) for i, f in enumerate(factors)]
        return sum(parts) / sum(factors)
