"""The methods of the results table by name; each has its own file and the source of its choices there."""

from importlib import import_module

METHODS = {  # module and function, imported when they are asked for
    "unet": "unet.build",
    "unet-adam": "unet.build_adam",
    "sliding-window": "sliding_window.build",
    "fcn": "fcn.build",
    "keras-unet": "keras_unet.build",
    "mmsegmentation": "mmsegmentation.build",
    "u2net": "u2net.build",
    "modern": "modern.build",
}


def build_method(name, config):
    """The `Method` called `name`, for the values of an `ExperimentConfig` that it shares with the U-Net."""
    module, function = METHODS[name].split(".")
    return getattr(import_module(f"reproduce.baselines.{module}"), function)(config)
