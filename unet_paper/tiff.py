"""Stacks in and out as TIFF.

A stack is (Z, H, W), and every file is checked here, once. Images come out as float32 in [0, 1],
labels as whole numbers; the voxel size travels with them. What a cell is, is not decided here.
"""

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from unet_paper.errors import InputError
from unet_paper.files import atomic_write

WRITABLE = ("uint8", "uint16", "uint32", "float32")
MOST_CHANNELS = 4  # of a composite; a longer axis C is a stack whose writer did not name its axes


class Stack(NamedTuple):
    """A stack and what its file says of it.

    Attributes
    ----------
    array : ndarray, (Z, H, W)
    voxel_size : tuple of 3 floats or None
        Size of a voxel along (z, y, x) in `unit`; None if the file does not give it.
    unit : str or None
        Unit of `voxel_size`, for example "nm".
    note : str or None
        One sentence if the pixels were converted in a way the user should know of.
    """

    array: np.ndarray
    voxel_size: tuple[float, float, float] | None = None
    unit: str | None = None
    note: str | None = None


def read_stack(path):
    """Read a single-channel TIFF as it is.

    Parameters
    ----------
    path : path-like
        TIFF with one image or a stack of images of one size.

    Returns
    -------
    Stack
        The array is (Z, H, W) in the type of the file; one image gives Z = 1.

    Raises
    ------
    InputError
        If the file is missing, damaged, no TIFF, has colours, channels or more than three dimensions, is
        empty, or holds NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            if not tiff.series:
                raise InputError(f"{path} holds no image")
            if len(tiff.series) > 1:
                raise InputError(f"{path} holds images of different sizes or types; legal: a stack of one size")
            axes, array = tiff.series[0].axes, tiff.series[0].asarray()
            voxel_size, unit = _voxel_size(tiff)
    except InputError:
        raise
    except Exception as error:  # a damaged file makes tifffile fail in many ways
        raise InputError(f"cannot read {path} as TIFF: {_first_sentence(error)}") from error
    if complaints:
        raise InputError(f"cannot read {path} as TIFF: it is damaged or truncated ({complaints[0]})")
    named = [(axis, side) for axis, side in zip(axes, array.shape, strict=True) if axis in "YX" or side != 1]
    kept = "".join(axis for axis, _ in named)
    if "S" in kept:
        raise InputError(f"{path} has {dict(named)['S']} colours a pixel; legal: one gray value")
    if dict(named).get("C", 0) in range(2, MOST_CHANNELS + 1):
        raise InputError(f"{path} has {dict(named)['C']} channels (axes {axes}); legal: one channel, slices along Z")
    if len(kept) > 3 or kept[-2:] != "YX":
        raise InputError(f"{path} has the axes {axes}, shape {array.shape}; legal: (Z, H, W) or (H, W)")
    if array.size == 0:
        raise InputError(f"{path} is empty: its shape is {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite pixels; all must be finite")
    return Stack(array.reshape(-1, *array.shape[-2:]), voxel_size, unit)


def read_images(path):
    """Read gray values, or a probability map, scaled to [0, 1].

    Parameters
    ----------
    path : path-like
        TIFF of uint8 (divided by 255), uint16 (divided by 65535, which `Stack.note` says), bool, or
        float within [0, 1].

    Returns
    -------
    Stack
        The array is float32 (Z, H, W) in [0, 1].

    Raises
    ------
    InputError
        As for `read_stack`, or if the type or the range is another.
    """
    stack = read_stack(path)
    array, note = stack.array, None
    if array.dtype in (np.uint8, np.uint16):
        full = np.iinfo(array.dtype).max
        if full > 255:
            note = f"{path} has 16-bit pixels, which were divided by {full}"
        array = array / np.float32(full)
    elif array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if low < 0 or high > 1:
            raise InputError(f"{path} has float pixels from {low:g} to {high:g}; legal: 0 to 1")
    elif array.dtype.kind != "b":
        raise InputError(f"{path} has pixels of the type {array.dtype}; legal: uint8, uint16, float in [0, 1]")
    return stack._replace(array=array.astype(np.float32, copy=False), note=note)


def read_labels(path):
    """Read labels as whole numbers.

    Parameters
    ----------
    path : path-like
        TIFF of an integer type, of bool, or of floats that are whole numbers.

    Returns
    -------
    Stack
        The array is an integer array (Z, H, W): in the type of the file, or uint8 for bool and int64 for
        floats.

    Raises
    ------
    InputError
        As for `read_stack`, or if a float has a fraction or a label is negative.
    """
    stack = read_stack(path)
    array = stack.array
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        if (array != np.rint(array)).any():
            raise InputError(f"{path} has labels with fractions; labels must be whole numbers")
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iu":
        raise InputError(f"{path} has labels of the type {array.dtype}; labels must be whole numbers")
    if array.min() < 0:
        raise InputError(f"{path} has the label {array.min()}; labels must be at least 0")
    return stack._replace(array=array)


def write_stack(path, array, *, voxel_size=None, unit=None):
    """Write a stack as a zlib-compressed TIFF, whole or not at all; ImageJ opens all types but uint32.

    Parameters
    ----------
    path : path-like
        File to write or replace, in a folder that exists.
    array : ndarray of uint8, uint16, uint32 or float32, (Z, H, W)
    voxel_size : sequence of 3 floats, optional
        Size of a voxel along (z, y, x), above 0.
    unit : str, optional
        Unit of `voxel_size`.

    Raises
    ------
    InputError
        If the array is of another type or shape, or the file cannot be written; a file that was there
        stays as it was.
    """
    array = np.asarray(array)
    if array.dtype.name not in WRITABLE:
        raise InputError(f"cannot write pixels of the type {array.dtype}; legal: {', '.join(WRITABLE)}")
    if array.ndim != 3 or array.size == 0:
        raise InputError(f"cannot write the shape {array.shape}; legal: (Z, H, W), not empty")
    metadata, resolution = {"axes": "ZYX"}, None
    if voxel_size is not None:
        z, y, x = (float(size) for size in voxel_size)
        if not (np.isfinite([z, y, x]).all() and min(x, y, z) > 0):
            raise InputError(f"the voxel size {(z, y, x)} is not three numbers above 0")
        metadata["spacing"], resolution = z, (1 / x, 1 / y)
    if unit:
        metadata["unit"] = "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in unit)  # ImageJ's spelling
    form = {"imagej": True} if array.dtype != np.uint32 else {"photometric": "minisblack"}
    with atomic_write(path) as temporary:
        tifffile.imwrite(temporary, array, **form, compression="zlib", metadata=metadata, resolution=resolution)


def check_same_shape(first, second, first_name="the stack", second_name="the labels"):
    """Raise `InputError` unless the two arrays have one shape.

    Examples
    --------
    >>> check_same_shape(np.zeros((1, 4, 5)), np.zeros((2, 4, 5)))
    Traceback (most recent call last):
    unet_paper.errors.InputError: the stack has the shape (1, 4, 5), the labels (2, 4, 5); they must be the same
    """
    if first.shape != second.shape:
        raise InputError(
            f"{first_name} has the shape {first.shape}, {second_name} {second.shape}; they must be the same"
        )


@contextmanager
def _complaints():
    """Collect what tifffile logs as errors: it returns what it could read of a damaged file."""
    found = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(_first_sentence(record.getMessage()))
    logger = logging.getLogger("tifffile")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


def _first_sentence(message):
    return (str(message).strip() or type(message).__name__).splitlines()[0]


def _voxel_size(tiff):
    """Size along (z, y, x) and unit from the metadata of ImageJ, OME or tifffile; None where not given."""
    if tiff.is_ome:
        return _ome_voxel_size(tiff.ome_metadata)
    shaped = (tiff.shaped_metadata or ({},))[0]
    metadata = tiff.imagej_metadata or shaped
    unit, spacing = metadata.get("unit"), metadata.get("spacing")
    per_pixel = [_inverse(tiff.pages.first.tags.get(name)) for name in ("YResolution", "XResolution")]
    if None in per_pixel or (unit in (None, "", "pixel") and spacing is None):
        return None, None
    unit = str(unit).replace("\\u00B5", "µ") if unit else None
    return (float(spacing or 1), *per_pixel), unit


def _inverse(tag):
    pixels, units = tag.value if tag is not None else (0, 0)
    return units / pixels if pixels and units else None


def _ome_voxel_size(xml):
    pixels = ElementTree.fromstring(xml).find(".//{*}Pixels")
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    if sizes[1] is None or sizes[2] is None:
        return None, None
    return tuple(float(size or 1) for size in sizes), pixels.get("PhysicalSizeXUnit", "µm")
