"""The trained network in the package: where it lies, whether it is whole, and what is known of it.

The weights are float16, which halves the file; computing is in float32 or the device's precision as ever.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from unet_paper.config import METADATA
from unet_paper.errors import InputError

if TYPE_CHECKING:
    from unet_paper.model import UNet

WEIGHTS = Path(__file__).with_name("pretrained.safetensors")
VOXEL_NM = (50.0, 4.0, 4.0)  # of the challenge's stacks along (z, y, x)
NANOMETRES = {"angstrom": 0.1, "å": 0.1, "nm": 1.0, "nanometer": 1.0, "mm": 1e6, "millimeter": 1e6}
NANOMETRES |= dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer"), 1e3)  # of ImageJ, OME, OME-Zarr
FAR = 1.5  # ratio of pixel sizes above which structures no longer look as they did in training


def pretrained() -> tuple["UNet", dict]:
    """The network in the package and what is known of it.

    Returns
    -------
    model : UNet
        In evaluation mode, float32, on the CPU.
    metadata : dict
        ``image_mean`` and ``image_std`` of the training images, in [0, 1]; ``title``, ``recipe``, ``seed``,
        ``command``, ``commit``, ``date``, ``device``, ``seconds`` and ``data`` of the training; ``voxel_nm`` of
        the images along (z, y, x); ``held_out``, scores and thresholds of the same recipe on slices that its
        network was not trained on.

    Raises
    ------
    InputError
        If the file is missing or damaged.

    Examples
    --------
    >>> model, metadata = pretrained()
    >>> model.config.n_classes, metadata["voxel_nm"]
    (2, [50.0, 4.0, 4.0])
    """
    from unet_paper.checkpoint import load_weights  # torch, only now

    return load_weights(checked_weights())


def checked_weights() -> Path:
    """Path of the weights in the package; `InputError` unless the file is there and has its SHA-256."""
    try:
        expected = WEIGHTS.with_suffix(".sha256").read_text(encoding="ascii").split()[0]
        found = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"the package lacks its trained network ({error}); install it again") from error
    if found != expected:
        raise InputError(f"{WEIGHTS} is damaged: its SHA-256 must be {expected}; install the package again")
    return WEIGHTS


def pretrained_metadata() -> dict:
    """What is known of the network in the package, without torch; `InputError` as for `pretrained`."""
    with open(checked_weights(), "rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    return json.loads(json.loads(header)["__metadata__"][METADATA])


def in_nanometres(voxel_size: tuple | None, unit: str | None) -> tuple | None:
    """A voxel size in nm; None if it, or what its unit means, is not known.

    Examples
    --------
    >>> in_nanometres((0.5, 0.25, 0.25), "um")
    (500.0, 250.0, 250.0)
    """
    factor = NANOMETRES.get((unit or "").lower())
    if not (voxel_size and factor and all(0 < size < math.inf for size in voxel_size)):
        return None
    return tuple(size * factor for size in voxel_size)


def voxel_size_note(path: str | Path, voxel_size: tuple | None, unit: str | None, metadata: dict) -> str | None:
    """A sentence if the pixels of a stack are of another size than those the network was trained on.

    Parameters
    ----------
    path : path-like
        Of the stack.
    voxel_size : tuple of 3 floats or None
        Along (z, y, x) in `unit`, as in `unet_paper.tiff.Stack`.
    unit : str or None
    metadata : dict
        Of the weights; without ``voxel_nm`` nothing can be said.

    Returns
    -------
    str or None

    Examples
    --------
    >>> voxel_size_note("a.tif", (0.05, 0.01, 0.01), "um", {"voxel_nm": [50, 4, 4]})[:35]
    'pixels of a.tif are 10 x 10 nm, but'
    >>> voxel_size_note("a.tif", (50, 5, 5), "nm", {"voxel_nm": [50, 4, 4]})
    """
    own, trained = in_nanometres(voxel_size, unit), in_nanometres(metadata.get("voxel_nm"), "nm")
    if not (own and trained) or all(1 / FAR <= a / b <= FAR for a, b in zip(own[1:], trained[1:])):
        return None
    sizes = [" x ".join(f"{size:.3g}" for size in sides[1:]) for sides in (own, trained)]
    return (
        f"pixels of {path} are {sizes[0]} nm, but the network was trained on {sizes[1]} nm; "
        "resample the stack if membranes are missed"
    )
