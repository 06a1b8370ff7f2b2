"""FCN-style skips: the U-Net with the skip added to the upsampled map instead of concatenated.

Long, Shelhamer and Darrell (2015), section 4.2, fuse a fine and a coarse prediction by a sum; here the
sum joins feature maps, so that nothing but the junction differs from the U-Net: the first convolution
of each expansive level has half the input channels. Loss, optimiser, schedule, tiles and prediction
are the U-Net's.
"""

from dataclasses import asdict, replace
from functools import partial

from reproduce.experiment.run import Method
from unet_paper.model import DoubleConvolution, UNet, he_normal
from unet_paper.recipe import paper_recipe


def build(config):
    """The paper's recipe with the added skips."""
    recipe = replace(paper_recipe(config), network=partial(AddedSkips, **asdict(config.network)))
    return Method("fcn", "U-Net with added skips (FCN style)", recipe, {"depth": config.network.depth})


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

    def join(self, up, skip):
        """Add the upsampled map and the cropped skip."""
        return up + skip
