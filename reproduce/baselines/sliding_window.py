"""The sliding window that the U-Net replaced: network N4 of Ciresan et al. (2012); "IDSIA" in Table 1 is several.

A patch classifier: the class of a pixel from the 95x95 window around it. Four convolutions with
pooling and two fully connected layers; trained on as many membrane as other pixels, mirrored and
rotated by multiples of 90 degrees, by plain gradient descent.

Every map before a pooling has an even side, so the classifier can be evaluated for all pixels at once,
exactly: pooling with stride 1, and every later layer dilated by the strides that were taken out
(1, 2, 4, 8, and 16 for the first fully connected layer). That costs 475 times fewer multiply-adds.

Left to choose: ReLU, He-normal weights, batches of 128 windows, a learning rate of 0.02 that falls to
zero as half a cosine. Left out: foveation and non-uniform sampling of the window, calibration of the
output, median filter, and the average of several networks.
"""

from dataclasses import asdict
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reproduce.baselines.common import TILE
from reproduce.benchmark.timing import Bench, arithmetic, count_operations
from reproduce.experiment.run import Method
from unet_paper.errors import InputError
from unet_paper.loss import weighted_cross_entropy
from unet_paper.model import UNet, he_normal
from unet_paper.recipe import Recipe, warmup_cosine
from unet_paper.sampler import Tile

WINDOW = 95  # pixels, section 2 and Table 1 of Ciresan et al.
KERNELS = (4, 5, 4, 4)
MARGIN = WINDOW // 2
BATCH = 128
LEARNING_RATE = 0.02


def build(config):
    """N4 with the arithmetic of the U-Net: nine to ten small steps for each of the paper's network."""
    side = config.training.input_size
    unet, windows = torch.empty(1, 1, side, side, device="meta"), torch.empty(BATCH, 1, WINDOW, WINDOW, device="meta")
    with torch.device("meta"):
        theirs, ours = UNet(**asdict(config.network)), SlidingWindow()
    share = count_operations(lambda: theirs(unet)) / count_operations(lambda: ours.patchwise(windows))
    steps = max(1, round(config.training.steps * share))
    recipe = Recipe(
        network=SlidingWindow,
        loss=weighted_cross_entropy,
        optimizer=partial(torch.optim.SGD, lr=LEARNING_RATE),
        schedule=partial(warmup_cosine, peak=LEARNING_RATE),
        sampler=PatchSampler,
        steps=steps,
        batch=BATCH,
        precision=config.training.precision,
    )
    return Method(
        "sliding-window", "sliding window (Ciresan et al. 2012, N4)", recipe, {"tile": TILE, "margin": MARGIN}
    )


class SlidingWindow(nn.Module):
    """N4: classifies the centre pixel of a 95x95 window, or every pixel that has one.

    Parameters
    ----------
    maps : int
        Feature maps of each convolution.
    hidden : int
        Neurons of the first fully connected layer.

    Notes
    -----
    `forward` is `patchwise` in training and `dense` in evaluation; they are the same function of a
    window. A fully connected layer is written as a convolution as large as its input.

    References
    ----------
    Ciresan, Giusti, Gambardella, Schmidhuber: Deep neural networks segment neuronal membranes in
    electron microscopy images, NIPS 2012, section 2. Dense evaluation: Giusti et al. (2013),
    doi:10.1109/ICIP.2013.6738831; Li, Zhao, Wang (2014), arXiv:1412.4526.

    Examples
    --------
    >>> sum(p.numel() for p in SlidingWindow().parameters())
    219290
    >>> SlidingWindow(maps=2, hidden=3).eval()(torch.zeros(1, 1, 100, 95)).shape
    torch.Size([1, 2, 6, 1])
    """

    def __init__(self, maps=48, hidden=200):
        super().__init__()
        before = (1, maps, maps, maps)
        self.convolutions = nn.ModuleList(nn.Conv2d(b, maps, kernel) for b, kernel in zip(before, KERNELS))
        self.hidden = nn.Conv2d(maps, hidden, 3)
        self.score = nn.Conv2d(hidden, 2, 1)
        self.apply(he_normal)

    def forward(self, image):
        return self.patchwise(image) if self.training else self.dense(image)

    def patchwise(self, windows):
        """Logits (N, 2, 1, 1) of the centre pixels of `windows` (N, 1, 95, 95)."""
        if tuple(windows.shape[-2:]) != (WINDOW, WINDOW):
            raise InputError(f"windows of {tuple(windows.shape[-2:])} pixels; they must be ({WINDOW}, {WINDOW})")
        x = windows
        for convolution in self.convolutions:
            x = F.max_pool2d(F.relu(convolution(x)), 2)  # (N, 48, 46, 46), 21, 9, 3
        x = F.relu(self.hidden(x))  # (N, 200, 1, 1)
        return self.score(x)

    def dense(self, image):
        """Logits (N, 2, h - 94, w - 94) of every pixel of `image` (N, 1, h, w) that has a window."""
        if min(image.shape[-2:]) < WINDOW:
            raise InputError(f"input side {min(image.shape[-2:])} must be at least {WINDOW}, the window")
        x, dilation = image, 1
        for layer in self.convolutions:
            x = F.relu(F.conv2d(x, layer.weight, layer.bias, dilation=dilation))
            x = F.max_pool2d(x, 2, stride=1, dilation=dilation)  # h - 4, h - 14, h - 30, h - 62
            dilation *= 2
        x = F.relu(F.conv2d(x, self.hidden.weight, self.hidden.bias, dilation=dilation))  # h - 94
        return self.score(x)


class PatchSampler:
    """Draws windows around as many membrane as cell pixels, mirrored and rotated by multiples of 90 degrees.

    Parameters
    ----------
    images : ndarray, float32, (Z, H, W)
        Normalised gray values; mirrored beyond the border.
    labels : ndarray, integer, (Z, H, W)
        0 = membrane, 1 = cell.
    device : torch.device or str

    Examples
    --------
    >>> labels = np.tile([0, 1], (1, 60, 30))
    >>> sampler = PatchSampler(labels.astype(np.float32), labels, "cpu")
    >>> tile = sampler(sampler.draw(np.random.default_rng(0), 4))
    >>> tile.image.shape, tile.labels.ravel().tolist()
    (torch.Size([4, 1, 95, 95]), [0, 1, 0, 1])
    """

    def __init__(self, images, labels, device):
        mirrored = np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), "reflect")
        mirrored = torch.as_tensor(mirrored, dtype=torch.float32, device=device)
        self.windows = mirrored.unfold(1, WINDOW, 1).unfold(2, WINDOW, 1)  # a view, (Z, H, W, 95, 95)
        self.pixels = [np.flatnonzero(np.asarray(labels) == k) for k in (0, 1)]
        if not all(map(len, self.pixels)):
            raise InputError("the training labels hold one class only; membrane and cell pixels are needed")

    def draw(self, generator, batch=1):
        """Draw `batch` rows of class, flat index of the pixel, and symmetry of the square (0 to 7): int64."""
        classes = np.arange(batch) % 2
        where = generator.integers([len(self.pixels[k]) for k in classes])
        pixels = [self.pixels[k][i] for k, i in zip(classes, where)]
        return np.stack([classes, pixels, generator.integers(8, size=batch)], axis=1)

    def __call__(self, drawn):
        """The windows of a draw: image (N, 1, 95, 95), labels and weights (N, 1, 1)."""
        classes, pixels, symmetry = torch.as_tensor(drawn).to(self.windows.device)[:, :, None, None].unbind(1)
        _, height, width = self.windows.shape[:3]
        pixels = pixels.ravel()
        image = self.windows[pixels // (height * width), pixels // width % height, pixels % width]  # (N, 95, 95)
        for bit, mirrored in ((1, lambda i: i.flip(1)), (2, lambda i: i.flip(2)), (4, lambda i: i.transpose(1, 2))):
            image = torch.where((symmetry & bit) > 0, mirrored(image), image)
        return Tile(image[:, None], classes, torch.ones_like(classes, dtype=torch.float32))


@torch.no_grad()
def measure_speed(network, *, side=512, windows=256, repeats=3, device="cpu"):
    """Seconds for a slice of `side` pixels window by window, and in the dense form; the shortest of `repeats` each.

    Of the side**2 windows only `windows` are computed, as one batch, and their time is scaled to all.
    """
    network, bench = network.to(device), Bench(device, 0.0)
    batch = torch.randn(windows, 1, WINDOW, WINDOW, device=device)
    image = torch.randn(1, 1, side + 2 * MARGIN, side + 2 * MARGIN, device=device)
    with arithmetic(tf32=False):
        patchwise = bench.measure(lambda: network.patchwise(batch), repeats=repeats)["fastest_seconds"]
        dense = bench.measure(lambda: network.dense(image), repeats=repeats)["fastest_seconds"]
    return patchwise * side**2 / windows, dense
