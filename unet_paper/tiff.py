"""Stacks in and out as TIFF.

A stack is (Z, H, W), and every file is checked here, once. Images come out as float32 in [0, 1],
labels as whole numbers; what a file says of its own gray values (palette, 0 is white, bits of the data) is
followed. The voxel size travels with them. What a cell is, is not decided here.
"""

import logging
import math
import re
import threading
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import tifffile

from unet_paper.errors import InputError
from unet_paper.files import atomic_write, check_readable

WRITABLE = ("uint8", "uint16", "uint32", "float32")
MOST_CHANNELS = 4  # of a composite; a longer axis C is a stack whose writer did not name its axes
LARGEST_IMAGEJ = 2**32 - 2**25  # bytes of pixels; offsets of a TIFF that is not BigTIFF have 32 bits
VOXEL_SIZES = 1e-9, 1e9  # in any unit; what a resolution of TIFF, a ratio of 32-bit numbers, can say
LOGGED = threading.RLock()  # the logger of tifffile is one for all threads
LARGEST_LABEL = 2**53  # up to which floats are whole numbers one by one


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


class _Pixels(NamedTuple):
    """What a file says of the meaning of its numbers."""

    full_range: int  # of integers: the largest value they could have
    zero_is_white: bool
    palette: np.ndarray | None  # (3, n) uint16
    is_imagej: bool


def read_stack(path: str | Path) -> Stack:
    """Read a single-channel TIFF as it is.

    Parameters
    ----------
    path : path-like
        TIFF with one image or a stack of images of one size, BigTIFF and OME-TIFF included, in any
        compression that tifffile and imagecodecs know.

    Returns
    -------
    Stack
        The array is (Z, H, W) in the type and with the numbers of the file; one image gives Z = 1.

    Raises
    ------
    InputError
        If the file is missing, damaged, no TIFF, has colours, channels or more than three dimensions, is
        empty, or holds NaN or infinity.
    """
    return _read(path)[0]


def read_images(path: str | Path, *, full_range: float | None = None) -> Stack:
    """Read gray values, or a probability map, scaled to [0, 1].

    Parameters
    ----------
    path : path-like
        TIFF of uint8 (divided by 255), uint16 (divided by 65535, or by the largest value of the bits that
        MaxSampleValue or OME's SignificantBits name), bool, or float within [0, 1]. A palette of grays and
        "0 is white" are converted. `Stack.note` says what was done to pixels that are not uint8.
    full_range : float, optional
        Divide by this number instead, whatever the type of the pixels; they must lie within 0 and it.

    Returns
    -------
    Stack
        The array is float32 (Z, H, W) in [0, 1].

    Raises
    ------
    InputError
        As for `read_stack`, or if the type or the range is another, or the palette has colours.
    """
    stack, pixels = _read(path)
    array, full, notes = stack.array, pixels.full_range, []
    if pixels.palette is not None:
        array, full, note = _gray_values(path, array, pixels)
        notes.append(note)
    elif array.dtype == np.uint16 and full_range is None:
        notes.append(f"has 16-bit pixels, which were divided by {full}")
    if full_range is not None:
        check_full_range(full_range)
        full = full_range
    elif array.dtype.kind in "fb":
        full = 1
    elif array.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{path} has pixels of the type {array.dtype}; they must be uint8, uint16, or float in [0, 1], or "
            "their full range must be named (predict --scale)"
        )
    low, high = array.min(), array.max()
    if low < 0 or high > full:
        raise InputError(f"{path} has {array.dtype} pixels from {low:.9g} to {high:.9g}; they must be 0 to {full:g}")
    array = array.astype(np.float32, copy=False) if full == 1 else array / np.float32(full)
    if pixels.zero_is_white:
        array = 1 - array
        notes.append("says that 0 is white, and was inverted")
    note = f"{path} {' and '.join(notes)}" if notes else None
    return stack._replace(array=array.astype(np.float32, copy=False), note=note)


def check_full_range(full_range: float) -> None:
    """Raise `InputError` unless the largest gray value there could be is finite and above 0."""
    if not 0 < full_range < math.inf:
        raise InputError(f"the full range is {full_range:g}; it must be a finite number above 0")


def read_labels(path: str | Path) -> Stack:
    """Read labels as whole numbers.

    Parameters
    ----------
    path : path-like
        TIFF of an integer type, of bool, or of floats that are whole numbers. A palette that gives each
        label a gray of its own is replaced by the grays; any other palette is decoration.

    Returns
    -------
    Stack
        The array is an integer array (Z, H, W): in the type of the file, or uint8 for bool and int64 for
        floats.

    Raises
    ------
    InputError
        As for `read_stack`, or if a float has a fraction, a label is negative, or 0 is white in a file of
        more than black and white.
    """
    stack, pixels = _read(path)
    array, note = stack.array, None
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        if (array != np.rint(array)).any():
            raise InputError(f"{path} has labels with fractions; labels must be whole numbers")
        if np.abs(array).max() > LARGEST_LABEL:
            raise InputError(f"{path} has labels up to {np.abs(array).max():g}; labels must be at most 2**53")
        array = array.astype(np.int64)
    elif array.dtype.kind not in "iu":
        raise InputError(f"{path} has labels of the type {array.dtype}; labels must be whole numbers")
    if array.min() < 0:
        raise InputError(f"{path} has the label {array.min()}; labels must be at least 0")
    if pixels.palette is not None:
        numbers = np.unique(array)
        grays = pixels.palette[:, numbers]
        if (grays == grays[0]).all() and len(np.unique(grays[0])) == len(numbers):
            array = pixels.palette[0][array]
    if pixels.zero_is_white:
        if not np.isin(array, (0, pixels.full_range)).all():
            raise InputError(
                f"{path} says that 0 is white, which numbers of cells are not; "
                f"its labels must be black and white (0 and {pixels.full_range}), or 0 must be black"
            )
        array = (pixels.full_range - array).astype(array.dtype)
        note = f"{path} says that 0 is white, and was inverted"
    return stack._replace(array=array, note=note)


def write_stack(
    path: str | Path, array: np.ndarray, *, voxel_size: Sequence[float] | None = None, unit: str | None = None
) -> None:
    """Write a stack as a zlib-compressed TIFF, whole or not at all.

    Parameters
    ----------
    path : path-like
        File to write or replace, in a folder that exists.
    array : ndarray of uint8, uint16, uint32 or float32, (Z, H, W)
    voxel_size, unit
        As for `write_slices`.

    Raises
    ------
    InputError
        As for `write_slices`.
    """
    array = np.asarray(array)
    write_slices(path, array, shape=array.shape, dtype=array.dtype, voxel_size=voxel_size, unit=unit)


def write_slices(
    path: str | Path,
    slices: Iterable[np.ndarray],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype | str,
    voxel_size: Sequence[float] | None = None,
    unit: str | None = None,
) -> None:
    """Write slices as they are computed to one zlib-compressed TIFF, which appears when it is complete.

    ImageJ opens all types but uint32, up to 4 GiB of pixels; more is written as BigTIFF, for Fiji's Bio-Formats.

    Parameters
    ----------
    path : path-like
        File to write or replace, in a folder that exists.
    slices : iterable of ndarray, (H, W)
        Taken one by one; none is kept.
    shape : tuple of 3 ints
        (Z, H, W).
    dtype : {"uint8", "uint16", "uint32", "float32"}
    voxel_size : sequence of 3 floats, optional
        Size of a voxel along (z, y, x), from 1e-9 to 1e9.
    unit : str, optional
        Unit of `voxel_size`.

    Raises
    ------
    InputError
        If the type or shape is another, a slice holds NaN or infinity, or the file cannot be written; a
        file that was there stays as it was. Type and shape are checked before the first slice is taken.
    """
    dtype = np.dtype(dtype).newbyteorder("=")
    if dtype.name not in WRITABLE:
        raise InputError(f"cannot write pixels of the type {dtype}; the type must be one of {', '.join(WRITABLE)}")
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"cannot write the shape {shape}; it must be (Z, H, W), not empty")
    metadata, resolution = {"axes": "ZYX"}, None
    if voxel_size is not None:
        sizes = tuple(float(size) for size in voxel_size)
        if not is_voxel_size(sizes):
            raise InputError(f"the voxel size is {sizes}; it must be three numbers from 1e-9 to 1e9")
        metadata["spacing"], resolution = sizes[0], (1 / sizes[2], 1 / sizes[1])
    if unit:
        metadata["unit"] = "".join(c if c.isascii() else f"\\u{ord(c):04X}" for c in unit)  # ImageJ's spelling
    is_big = math.prod(shape) * dtype.itemsize > LARGEST_IMAGEJ
    slices = iter(slices)
    with atomic_write(path) as temporary:
        tifffile.imwrite(
            temporary,
            _checked(path, slices, shape, dtype),
            shape=shape,
            dtype=dtype,
            imagej=dtype != np.uint32 and not is_big,
            bigtiff=is_big,
            photometric="minisblack",
            compression="zlib",
            metadata=metadata,
            resolution=resolution,
            maxworkers=1,  # so that each slice is compressed before the next is taken
        )
        if next(slices, None) is not None:
            raise InputError(f"cannot write {path}: there are more slices than the {shape[0]} of the shape")


def check_same_shape(first: np.ndarray, second: np.ndarray, first_name: str, second_name: str) -> None:
    """Raise `InputError` unless the two arrays have one shape.

    Examples
    --------
    >>> check_same_shape(np.zeros((1, 4, 5)), np.zeros((2, 4, 5)), "a.tif", "b.tif")
    Traceback (most recent call last):
    unet_paper.errors.InputError: a.tif has the shape (1, 4, 5), b.tif (2, 4, 5); they must be the same
    """
    if first.shape != second.shape:
        raise InputError(
            f"{first_name} has the shape {first.shape}, {second_name} {second.shape}; they must be the same"
        )


def check_gray_values(images: np.ndarray, name: str) -> None:
    """Raise `InputError` unless the array `images`, which the message calls `name`, holds floats in [0, 1].

    Examples
    --------
    >>> check_gray_values(np.full((1, 4, 5), 128.0), "the images")
    Traceback (most recent call last):
    unet_paper.errors.InputError: the images span 128 to 128; every gray value must lie in [0, 1]
    """
    if images.dtype.kind != "f":
        raise InputError(f"{name} are {images.dtype}; they must be float in [0, 1], 8-bit ones divided by 255")
    low, high = images.min(), images.max()  # NaN passes through both
    if not (low >= 0 and high <= 1):
        raise InputError(f"{name} span {low:.9g} to {high:.9g}; every gray value must lie in [0, 1]")


def _read(path):
    """The stack of a file as it is, and what the file says of its pixels."""
    path = Path(path)
    check_readable(path)
    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tiff:
            if not tiff.series:
                raise InputError(f"{path} holds no image")
            if len(tiff.series) > 1:
                raise InputError(f"{path} holds images of different sizes or types; they must be a stack of one size")
            axes, array = tiff.series[0].axes, tiff.series[0].asarray()
            voxel_size, unit = _voxel_size(tiff)
            pixels = _pixels(tiff, array)
    except InputError:
        raise
    except Exception as error:  # a damaged file makes tifffile fail in many ways
        raise InputError(f"cannot read {path} as TIFF: {_first_sentence(error)}") from error
    if complaints:
        raise InputError(f"cannot read {path} as TIFF: it is damaged or truncated ({complaints[0]})")
    named = [(axis, side) for axis, side in zip(axes, array.shape, strict=True) if axis in "YX" or side != 1]
    kept = "".join(axis for axis, _ in named)
    if "S" in kept:
        slices = "; if they are slices, photometric='minisblack' writes them so" if kept.startswith("S") else ""
        raise InputError(f"{path} has {dict(named)['S']} colours a pixel; it must have one gray value{slices}")
    if dict(named).get("C", 0) in range(2, MOST_CHANNELS + 1):
        raise InputError(
            f"{path} has {dict(named)['C']} channels (axes {axes}); it must have one, and its slices along the axis Z"
        )
    if len(kept) > 3 or kept[-2:] != "YX":
        raise InputError(f"{path} has the axes {axes}, shape {array.shape}; it must be (Z, H, W) or (H, W)")
    if array.size == 0:
        raise InputError(f"{path} is empty: its shape is {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite pixels; all must be finite")
    sides = [side for _, side in named]
    return Stack(array.reshape(-1, *sides[-2:]), voxel_size, unit), pixels


def _pixels(tiff, array):
    page = tiff.pages.first
    bits = int(np.max(page.bitspersample))
    if array.dtype == np.uint16 and array.size and 0 < (named := _bits_named(tiff)) < bits and array.max() < 2**named:
        bits = named
    zero_is_white = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    if array.dtype.kind == "b" and page.software.startswith("tifffile"):
        zero_is_white = False  # tifffile writes every mask so, True or False, and reads it back as it was
    palette = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
    return _Pixels(2**bits - 1, zero_is_white, palette, tiff.is_imagej)


def _bits_named(tiff):
    """Bits of the data by OME, or by the largest value (rounded up to 10, 12, 14, as cameras have); 0 if unsaid."""
    if (pixels := _ome_pixels(tiff)) is not None:
        return int(pixels.get("SignificantBits", 0))
    largest = tiff.pages.first.tags.get("MaxSampleValue")
    return 0 if largest is None else 2 * math.ceil(int(np.max(largest.value)).bit_length() / 2)


def _gray_values(path, array, pixels):
    """Gray values by the palette, the largest there could be, and what was done."""
    array = array.astype(np.uint8) if array.dtype.kind == "b" else array
    numbers = np.unique(array)
    grays = pixels.palette[:, numbers]
    if (grays == grays[0]).all():
        full = 65535 if pixels.palette.max() > 255 else 255  # some writers forget that a palette has 16 bits
        return pixels.palette[0][array], full, "has a palette of grays, which were taken"
    if pixels.is_imagej:  # where colours are a way to look at gray values
        return array, pixels.full_range, "has a colour table, which was left out"
    raise InputError(f"{path} has a palette of colours; it must have gray values")


def _checked(path, slices, shape, dtype):
    for z in range(shape[0]):
        plane = next(slices, None)
        if plane is None:
            raise InputError(f"cannot write {path}: there are {z} slices; the shape says {shape[0]}")
        there, needed = f"{plane.dtype.name} {plane.shape}", f"{dtype.name} {tuple(shape[1:])}"
        if there != needed:
            raise InputError(f"cannot write {path}: slice {z} is {there}; it must be {needed}")
        if not np.isfinite(plane).all():
            raise InputError(f"cannot write {path}: slice {z} holds NaN or infinite pixels; all must be finite")
        yield plane.astype(dtype, copy=False)


@contextmanager
def _complaints():
    """Collect what tifffile logs as errors: it returns what it could read of a damaged file. One file at a time."""
    found = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(_first_sentence(record.getMessage()))
    logger = logging.getLogger("tifffile")
    with LOGGED:
        propagate, logger.propagate = logger.propagate, False
        logger.addHandler(handler)
        try:
            yield found
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate


def _first_sentence(message):
    return (str(message).strip() or type(message).__name__).splitlines()[0]


def is_voxel_size(sizes: Sequence[float]) -> bool:
    """Whether these are a size along (z, y, x) that a file can hold."""
    return len(sizes) == 3 and all(VOXEL_SIZES[0] <= size <= VOXEL_SIZES[1] for size in sizes)


def _voxel_size(tiff):
    """Size along (z, y, x) and unit from the metadata of ImageJ, OME or tifffile; None where not given or no size."""
    sizes, unit = _named_voxel_size(tiff)
    return (sizes, unit) if sizes is not None and is_voxel_size(sizes) else (None, None)


def _named_voxel_size(tiff):
    if (ome := _ome_pixels(tiff)) is not None:
        pixels = ome.attrib
        z, y, x = (pixels.get(f"PhysicalSize{axis}") for axis in "ZYX")
        units = {pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "ZYX" if f"PhysicalSize{axis}" in pixels}
        if y is None or x is None or len(units) > 1:
            return None, None
        return (float(z or 1), float(y), float(x)), units.pop()
    metadata = tiff.imagej_metadata or (tiff.shaped_metadata or ({},))[0]
    unit, spacing = metadata.get("unit"), metadata.get("spacing")
    per_pixel = [_inverse(tiff.pages.first.tags.get(name)) for name in ("YResolution", "XResolution")]
    if None in per_pixel or (unit in (None, "", "pixel") and spacing is None):
        return None, None
    unit = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda code: chr(int(code[1], 16)), str(unit)) if unit else None
    return (abs(float(spacing or 1)), *per_pixel), unit  # ImageJ has a sign there for the direction


def _inverse(tag):
    pixels, units = tag.value if tag is not None else (0, 0)
    return units / pixels if pixels and units else None


def _ome_pixels(tiff):
    """The description of the pixels in OME metadata; None if there is none, as in a file of a set."""
    return ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels") if tiff.is_ome else None
