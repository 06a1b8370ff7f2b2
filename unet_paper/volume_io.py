"""Volumes larger than memory, in and out: lazily read inputs, and an OME-Zarr 0.5 that is filled block by block.

Read are TIFF, OME-Zarr or a plain zarr array, and HDF5: two or three axes, one channel. Gray values are scaled
as `unet_paper.tiff.read_images` scales them. The output appears whole, with all it was begun with, or not at all;
its blocks follow, and a block that is there is finished.
"""

import hashlib
import secrets
import shutil
import weakref
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np
import tifffile

from unet_paper.errors import InputError, MissingExtra
from unet_paper.files import HDF5, locked, make_folder
from unet_paper.tiff import (
    MOST_CHANNELS,
    _complaints,
    _first_sentence,
    _pixels,
    _voxel_size,
    check_full_range,
    is_voxel_size,
)

try:
    import zarr
except ImportError as error:
    raise MissingExtra(
        "volumes need zarr and Dask: the extra unet-paper[volumes], python -m pip install -e '.[volumes]' in a checkout"
    ) from error

AXES = {"t", "time", "c", "channel", "z", "y", "x"}  # that a plain array may name; others say nothing
ARRAY = "0"  # of full resolution, within the group
SAMPLES = 64  # blocks that identify an input: reading all of a large one takes as long as segmenting much of it
UNITS = {"nm": "nanometer", "µm": "micrometer", "μm": "micrometer", "um": "micrometer", "micron": "micrometer"}
UNITS |= {"microns": "micrometer", "mm": "millimeter", "Å": "angstrom"}  # of OME-Zarr by those of ImageJ and OME-TIFF


@dataclass(frozen=True)
class Volume:
    """A volume whose pixels are read when they are asked for.

    Attributes
    ----------
    name : str
        As the user gave it.
    array : object
        Indexed like an ndarray.
    z : int or None
        Axis of the slices in `array`; all others but the last two have length 1.
    full_range : float
        What the pixels are divided by.
    zero_is_white : bool
        Whether they are inverted then.
    voxel_size, unit
        As in `unet_paper.tiff.Stack`.
    """

    name: str
    array: object
    z: int | None
    full_range: float = 1
    zero_is_white: bool = False
    voxel_size: tuple[float, float, float] | None = None
    unit: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Sides (Z, H, W)."""
        return (1 if self.z is None else self.array.shape[self.z], *self.array.shape[-2:])

    @property
    def may_exceed(self) -> bool:
        """Whether pixels of this type can lie outside 0 and the full range."""
        dtype = self.array.dtype
        return not (dtype.kind == "b" or (dtype.kind == "u" and np.iinfo(dtype).max <= self.full_range))

    @property
    def note(self) -> str | None:
        """One sentence if the pixels are converted in a way the user should know of."""
        dtype = self.array.dtype
        known = dtype == np.uint8 or self.full_range == 1
        notes = [] if known else [f"has pixels of the type {dtype.name}, which are divided by {self.full_range:g}"]
        notes += ["says that 0 is white, and is inverted"] if self.zero_is_white else []
        return f"{self.name} {' and '.join(notes)}" if notes else None

    def read(self, z: int, rows: slice, columns: slice) -> np.ndarray:
        """Gray values of a part of a slice, float32 in [0, 1].

        Raises `InputError` if it cannot be read, or its pixels are not within 0 and the full range.
        """
        index = [0] * (len(self.array.shape) - 2)
        if self.z is not None:
            index[self.z] = z
        place = f"slice {z}, rows {rows.start} to {rows.stop - 1}, columns {columns.start} to {columns.stop - 1}"
        try:
            with _complaints() as complaints:
                part = np.asarray(self.array[(*index, rows, columns)])
        except Exception as error:  # libraries fail in many ways
            raise InputError(f"cannot read {self.name}, {place}: {_first_sentence(error)}") from error
        if complaints:
            raise InputError(f"cannot read {self.name}, {place}: {complaints[0]}")
        low, high = part.min(), part.max()
        if not (low >= 0 and high <= self.full_range):
            raise InputError(
                f"{self.name}, {place}, has pixels from {low:g} to {high:g}; they must be 0 to {self.full_range:g}"
            )
        if self.full_range != 1:
            part = part / np.float32(self.full_range)
        return (1 - part if self.zero_is_white else part).astype(np.float32)


def open_volume(name: str | Path, *, full_range: float | None = None) -> Volume:
    """Open a volume for reading.

    Parameters
    ----------
    name : path-like
        A TIFF, a folder that is an OME-Zarr image or a zarr array, or ``FILE.h5:/path``.
    full_range : float, optional
        As in `unet_paper.tiff.read_images`; by default 255 for uint8, 65535 for uint16 or what a TIFF says, else 1.

    Raises
    ------
    InputError
        If it is missing, damaged, of another format, empty, not of two or three axes and one channel, or of a type
        other than uint8, uint16, bool or float while `full_range` is not given.
    """
    name, path = str(name), Path(name)
    hdf5 = HDF5.fullmatch(name)
    if not (Path(hdf5[1]) if hdf5 else path).exists():
        raise InputError(f"{hdf5[1] if hdf5 else name} does not exist")
    if path.suffix == ".n5" or (path / "attributes.json").is_file():
        raise InputError(f"{name} is N5, which zarr 3 does not read; it must be zarr: tensorstore can copy it")
    kind = "HDF5" if hdf5 else "zarr" if path.is_dir() else "TIFF"
    pixels = None
    try:
        if hdf5:
            array, axes, voxel_size, unit = _open_hdf5(hdf5[1], hdf5[2])
        elif path.is_dir():
            array, axes, voxel_size, unit = _open_zarr(path)
        else:
            array, axes, voxel_size, unit, pixels = _open_tiff(path)
    except InputError:
        raise
    except Exception as error:  # a damaged file makes libraries fail in many ways
        raise InputError(f"cannot read {name} as {kind}: {_first_sentence(error)}") from error
    dtype = array.dtype
    if pixels and pixels.palette is not None:
        raise InputError(f"{name} has a palette; it must have gray values")
    if dtype.kind not in "uifb" or (
        full_range is None and (dtype.kind == "i" or (dtype.itemsize > 2 and dtype.kind == "u"))
    ):
        raise InputError(f"{name} has pixels of the type {dtype}; they must be uint8, uint16, or float in [0, 1]")
    if full_range is not None:
        check_full_range(full_range)
    else:
        full_range = 1 if dtype.kind in "fb" else pixels.full_range if pixels else np.iinfo(dtype).max
    white = bool(pixels and pixels.zero_is_white)
    return Volume(name, array, _slice_axis(name, axes, array.shape), full_range, white, voxel_size, unit)


def _slice_axis(name, axes, shape):
    """Position of the axis of the slices, None if there is one slice; `axes` is a letter for each, or None."""
    if 0 in shape or len(shape) < 2:
        raise InputError(f"{name} has the shape {tuple(shape)}; it must be (Z, H, W) or (H, W), not empty")
    if axes is None and len(shape) > 2 and shape[-1] <= MOST_CHANNELS:
        ending = f"with {shape[-1]} channels at the end"
        raise InputError(f"{name} has the shape {tuple(shape)}, {ending}; it must be (Z, H, W) or (H, W)")
    axes = axes or "tczyx"[-len(shape) :]
    kept = [(axis, number) for number, axis in enumerate(axes) if axis in "yx" or shape[number] != 1]
    names = "".join(axis for axis, _ in kept)
    channels = shape[axes.index("c")] if "c" in axes else shape[axes.index("s")] if "s" in names else 1
    if channels > 1:
        raise InputError(f"{name} has {channels} channels; there must be one")
    if len(axes) != len(shape) or len(kept) > 3 or axes[-2:] != "yx":
        raise InputError(f"{name} has the axes {axes} and the shape {tuple(shape)}; it must be (Z, H, W) or (H, W)")
    return kept[0][1] if len(kept) == 3 else None


def _open_tiff(path):
    with _complaints() as complaints, ExitStack() as stack:
        tiff = stack.enter_context(tifffile.TiffFile(path))
        if len(tiff.series) != 1:
            raise InputError(f"{path} holds {len(tiff.series)} images of different sizes or types; it must hold one")
        series = tiff.series[0]
        array = zarr.open_array(series.aszarr(level=0), mode="r")
        voxel_size, unit = _voxel_size(tiff)
        pixels = _pixels(tiff, np.zeros(1, array.dtype))  # as the file says; that no pixel exceeds it is seen later
        weakref.finalize(array, stack.pop_all().close)  # open as long as its pixels may be read
    if complaints:
        raise InputError(f"cannot read {path} as TIFF: it is damaged or truncated ({complaints[0]})")
    axes = series.axes.lower()
    if axes == "cyx" and array.shape[0] > MOST_CHANNELS:
        axes = "zyx"  # slices, whose axis was not named
    return array, axes, voxel_size, unit, pixels


def _open_hdf5(path, dataset):
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra(
            "HDF5 needs h5py: the extra unet-paper[hdf5], python -m pip install -e '.[hdf5]' in a checkout"
        ) from error
    file, found = h5py.File(path, "r"), []
    array = file.get(dataset) if dataset else None
    if not isinstance(array, h5py.Dataset):
        file.visititems(lambda name, item: found.append(f"/{name}") if isinstance(item, h5py.Dataset) else None)
        raise InputError(f"{path}:{dataset or ''} must name a dataset of the file: {', '.join(found) or 'it has none'}")
    if array.shape is None:
        raise InputError(f"{path}:{dataset} is empty; it must be (Z, H, W) or (H, W)")
    return array, None, *_size_of_attributes(array.attrs)


def _open_zarr(path):
    item = zarr.open(path, mode="r")
    if isinstance(item, zarr.Array):
        names = (item.metadata.zarr_format == 3 and item.metadata.dimension_names) or [""]
        axes = "".join(name[:1].lower() for name in names) if {(name or "").lower() for name in names} <= AXES else None
        return item, axes, *_size_of_attributes(item.attrs)
    image = dict(item.attrs.get("ome") or item.attrs).get("multiscales")
    if not image:
        members = ", ".join(str(path / name) for name, _ in item.members()) or "it has none"
        raise InputError(f"{path} is a zarr group without an OME-Zarr image; one of these must be named: {members}")
    image, scale, dataset = image[0], 1.0, image[0]["datasets"][0]
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in image.get("axes", "tczyx")]
    for step in (*dataset.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())):
        if step["type"] == "scale":
            scale = scale * np.array(step["scale"], float)
    spatial = [number for number, axis in enumerate(axes) if axis["name"] in "zyx"]
    units = [axes[number].get("unit") for number in spatial]
    size = None
    if np.ndim(scale) and units[-1] and len(set(units)) == 1:
        size = tuple(float(scale[number]) for number in spatial)
        size = (1.0,) * (3 - len(size)) + size
        size = size if is_voxel_size(size) else None
    return item[dataset["path"]], "".join(axis["name"][:1] for axis in axes), size, units[-1] if size else None


def _size_of_attributes(attributes):
    """Voxel size and unit as CREMI ("resolution", nm) and ilastik ("element_size_um") store them."""
    for key, unit in (("resolution", "nm"), ("element_size_um", "µm")):
        with suppress(TypeError, ValueError):  # other programs keep other things under the name
            sizes = np.asarray(attributes.get(key), float)
            if sizes.shape == (3,) and is_voxel_size(sizes):
                return tuple(sizes.tolist()), unit
    return None, None


def sample(volume: Volume, blocks: list[tuple[int, slice, slice]]) -> list[np.ndarray]:
    """Gray values of some of the blocks, evenly spread."""
    last = max(min(SAMPLES, len(blocks)) - 1, 1)
    return [volume.read(*blocks[number]) for number in sorted({i * (len(blocks) - 1) // last for i in range(last + 1)})]


def fingerprint(shape: tuple[int, int, int], parts: list[np.ndarray]) -> str:
    """SHA-256 of the shape of a volume and a sample of its gray values, as hexadecimal digits."""
    digest = hashlib.sha256(str(shape).encode())
    for part in parts:
        digest.update(part.tobytes())
    return digest.hexdigest()


def create_output(path: Path, volume: Volume, block: int, manifest: dict) -> None:
    """Make an OME-Zarr 0.5 image without pixels: uint8 of the shape of `volume`, a chunk for each block.

    It is complete before it gets its name; `manifest` is kept as the attribute "unet_paper".
    """
    unit = UNITS.get(volume.unit, volume.unit)
    known = {"unit": unit} if unit in {*UNITS.values(), "meter", "centimeter", "picometer"} else {}
    axes = [{"name": axis, "type": "space", **known} for axis in "zyx"]
    scale = [{"type": "scale", "scale": list(volume.voxel_size or (1.0, 1.0, 1.0))}]
    image = {"name": path.stem, "axes": axes, "datasets": [{"path": ARRAY, "coordinateTransformations": scale}]}
    attributes = {"ome": {"version": "0.5", "multiscales": [image]}, "unet_paper": manifest}
    for left in path.parent.glob(f".{escape(path.name)}.new-*"):
        with suppress(InputError), locked(left):  # of a run that was killed here
            shutil.rmtree(left, ignore_errors=True)
    unfinished = path.with_name(f".{path.name}.new-{secrets.token_hex(4)}")
    with locked(make_folder(unfinished)):
        _fill_output(path, unfinished, volume, block, attributes)


def _fill_output(path, unfinished, volume, block, attributes):
    try:
        group = zarr.create_group(unfinished, attributes=attributes)
        names = {"dimension_names": ("z", "y", "x"), "fill_value": 0}
        group.create_array(ARRAY, shape=volume.shape, chunks=(1, block, block), dtype="uint8", **names)
        unfinished.rename(path)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def read_manifest(path: Path) -> dict:
    """What an output was begun with; `InputError` if `path` is not one."""
    try:
        return dict(zarr.open_group(path, mode="r").attrs["unet_paper"])
    except Exception as error:
        raise InputError(f"{path} exists and is no volume of this command; another name must be given") from error


def missing_blocks(path: Path, blocks: Iterable[tuple[int, slice, slice]], block: int) -> list:
    """The blocks that are not finished; what was being written when a run was killed is removed."""
    chunks = path / ARRAY / "c"
    for left in chunks.rglob("*.partial"):
        left.unlink(missing_ok=True)
    return [b for b in blocks if not (chunks / f"{b[0]}/{b[1].start // block}/{b[2].start // block}").is_file()]


def open_output(path: Path) -> zarr.Array:
    """The array of an output, to write whole blocks to."""
    with zarr.config.set({"array.write_empty_chunks": True}):  # or a block of zeros would look unfinished
        return zarr.open_array(path / ARRAY, mode="r+")
