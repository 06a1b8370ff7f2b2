"""The network of the paper and MONAI's, which a user would pick instead, through the library's step and prediction.

Networks are untrained: only cost is compared, for a million pixels of the result. MONAI's pads, so that it
returns all that it sees; if the library is not installed, its rows say so.
"""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import NamedTuple

from torch import nn

from unet_paper.config import ExperimentConfig, NetworkConfig
from unet_paper.model import UNet
from unet_paper.recipe import Recipe, paper_recipe

PERIOD = 32  # sides of padded networks must be multiples of it, in pixels


class Network(NamedTuple):
    """A name, ``build(config)`` of a `NetworkConfig`, and whether its convolutions pad."""

    name: str
    build: Callable[[NetworkConfig], nn.Module]
    pads: bool = True

    def recipe(self, config: ExperimentConfig, precision: str) -> Recipe:
        """The paper's recipe for this network; padded ones learn from all of a tile of about the same side."""
        recipe = paper_recipe(config)
        sampler = recipe.sampler
        if self.pads:
            side = PERIOD * round(config.training.input_size / PERIOD)
            sampler = partial(sampler, input_size=side, output_size=side)
        network = partial(self.build, config=config.network)
        return replace(recipe, network=network, sampler=sampler, precision=precision)


def paper_unet(config: NetworkConfig) -> nn.Module:
    """The network of Figure 1."""
    return UNet(**asdict(config))


def monai_unet(config: NetworkConfig) -> nn.Module:
    """MONAI's UNet with the paper's channels."""
    from monai.networks.nets import UNet

    channels = [config.base_channels * 2**level for level in range(config.depth + 1)]
    return UNet(2, config.in_channels, config.n_classes, channels, strides=[2] * config.depth)


NETWORKS = (Network("U-Net of the paper", paper_unet, pads=False), Network("MONAI UNet", monai_unet))
