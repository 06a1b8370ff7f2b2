"""U-Net as in Ronneberger, Fischer, Brox (2015), for the segmentation of cells between membranes.

What people reuse, loaded when it is first asked for, so that the weight map and the metrics come
without torch:

- `unet_weight_map`, `cells_from_membranes`: Equation 2
- `UNet`: Figure 1
- `predict_overlap_tile`: Figure 2
- `metrics`: the scores of the ISBI 2012 challenge
"""

from importlib import import_module

__version__ = "1.0.0"

_HOME = {
    "unet_weight_map": "weight_map",
    "cells_from_membranes": "weight_map",
    "UNet": "model",
    "predict_overlap_tile": "overlap_tile",
}

__all__ = ["UNet", "cells_from_membranes", "metrics", "predict_overlap_tile", "unet_weight_map"]


def __getattr__(name):
    if name == "metrics":
        return import_module("unet_paper.metrics")
    if name in _HOME:
        return getattr(import_module(f"unet_paper.{_HOME[name]}"), name)
    raise AttributeError(f"module 'unet_paper' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
