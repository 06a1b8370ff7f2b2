"""A trained network as a package of the bioimage.io model zoo, for ilastik, QuPath and deepImageJ.

The package describes a network that gives back what it is given: images mirrored at their borders go in and the
probability of cell comes out, of the same size. Tools cut images into blocks, so sides, halo and padding keep
every block in phase with the poolings. The format knows no safetensors: its state dict is a pickle of tensors,
float32, the one that this program writes.
"""

import inspect
import io
import json
import logging
import tempfile
import warnings
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import nn

from unet_paper import shapes
from unet_paper.config import NetworkConfig
from unet_paper.errors import InputError, MissingExtra
from unet_paper.files import atomic_write
from unet_paper.model import DoubleConvolution, UNet, UpConvolution, centre_crop, he_normal
from unet_paper.predict import predict_stack
from unet_paper.shapes import context, period

AUTHORS = "the unet-paper authors"
PAPER = {"text": "Ronneberger, Fischer, Brox (2015), U-Net", "doi": "10.1007/978-3-319-24574-4_28"}
DATA = (
    {"text": "Cardona et al. (2010), the data", "doi": "10.1371/journal.pbio.1000502"},
    {"text": "Arganda-Carreras et al. (2015), the challenge", "doi": "10.3389/fnana.2015.00142"},
)
ISBI_IMAGES = "200da3d452d726e6c9ca1ce04b869d4edb727320d23b516d01cce707dc8c4760"  # SHA-256 of the pixels
OPSET = 18  # the lowest that torch exports
PIXELS = "Pixels of about {:g} x {:g} nm, as those of the images the network was trained on."
OTHER_IMAGES = "like those the network was trained on"
OTHER_PIXELS = "Pixels of about the size of those the network was trained on."
SCORED = (
    "Scores on slices that were not trained on, of this network or another of its recipe. "
    "The package averages no rotations."
)
UNSCORED = "The weights come with no score on slices that the network was not trained on."
ISBI_TERMS = (
    "The data are for non-commercial work on image segmentation software and ask for a citation of "
    "[Cardona et al. (2010)](https://doi.org/10.1371/journal.pbio.1000502) and "
    "[Arganda-Carreras et al. (2015)](https://doi.org/10.3389/fnana.2015.00142); so do the weights."
)
OTHER_TERMS = "The weights are under the terms of the images they were trained on."
DOCUMENTATION = Path(__file__).with_name("export.md")


class CellProbability(UNet):
    """Probability of cell for images whose sides are multiples of 16, from 112 on, of the same size.

    Beyond the upper and left border 92 px are mirrored, beyond the others 96, which makes every such side legal.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        before, after = context(self.config.depth), 6 * period(self.config.depth)
        logits = super().forward(nn.functional.pad(image, (before, after, before, after), mode="reflect"))
        return logits.softmax(1)[:, 1:2, : image.shape[-2], : image.shape[-1]]


def architecture() -> str:
    """Source of a module that defines `CellProbability` and needs PyTorch alone."""
    parts = (
        NetworkConfig,
        InputError,
        *(period, context, shapes.is_legal_input_size, shapes.input_size_for, shapes.check_input_size),
        *(UNet, DoubleConvolution, UpConvolution, centre_crop, he_normal, CellProbability),
    )
    head = [
        '"""The network of this package, from the source of unet_paper.export."""',
        "from dataclasses import dataclass\n\nimport torch\nfrom torch import nn",
        f"CONV_LOSS = {shapes.CONV_LOSS}",
    ]
    return "\n\n\n".join([*head, *(inspect.getsource(part).rstrip() for part in parts)]) + "\n"


def example_image(side: int, mean: float, std: float) -> np.ndarray:
    """Cells around random centres, membranes dark, for the package to be tested with.

    Parameters
    ----------
    side : int
        Height and width, in pixels.
    mean, std : float
        Of the gray values, in [0, 1].

    Returns
    -------
    ndarray, uint8, (side, side)
    """
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, side, (max(side**2 // 1600, 2), 2))
    nearest, second = np.moveaxis(cKDTree(centres).query(np.moveaxis(np.indices((side, side)), 0, -1), k=2)[0], -1, 0)
    image = gaussian_filter((second - nearest > 6) + rng.normal(0, 0.5, (side, side)), 1)
    image = mean + std * (image - image.mean()) / image.std()
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)


def export(path: str | Path, model: UNet, metadata: dict) -> None:
    """Write a bioimage.io model package, atomically: state dict, TorchScript, ONNX, test images, documentation.

    Parameters
    ----------
    path : path
        Its name ends in .zip; its folder exists.
    model : UNet
        Of one channel and two classes.
    metadata : dict
        As `unet_paper.checkpoint.load_weights` gives it, with ``image_mean`` and ``image_std``. All of it is listed
        in the documentation, ``held_out`` as validation; ``voxel_nm`` is the size of the pixels, ``data`` tells
        whether these were the challenge's, and ``init`` is the metadata of the network that this one went on from.

    Raises
    ------
    InputError
        If the extra is not installed, `path` cannot be written, or the network is for other images or classes.

    References
    ----------
    Format 0.5: https://bioimage-io.github.io/spec-bioimage-io
    """
    try:
        import onnx  # noqa: F401  torch needs both
        import onnxscript  # noqa: F401
        from bioimageio.spec import save_bioimageio_package
    except ImportError as error:
        raise MissingExtra(
            "a package needs bioimageio.core and ONNX: the extra unet-paper[export], "
            "python -m pip install -e '.[export]' in a checkout"
        ) from error
    if Path(path).suffix != ".zip":
        raise InputError(f"cannot write {path}: a package is a zip file, so its name must end in .zip")
    if (model.config.in_channels, model.config.n_classes) != (1, 2):
        raise InputError("the network must have 1 channel (gray) and 2 classes (membrane, cell)")
    network = CellProbability(**asdict(model.config)).eval()
    network.load_state_dict(model.state_dict())
    with tempfile.TemporaryDirectory() as folder, atomic_write(path) as temporary:
        folder = Path(folder)
        _write_test_images(folder, model, metadata)
        _write_weights(folder, network)
        (folder / "architecture.py").write_text(architecture(), encoding="utf-8")
        (folder / "README.md").write_text(documentation(model.config, metadata), encoding="utf-8")
        save_bioimageio_package(_description(folder, model.config, metadata), output_path=temporary)


def _write_test_images(folder, model, metadata):
    depth, mean, std = model.config.depth, metadata["image_mean"], metadata["image_std"]
    side = 16 * period(depth)
    image = example_image(side, mean, std)[None]
    probability = predict_stack(
        deepcopy(model),
        image / np.float32(255),
        mean=mean,
        std=std,
        rotations="none",
        precision="float32",
        tile=side + 4,
        stride=side,
        depth=depth,
    )
    np.save(folder / "input.npy", image[None])
    np.save(folder / "output.npy", probability[None])


def _write_weights(folder, network):
    _write(folder / "weights.pt", torch.save, network.state_dict())
    multiple = period(network.config.depth)
    sides = {0: torch.export.Dim("batch"), **{axis: multiple * torch.export.Dim(f"n{axis}") for axis in (2, 3)}}
    image = torch.zeros(2, 1, 14 * multiple, 15 * multiple)
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(warnings.catch_warnings())
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)  # it warns that torchvision lacks
        warnings.simplefilter("ignore")  # that tracing is deprecated and fixes the checks of sides
        _write(folder / "torchscript.pt", torch.jit.save, torch.jit.trace(network, image, check_trace=False))
        torch.onnx.export(
            network,
            (image,),
            folder / "weights.onnx",
            input_names=["image"],
            output_names=["probability"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=(sides,),
            external_data=False,
            verbose=False,
        )


def _write(path, save, value):
    """Save by way of memory: PyTorch itself does not tell why a file cannot be written."""
    buffer = io.BytesIO()
    save(value, buffer)
    path.write_bytes(buffer.getvalue())


def _description(folder, network, metadata):
    from bioimageio.spec.model import v0_5

    is_isbi, voxel = _is_isbi(metadata), metadata.get("voxel_nm")
    scales = [{"unit": "nanometer", "scale": side} for side in voxel[1:]] if voxel else [{}, {}]
    sides = v0_5.ParameterizedSize(min=13 * period(network.depth), step=period(network.depth))  # two halos and a step
    halo = 6 * period(network.depth)  # the margin, 4 px less, would put blocks out of phase
    mean, std = metadata["image_mean"], metadata["image_std"]
    float32 = v0_5.EnsureDtypeDescr(kwargs=v0_5.EnsureDtypeKwargs(dtype="float32"))  # the format's default is uint8
    image = v0_5.InputTensorDescr(
        id="image",
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=["gray"]),
            *(
                v0_5.SpaceInputAxis(id=axis, size=sides, concatenable=True, **scale)
                for axis, scale in zip("yx", scales)
            ),
        ],
        data=v0_5.IntervalOrRatioDataDescr(type="uint8", range=(0, 255)),
        preprocessing=[
            float32,
            v0_5.ScaleLinearDescr(kwargs=v0_5.ScaleLinearKwargs(gain=1 / (255 * std), offset=-mean / std)),
            float32,
        ],
        test_tensor=v0_5.FileDescr(source=folder / "input.npy"),
    )
    probability = v0_5.OutputTensorDescr(
        id="probability",
        axes=[
            v0_5.BatchAxis(),
            v0_5.ChannelAxis(channel_names=["cell"]),
            *(
                v0_5.SpaceOutputAxisWithHalo(
                    id=axis, size=v0_5.SizeReference(tensor_id="image", axis_id=axis), halo=halo, **scale
                )
                for axis, scale in zip("yx", scales)
            ),
        ],
        data=v0_5.IntervalOrRatioDataDescr(type="float32", range=(0, 1)),
        test_tensor=v0_5.FileDescr(source=folder / "output.npy"),
    )
    torch_version = torch.__version__.split("+")[0]
    state_dict = v0_5.PytorchStateDictWeightsDescr(
        source=folder / "weights.pt",
        pytorch_version=torch_version,
        architecture=v0_5.ArchitectureFromFileDescr(
            source=folder / "architecture.py", callable="CellProbability", kwargs=asdict(network)
        ),
    )
    torchscript = v0_5.TorchscriptWeightsDescr(
        source=folder / "torchscript.pt", pytorch_version=torch_version, parent="pytorch_state_dict"
    )
    onnx = v0_5.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=OPSET, parent="pytorch_state_dict")
    return v0_5.ModelDescr(
        name="U-Net (Ronneberger 2015) probability of cell",
        description=f"Probability of cell{', dark membranes around it' if is_isbi else ''}, by the U-Net of "
        "Ronneberger, Fischer, Brox (2015).",
        authors=[v0_5.Author(name=AUTHORS)],
        cite=[v0_5.CiteEntry(**entry) for entry in (PAPER, *(DATA if _goes_back_to_isbi(metadata) else ()))],
        tags=["2d", "cells", "cell-membrane", "pytorch", "semantic-segmentation", "unet"]
        + ["brain", "electron-microscopy"] * is_isbi,
        documentation=folder / "README.md",
        inputs=[image],
        outputs=[probability],
        weights=v0_5.WeightsDescr(pytorch_state_dict=state_dict, torchscript=torchscript, onnx=onnx),
    )


def documentation(network: NetworkConfig, metadata: dict) -> str:
    """What the package says of a network, as Markdown."""
    voxel, held_out = metadata.get("voxel_nm"), metadata.get("held_out")
    return DOCUMENTATION.read_text(encoding="utf-8").format(
        mean=metadata["image_mean"],
        std=metadata["image_std"],
        images="of cells with dark membranes around them" if _is_isbi(metadata) else OTHER_IMAGES,
        period=period(network.depth),
        pixels=PIXELS.format(*voxel[1:]) if voxel else OTHER_PIXELS,
        held_out=f"{SCORED}\n\n{_listed(held_out)}" if held_out else UNSCORED,
        training=_listed({name: value for name, value in metadata.items() if name != "held_out"}),
        terms="\n\n".join([ISBI_TERMS] * _goes_back_to_isbi(metadata) + [OTHER_TERMS] * (not _is_isbi(metadata))),
    )


def _listed(values):
    return "\n".join(f"- {name}: {json.dumps(value)}" for name, value in values.items())


def _is_isbi(metadata):
    """Whether the network was trained on the challenge's images."""
    data = metadata.get("data")
    return isinstance(data, dict) and data.get("train-volume") == ISBI_IMAGES


def _goes_back_to_isbi(metadata):
    """Whether it was, or one that it went on from."""
    past = metadata.get("init")
    return _is_isbi(metadata) or (isinstance(past, dict) and _goes_back_to_isbi(past))
