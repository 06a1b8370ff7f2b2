"""The systems of the results table by name; each has its own file and the source of its choices there."""

from reproduce.systems import fcn, keras_unet, mmsegmentation, modern, sliding_window, u2net, unet

SYSTEMS = {
    "unet": unet.build,
    "sliding-window": sliding_window.build,
    "fcn": fcn.build,
    "keras-unet": keras_unet.build,
    "mmsegmentation": mmsegmentation.build,
    "u2net": u2net.build,
    "modern": modern.build,
}


def build_system(name, config):
    """The system called `name`, for the values of an `ExperimentConfig` that it shares with the U-Net."""
    return SYSTEMS[name](config)
