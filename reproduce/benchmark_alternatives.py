"""What a user would pick instead, segmenting the same slice in the way its documentation shows.

Networks are untrained: only cost is compared, for each pixel of the result. A library that is not
installed leaves a row that says so.
"""

import importlib.util
from copy import deepcopy
from functools import partial

import torch

from reproduce.benchmark_inference import latency, per_slice
from reproduce.timing import Unavailable, count_operations
from unet_paper.overlap_tile import predict_overlap_tile

WINDOW, WINDOW_BATCH, OVERLAP = 256, 4, 0.25  # of MONAI's sliding_window_inference; a quarter is its default


def benchmark_alternatives(bench, model, images):
    """Rows of what a user would pick instead, in float32 and in bfloat16, for one slice.

    Parameters are those of `benchmark_inference`.
    """
    image = torch.from_numpy(images[:1]).to(bench.device)[:, None]
    for name, make in ALTERNATIVES.items():
        for precision in ("float32", "bfloat16"):
            build = partial(_alternative, bench, make, model, image, precision)
            how = {
                "config": {"precision": precision, "channels_last": precision == "bfloat16"},
                "tf32": precision != "float32",
            }
            yield bench.row("alternatives", f"{name}, {precision}", {}, build, **how)


def _alternative(bench, make, model, image, precision):
    segment, network = make(model, bench.device)
    network.to(memory_format=torch.channels_last if precision == "bfloat16" else torch.contiguous_format)

    @torch.no_grad()
    def call():
        with torch.autocast(torch.device(bench.device).type, torch.bfloat16, enabled=precision == "bfloat16"):
            return segment(image)

    operations = count_operations(call)  # the call also chooses algorithms
    bench.forget_peak()
    timing = bench.measure(call)
    return {
        **timing.measures(),
        **per_slice(timing.median, 1, image.shape[-1]),
        "latency_seconds": latency(lambda: call().cpu()),
        "work_gigaflop": operations / 1e9,
        "parameters_count": sum(p.numel() for p in network.parameters()),
    }


def this_network(model, device):
    """The network of the paper in eager PyTorch, overlap-tile with 388 tiles at stride 384."""
    network = deepcopy(model).to(device)
    return lambda image: predict_overlap_tile(network, image[0], depth=model.config.depth).softmax(dim=0)[1], network


def monai_unet(model, device):
    """MONAI's UNet with the paper's channels and its sliding-window inference."""
    _need("monai")
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import UNet

    channels = [model.config.base_channels * 2**level for level in range(model.config.depth + 1)]
    network = UNet(2, 1, 2, channels, strides=[2] * model.config.depth).to(device).eval()
    window = {"roi_size": (WINDOW, WINDOW), "sw_batch_size": WINDOW_BATCH, "overlap": OVERLAP}
    return lambda image: sliding_window_inference(image, predictor=network, **window).softmax(dim=1)[0, 1], network


def smp_unet(model, device):
    """segmentation-models-pytorch's Unet with its default encoder, ResNet-34, on the whole slice."""
    _need("segmentation_models_pytorch")
    from segmentation_models_pytorch import Unet

    network = Unet("resnet34", encoder_weights=None, in_channels=1, classes=1).to(device).eval()
    return lambda image: network(image).sigmoid()[0, 0], network


ALTERNATIVES = {
    "this network, eager, overlap-tile": this_network,
    "MONAI UNet, sliding_window_inference": monai_unet,
    "segmentation-models-pytorch Unet, ResNet-34": smp_unet,
}


def _need(package):
    if importlib.util.find_spec(package) is None:
        raise Unavailable(f"{package} is not installed")
