"""The paper's own system: `unet_paper.UNet` under `unet_paper.train.paper_recipe`."""

from reproduce.experiment import System
from unet_paper.train import paper_recipe


def build(config):
    """The paper's recipe for the values of an `ExperimentConfig`."""
    return System("unet", "U-Net (this reproduction)", paper_recipe(config), {"depth": config.network.depth})
