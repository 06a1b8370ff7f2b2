"""The network of Figure 1: contracting path, expansive path, crop and concatenate.

23 convolutional layers without padding or normalisation, a ReLU after each but the last, biases on.
The drawing fixes every size; that the up-convolutions have a ReLU (S6) and where dropout sits (S8)
follow the authors' release.
"""

import torch
from torch import nn

from unet_paper.config import NetworkConfig
from unet_paper.errors import InputError
from unet_paper.shapes import check_input_size


class UNet(nn.Module):
    """U-Net with valid convolutions.

    Parameters
    ----------
    in_channels : int
        Channels of the input image.
    n_classes : int
        Channels of the output; for ISBI 2012 channel 0 is membrane and channel 1 is cell.
    base_channels : int
        Feature channels of the first level; they double at every level.
    depth : int
        Number of 2x2 max poolings.
    dropout : float
        Probability of zeroing one element at the end of the contracting path: after the two deepest
        levels, so that the deepest skip carries it too.

    Raises
    ------
    InputError
        If a size is not positive or `dropout` is outside [0, 1).

    Notes
    -----
    `forward` maps (N, in_channels, h, w) float images to (N, n_classes, h - 184, w - 184) logits
    (for `depth` 4) and raises `InputError` naming the nearest legal sides when h or w is illegal.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), Figure 1 and section 2, doi:10.1007/978-3-319-24574-4_28.
    Initialisation: He et al. (2015), doi:10.1109/ICCV.2015.123.

    Examples
    --------
    >>> network = UNet(base_channels=2)
    >>> network(torch.zeros(1, 1, 204, 188)).shape
    torch.Size([1, 2, 20, 4])
    >>> sum(p.numel() for p in UNet().parameters())
    31030658
    """

    def __init__(
        self, in_channels: int = 1, n_classes: int = 2, base_channels: int = 64, depth: int = 4, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if min(in_channels, n_classes, base_channels, depth) < 1:
            raise InputError("in_channels, n_classes, base_channels and depth must all be at least 1")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout {dropout} is not in [0, 1)")
        self.config = NetworkConfig(in_channels, n_classes, base_channels, depth, dropout)
        channels = [base_channels * 2**level for level in range(depth + 1)]  # 64, 128, 256, 512, 1024
        self.contracting = nn.ModuleList(
            DoubleConvolution(before, after) for before, after in zip([in_channels, *channels], channels)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.up_convolutions = nn.ModuleList(UpConvolution(2 * c, c) for c in channels[:-1])
        self.expansive = nn.ModuleList(DoubleConvolution(2 * c, c) for c in channels[:-1])
        self.score = nn.Conv2d(base_channels, n_classes, 1)
        self.apply(he_normal)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        depth = self.config.depth
        for side in image.shape[-2:]:
            self.check_side(side)
        x, skips = image, []  # (N, 1, 572, 572)
        for level, convolutions in enumerate(self.contracting):
            x = convolutions(self.pool(x) if level else x)  # 568, 280, 136, 64, 28
            if level >= depth - 1:
                x = self.dropout(x)
            skips.append(x)
        for level in reversed(range(depth)):
            x = self.up_convolutions[level](x)  # 56, 104, 200, 392
            x = self.join(x, centre_crop(skips[level], x.shape[-2:]))
            x = self.expansive[level](x)  # 52, 100, 196, 388
        return self.score(x)  # (N, 2, 388, 388)

    def check_side(self, side: int) -> None:
        """Raise `InputError` unless an input side is legal."""
        check_input_size(side, self.config.depth)

    def join(self, up: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Concatenate the upsampled map and the cropped skip."""
        return torch.cat([up, skip], dim=1)


class DoubleConvolution(nn.Sequential):
    """Two unpadded 3x3 convolutions, each followed by a ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, 3), nn.ReLU(inplace=True), nn.Conv2d(after, after, 3), nn.ReLU(inplace=True)
        )


class UpConvolution(nn.Sequential):
    """Up-convolution 2x2 (stride 2) that halves the channels, and a ReLU (S6, S9)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(nn.ConvTranspose2d(before, after, 2, stride=2), nn.ReLU(inplace=True))


def centre_crop(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Crop the last two axes of `x` to `size`, the same number of pixels from opposite sides."""
    spare = [have - want for have, want in zip(x.shape[-2:], size)]
    top, left = (number // 2 for number in spare)
    bottom, right = spare[0] - top, spare[1] - left
    return nn.functional.pad(x, (-left, -right, -top, -bottom))  # a slice's gradient would not be channels_last


def he_normal(module: nn.Module) -> None:
    """Draw weights from N(0, sqrt(2 / N)) and zero the biases (section 3).

    N is the kernel's area times the channels of the second axis of the weights: the input's in a convolution,
    the output's in an up-convolution, as Caffe counts them (S24).
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not module.weight.is_meta:  # or torch._dynamo is imported
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
