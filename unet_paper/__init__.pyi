from . import metrics as metrics
from .model import UNet as UNet
from .overlap_tile import predict_overlap_tile as predict_overlap_tile
from .trained import pretrained as pretrained
from .weight_map import cells_from_membranes as cells_from_membranes
from .weight_map import unet_weight_map as unet_weight_map

__version__: str
