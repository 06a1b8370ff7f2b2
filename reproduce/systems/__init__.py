"""The systems of the results table by name; each has its own file and the source of its choices there."""

from reproduce.systems import unet

SYSTEMS = {"unet": unet.build}


def build_system(name, config):
    """The system called `name`, for the values of an `ExperimentConfig` that it shares with the U-Net."""
    return SYSTEMS[name](config)
