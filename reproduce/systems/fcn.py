"""FCN-style skips: the U-Net with the skip added to the upsampled map instead of concatenated.

Long, Shelhamer and Darrell (2015), section 4.2, fuse a fine and a coarse prediction by a sum; here the
sum joins feature maps, so that nothing but the junction differs from the U-Net: the first convolution
of each expansive level has half the input channels. Loss, optimiser, schedule, tiles and prediction
are the U-Net's.
"""

from dataclasses import asdict, replace
from functools import partial

from reproduce.experiment import System
from unet_paper import shapes
from unet_paper.model import DoubleConvolution, UNet, centre_crop, he_normal
from unet_paper.train import paper_recipe


def build(config):
    """The paper's recipe with the added skips."""
    recipe = paper_recipe(config)
    recipe = replace(
        recipe, build=partial(AddedSkips, **asdict(config.network)), identity={"system": "fcn", **recipe.identity}
    )
    return System("fcn", "U-Net with added skips (FCN style)", recipe, {"depth": config.network.depth})


class AddedSkips(UNet):
    """U-Net whose skips are added; arguments and sizes as `UNet`.

    References
    ----------
    Long, Shelhamer, Darrell (2015), section 4.2, doi:10.1109/CVPR.2015.7298965.

    Examples
    --------
    >>> sum(p.numel() for p in AddedSkips().parameters())
    27897218
    """

    def __init__(self, **network):
        super().__init__(**network)
        for level in range(self.config.depth):
            channels = self.config.base_channels * 2**level
            self.expansive[level] = DoubleConvolution(channels, channels).apply(he_normal)

    def forward(self, image):
        depth = self.config.depth
        for side in image.shape[-2:]:
            shapes.check_input_size(side, depth)
        x, skips = image, []
        for level, convolutions in enumerate(self.contracting):
            x = convolutions(self.pool(x) if level else x)  # 568, 280, 136, 64, 28
            if level >= depth - 1:
                x = self.dropout(x)
            skips.append(x)
        for level in reversed(range(depth)):
            x = self.up_convolutions[level](x)  # 56, 104, 200, 392
            x = x + centre_crop(skips[level], x.shape[-2:])
            x = self.expansive[level](x)  # 52, 100, 196, 388
        return self.score(x)  # (N, 2, 388, 388)
