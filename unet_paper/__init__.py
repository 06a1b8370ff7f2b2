"""U-Net as in Ronneberger, Fischer, Brox (2015), for the segmentation of cells between membranes.

What people reuse, loaded when it is first asked for, so that the weight map and the metrics come
without torch:

- `unet_weight_map`, `cells_from_membranes`: Equation 2
- `UNet`: Figure 1
- `predict_overlap_tile`: Figure 2
- `pretrained`: a trained network
- `metrics`: the scores of the ISBI 2012 challenge
"""

import lazy_loader

__version__ = "1.0.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
