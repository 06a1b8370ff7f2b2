"""A practitioner's choice of today: the U-Net of nnU-Net, as MONAI's DynUNet.

nnU-Net (Isensee et al. 2021) configures a plain U-Net well; its choices for two-dimensional 512x512
tiles are taken: channels 32, 64, 128, 256, 512, 512, 512, 512, strided convolutions, instance
normalisation, leaky ReLU, no pre-trained weights; the sum of Dice loss and cross entropy at six
resolutions with weights 1, 1/2, 1/4, ... divided by their sum; SGD with Nesterov momentum 0.99, weight
decay 3e-5, gradients clipped to a norm of 12, and learning rate 0.01 falling to zero with power 0.9.

Different from nnU-Net: tiles and number of steps are the U-Net's here and the batch is one tile; DynUNet
enlarges coarse logits to the labels (by repetition), where nnU-Net makes the labels coarser, and has no biases in
its convolutions but those of the outputs; Dice is the mean of both classes, where nnU-Net leaves out the
background; the rate falls every step, not every 250; a slice is predicted in one window with mirrored
surroundings, larger than a tile of training, where nnU-Net averages windows as large as those; its own
augmentation, cascade and ensemble are left out.

Needs MONAI (``pip install monai``), which is imported only when this baseline is used.
"""

from functools import partial

import torch

from reproduce.baselines.common import PADDED_PREDICTION, MissingLibrary, baseline_recipe, polynomial
from reproduce.experiment.run import Method

CHANNELS = (32, 64, 128, 256, 512, 512, 512, 512)
SUPERVISED = 6  # resolutions that enter the loss
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, CLIP = 0.01, 0.99, 3e-5, 12.0


def build(config):
    """nnU-Net's recipe; augmentation, steps and precision are the U-Net's."""
    monai()  # a `MissingLibrary` now rather than when training begins
    recipe = baseline_recipe(
        config,
        partial(dynamic_unet, channels=CHANNELS, supervised=SUPERVISED),
        divisor=2 ** (len(CHANNELS) - 1),
        loss=deep_dice_cross_entropy,
        optimizer=partial(
            ClippedSGD, clip=CLIP, lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        ),
        schedule=partial(polynomial, peak=LEARNING_RATE),
    )
    return Method("modern", "nnU-Net's U-Net (MONAI DynUNet)", recipe, PADDED_PREDICTION)


def monai():
    """The library; raises `MissingLibrary`."""
    try:
        import monai.losses
        import monai.networks.nets
    except ImportError as error:
        raise MissingLibrary("the baseline 'modern' needs MONAI: pip install monai") from error
    return monai


def dynamic_unet(*, channels, supervised):
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
    """SGD that first shortens the gradient of all parameters to a norm of `clip`."""

    def __init__(self, params, *, clip, **sgd):
        super().__init__(params, **sgd)
        self.clip = clip

    def step(self, closure=None):
        """One step, after clipping."""
        for group in self.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], self.clip)
        return super().step(closure)


def deep_dice_cross_entropy(outputs, labels, weights):
    """Dice loss plus cross entropy at every supervised resolution, weighted 1, 1/2, 1/4, ... over their sum."""
    loss = monai().losses.DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    factors = [0.5**i for i in range(outputs.shape[1])]
    parts = [f * loss(outputs[:, i].float(), labels[:, None]) for i, f in enumerate(factors)]
    return sum(parts) / sum(factors)
