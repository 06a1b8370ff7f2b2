"""The paper's own network: `unet_paper.UNet` under `unet_paper.recipe.paper_recipe`; and with Adam.

Adam is the optimiser of the authors' later tool (Falk et al. 2019, doi:10.1038/s41592-018-0261-2), at another
rate (D6). As a row of its own it tells the network from its optimiser.
"""

from dataclasses import replace

from reproduce.experiment.options import departed
from reproduce.experiment.run import Method
from unet_paper.config import ADAM
from unet_paper.recipe import paper_recipe


def build(config):
    """The paper's recipe for the values of an `ExperimentConfig`."""
    return Method("unet", "U-Net (this reproduction)", paper_recipe(config), {"depth": config.network.depth})


def build_adam(config):
    """The paper's recipe but for its optimiser, learning rate and warm-up, which is at most a third of the training."""
    training = replace(config.training, **ADAM)
    training = replace(training, warmup_steps=min(training.warmup_steps, training.steps // 3))
    adam = replace(config, training=training)
    return departed(build(adam), adam)
