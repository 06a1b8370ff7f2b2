"""Weights and checkpoints as safetensors files, each with what is needed to use them.

A weights file holds a network and the statistics of the images it was trained on. A checkpoint holds a
training that was stopped: weights, state of the optimiser, the course so far, and the configuration under
which alone it continues.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from unet_paper.config import METADATA
from unet_paper.errors import InputError
from unet_paper.files import atomic_write, make_folder
from unet_paper.model import UNet

CHECKPOINT = "checkpoint.safetensors"


class Curve(NamedTuple):
    """The course of a training: loss and learning rate of every step, and the seconds up to it."""

    loss: list[float]
    learning_rate: list[float]
    seconds: list[float]


def save_weights(path: str | Path, model: torch.nn.Module, metadata: dict) -> None:
    """Write the weights of `model` with `metadata` as safetensors, atomically.

    Parameters
    ----------
    path : path
        The file to write; its folder is made if need be.
    model : Module
    metadata : dict
        JSON-able. `load_weights` and the commands need ``image_mean`` and ``image_std``; the sizes of a
        `UNet` are added as ``network``, and the SHA-256 of the weights, by which damage is noticed, as ``sha256``.

    Raises
    ------
    InputError
        If the weights are not finite floats of 16 or 32 bits, or the file cannot be written.
    """
    for name, tensor in model.state_dict().items():
        single_precision(path, name, tensor)
    if type(model) is UNet:  # a variant would come back as the paper's network
        metadata = metadata | {"network": asdict(model.config)}
    _write(Path(path), model.state_dict(), METADATA, metadata)


def _write(path, tensors, key, about):
    """Write tensors, and under `key` what is known of them and their SHA-256, to one safetensors file, atomically."""
    copies = {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    known = json.dumps({**about, "sha256": tensors_sha256(copies)})
    make_folder(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_bytes(save(copies, {key: known}))  # a tensor of two names has a copy for each


def tensors_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of the contents of tensors in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _tensors_of(file):
    """The tensors of an open file by name, in memory of their own: what is mapped changes with the file."""
    return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def read_weights(path: str | Path, model: torch.nn.Module | None = None) -> tuple[dict, dict]:
    """Read a weights file, into `model` if one is given; returns its metadata and the tensors by name, float32.

    Raises `InputError` if the file is missing, no safetensors, has no metadata, holds numbers other than finite
    floats of 16 or 32 bits, or does not fit `model`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; a weights file (.safetensors) is needed")
    try:
        with safe_open(path, "pt") as file:
            metadata = (file.metadata() or {}).get(METADATA)
            tensors = _tensors_of(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file: {error}") from error
    try:
        metadata = json.loads(metadata or "")
        numbers = [float(metadata[key]) for key in ("image_mean", "image_std")]
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} lacks the metadata that save_weights writes: image_mean, image_std") from error
    if not (0 <= numbers[0] <= 1 and 0 < numbers[1] <= 1):
        raise InputError(f"{path} has image_mean and image_std {numbers}; they must be in [0, 1], the second above 0")
    expected = metadata.get("sha256")
    if expected is not None and tensors_sha256(tensors) != expected:
        raise InputError(f"{path} is damaged: the SHA-256 of its weights must be {expected}")
    tensors = {name: single_precision(path, name, tensor) for name, tensor in tensors.items()}
    if model is not None:
        check_shapes(path, tensors, model.state_dict())
        model.load_state_dict(tensors)
    return metadata, tensors


def single_precision(path: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A weight in float32; counters stay whole. `InputError` if it is of another type or not finite."""
    if tensor.dtype == torch.int64 and tensor.ndim == 0:  # of batch normalisation
        return tensor
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(f"{path} has {name} in {str(tensor.dtype)[6:]}; weights must be float32, float16 or bfloat16")
    if not torch.isfinite(tensor).all():
        raise InputError(f"{path} has NaN or infinity in {name}; all weights must be finite")
    return tensor.float()


def check_shapes(path: Path, have: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    """Raise `InputError` naming the first tensor of `have` that is not as in `want`."""
    for name in sorted(have.keys() | want.keys()):
        there, needed = (str(list(t[name].shape)) if name in t else "absent" for t in (have, want))
        if there != needed:
            raise InputError(f"{path} does not fit the network: {name} is {there}, needed: {needed}")


def load_weights(path: str | Path) -> tuple[UNet, dict]:
    """Read a `UNet` and its metadata from a weights file.

    Parameters
    ----------
    path : path

    Returns
    -------
    model : UNet
        On the CPU, in evaluation mode.
    metadata : dict
        With ``image_mean`` and ``image_std``.

    Raises
    ------
    InputError
        If the file is no weights file, or holds another network than it says.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "weights.safetensors"
    >>> save_weights(path, UNet(base_channels=2), {"image_mean": 0.5, "image_std": 0.2})
    >>> model, metadata = load_weights(path)
    >>> model.config.base_channels, metadata["image_mean"]
    (2, 0.5)
    """
    metadata, tensors = read_weights(path)
    try:
        if metadata["network"]["depth"] > len(tensors):  # its sizes alone could fill the memory
            raise ValueError("fewer tensors than levels")
        with torch.device("meta"):
            model = UNet(**metadata["network"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} does not hold a U-Net of this program: its metadata has no sizes of one") from error
    check_shapes(path, tensors, model.state_dict())
    model.load_state_dict(tensors, assign=True)
    return model.eval(), metadata


def save_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, configuration: dict, curve: Curve
) -> None:
    """Write weights, optimiser state and the course so far to one safetensors file, atomically."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:
                tensors[f"optimizer.{index}.{name}"] = torch.as_tensor(value)
    for name, values in curve._asdict().items():  # not in the header, which may have 100 MB
        tensors[f"curve.{name}"] = torch.tensor(values, dtype=torch.float64)
    _write(path, tensors, "state", {"configuration": configuration})


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, configuration: dict) -> Curve:
    """Restore `model` and `optimizer` in place; returns the course so far.

    Raises `InputError` when the file is no checkpoint, is damaged, or belongs to another configuration.
    """
    try:
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = _tensors_of(file)
        changed = list(differences(state["configuration"], configuration))
        curve = Curve(*(tensors[f"curve.{name}"].tolist() for name in Curve._fields))
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
        raise InputError(f"{path} is not a checkpoint of this program ({error}); remove it to start anew") from error
    if changed:
        raise InputError(f"{path} was trained with {', '.join(changed)}; use the same settings or remove it")
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    check_shapes(path, weights, model.state_dict())
    restored = optimizer.state_dict()
    restored["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            restored["state"].setdefault(int(index), {})[key] = value
    if tensors_sha256(tensors) != state.get("sha256"):
        raise InputError(f"{path} is damaged: the SHA-256 of its tensors is not the recorded one; remove it")
    model.load_state_dict(weights)
    optimizer.load_state_dict(restored)
    for parameter, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                kept[name] = torch.empty_like(parameter).copy_(value)  # in the layout of the weights
    return curve


def differences(then: object, now: object, path: str = "") -> Iterator[str]:
    """What differs between two configurations, as words.

    Examples
    --------
    >>> list(differences({"seed": 0, "schedule": {"peak": 1}}, {"seed": 0, "schedule": {"peak": 2}}))
    ['schedule.peak 1, not 2']
    """
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            yield from differences(then.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif then != now:
        yield f"{path} {then}, not {now}"
