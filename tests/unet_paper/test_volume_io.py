"""Volumes in: every format gives the pixels of the stack, lazily, and what is wrong with it is one sentence."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from unet_paper.errors import InputError
from unet_paper.tiff import read_images
from unet_paper.volume_io import SAMPLES, fingerprint, open_volume, sample

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 40, 50), np.uint8)
SIZE = {"PhysicalSizeX": 4.0, "PhysicalSizeY": 4.0, "PhysicalSizeZ": 50.0}
UNIT = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}


def ome_zarr(path, array, *, names="tczyx", version="0.5"):
    """An image as other programs write it: OME-Zarr 0.4 in zarr 2 or 0.5 in zarr 3."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    group.create_array("full", data=array, chunks=(*[1] * (array.ndim - 2), 16, 16))
    axes = [{"name": name, "type": {"t": "time", "c": "channel"}.get(name, "space")} for name in names]
    for axis in axes:
        axis |= {"unit": "nanometer"} if axis["type"] == "space" else {}
    scale = [{"type": "scale", "scale": [{"t": 1, "c": 1, "z": 25, "y": 2, "x": 2}[name] for name in names]}]
    whole = [{"type": "scale", "scale": [2] * len(names)}]
    datasets = [{"path": "full", "coordinateTransformations": scale}]
    image = {"axes": axes, "datasets": datasets, "coordinateTransformations": whole}
    group.attrs.update({"multiscales": [image]} if version == "0.4" else {"ome": {"multiscales": [image]}})


def hdf5(path, array, **attributes):
    with h5py.File(path, "w") as file:
        file.create_dataset("volumes/raw", data=array).attrs.update(attributes)


WRITERS = {
    "stack.tif": lambda path: tifffile.imwrite(
        path, IMAGES, imagej=True, resolution=(1 / 4, 1 / 4), metadata={"spacing": 50, "unit": "nm", "axes": "ZYX"}
    ),
    "stack.ome.tif": lambda path: tifffile.imwrite(
        path, IMAGES, tile=(16, 16), compression="zlib", metadata={"axes": "ZYX", **SIZE, **UNIT}
    ),
    "bigtiff.tif": lambda path: tifffile.imwrite(path, IMAGES, bigtiff=True, metadata=None, photometric="minisblack"),
    "plain.zarr": lambda path: zarr.create_array(path, data=IMAGES, chunks=(2, 16, 16)),
    "old.zarr": lambda path: zarr.create_array(path, data=IMAGES, chunks=(2, 16, 16), zarr_format=2),
    "ome4.zarr": lambda path: ome_zarr(path, IMAGES[None, None], version="0.4"),
    "ome5.zarr": lambda path: ome_zarr(path, IMAGES, names="zyx"),
    "cremi.h5:/volumes/raw": lambda path: hdf5(path, IMAGES, resolution=[50.0, 4.0, 4.0]),
    "ilastik.hdf5:volumes/raw": lambda path: hdf5(path, IMAGES, element_size_um=[0.05, 0.004, 0.004]),
}
SIZES = dict.fromkeys(("stack.tif", "stack.ome.tif", "cremi.h5:/volumes/raw"), ((50, 4, 4), "nm"))
SIZES |= dict.fromkeys(("ome4.zarr", "ome5.zarr"), ((50, 4, 4), "nanometer"))
SIZES["ilastik.hdf5:volumes/raw"] = (0.05, 0.004, 0.004), "µm"


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_pixels_and_the_voxel_size(tmp_path, name):
    WRITERS[name](tmp_path / name.partition(":")[0])
    volume = open_volume(tmp_path / name)
    assert volume.shape == (3, 40, 50)
    part = volume.read(1, slice(3, 30), slice(20, 50))
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, IMAGES[1, 3:30, 20:50] / np.float32(255))
    size, unit = SIZES.get(name, (None, None))
    assert (volume.voxel_size, volume.unit) == (pytest.approx(size) if size else None, unit)


@pytest.mark.parametrize("name", ["raw", "hard", "soft", "elsewhere"])
def test_a_dataset_may_have_several_names_and_be_a_link(tmp_path, name):
    hdf5(tmp_path / "other.h5", IMAGES)
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["raw"] = IMAGES
        file["hard"] = file["raw"]
        file["soft"] = h5py.SoftLink("/raw")
        file["elsewhere"] = h5py.ExternalLink("other.h5", "/volumes/raw")
        file["broken"] = h5py.SoftLink("/nothing")
    assert open_volume(f"{tmp_path / 'in.h5'}:/{name}").shape == IMAGES.shape
    with pytest.raises(InputError, match="must name a dataset of the file"):
        open_volume(f"{tmp_path / 'in.h5'}:/broken")


@pytest.mark.parametrize(
    "names", [("dim_0", "dim_1", "dim_2"), ("slice", "row", "column"), ("depth", "height", "width")]
)
def test_names_of_axes_that_say_nothing_are_none(tmp_path, names):
    zarr.create_array(tmp_path / "in.zarr", data=IMAGES, dimension_names=names)
    assert open_volume(tmp_path / "in.zarr").shape == IMAGES.shape
    zarr.create_array(tmp_path / "turned.zarr", data=IMAGES, dimension_names=("X", "Y", "Z"))
    with pytest.raises(InputError, match="has the axes xyz"):
        open_volume(tmp_path / "turned.zarr")


@pytest.mark.parametrize("size", [4.0, "abc", [0, 0, -1], [50, 4], [50, 4, np.nan], [[50, 4, 4]]])
@pytest.mark.parametrize("key", ["resolution", "element_size_um"])
def test_attributes_that_are_no_voxel_size_are_left_alone(tmp_path, key, size):
    hdf5(tmp_path / "in.h5", IMAGES, **{key: size})
    volume = open_volume(f"{tmp_path / 'in.h5'}:/volumes/raw")
    assert (volume.shape, volume.voxel_size, volume.unit) == (IMAGES.shape, None, None)


def test_a_dataset_without_pixels_is_named(tmp_path):
    hdf5(tmp_path / "in.h5", h5py.Empty("uint8"))
    with pytest.raises(InputError, match=r"in\.h5:/volumes/raw is empty; it must be"):
        open_volume(f"{tmp_path / 'in.h5'}:/volumes/raw")


def test_a_voxel_size_in_several_units_is_none(tmp_path):
    ome_zarr(tmp_path / "in.zarr", IMAGES, names="zyx")
    group = zarr.open_group(tmp_path / "in.zarr")
    ome = dict(group.attrs["ome"])
    ome["multiscales"][0]["axes"][0]["unit"] = "micrometer"
    group.attrs["ome"] = ome
    volume = open_volume(tmp_path / "in.zarr")
    assert (volume.voxel_size, volume.unit) == (None, None)


@pytest.mark.parametrize(
    "array",
    [
        IMAGES[0],
        (IMAGES.astype(np.uint16) * 257),
        (IMAGES.astype(">u2") * 200),
        IMAGES / np.float32(255),
        IMAGES / 255,
        (IMAGES / 255).astype(np.float16),
    ],
    ids=["2-D", "uint16", "big endian", "float32", "float64", "float16"],
)
def test_types_are_scaled_as_those_of_a_tiff(tmp_path, array):
    tifffile.imwrite(tmp_path / "stack.tif", array, photometric="minisblack")
    expected = read_images(tmp_path / "stack.tif").array
    zarr.save_array(tmp_path / "in.zarr", array)
    for name in ("stack.tif", "in.zarr"):
        volume = open_volume(tmp_path / name)
        assert volume.shape == expected.shape
        np.testing.assert_array_equal(volume.read(0, slice(0, 40), slice(0, 50)), expected[0])
        assert ("divided by 65535" in (volume.note or "")) == (array.dtype.kind == "u" and array.dtype.itemsize == 2)


@pytest.mark.parametrize(
    ("array", "options", "full_range"),
    [
        (IMAGES, {"photometric": "miniswhite"}, None),
        (IMAGES > 99, {}, None),
        (IMAGES.astype(np.uint16) * 16, {"extratags": [(281, "H", 1, 4095, True)]}, None),
        (IMAGES.astype(np.uint16) * 16, {}, 4095),
        (IMAGES.astype(np.int32), {}, 255),
        (IMAGES * 1.0, {}, 255),
    ],
    ids=["0 is white", "bool", "12 bits", "4095 given", "int32", "float to 255"],
)
def test_gray_values_are_those_of_the_tiff_reader(tmp_path, array, options, full_range):
    tifffile.imwrite(tmp_path / "in.tif", array, **{"photometric": "minisblack", **options})
    volume = open_volume(tmp_path / "in.tif", full_range=full_range)
    expected = read_images(tmp_path / "in.tif", full_range=full_range).array
    np.testing.assert_array_equal(volume.read(2, slice(0, 40), slice(0, 50)), expected[2])


@pytest.mark.parametrize("full_range", [0, -1, float("inf"), float("nan")])
def test_a_full_range_that_is_none_is_refused(tmp_path, full_range):
    zarr.create_array(tmp_path / "in.zarr", data=IMAGES)
    with pytest.raises(InputError, match="must be a finite number above 0"):
        open_volume(tmp_path / "in.zarr", full_range=full_range)


def test_a_part_is_read_without_the_rest(tmp_path):
    zarr.create_array(tmp_path / "in.zarr", data=IMAGES, chunks=(1, 16, 16))
    for chunk in (tmp_path / "in.zarr" / "c").rglob("*"):
        if chunk.is_file() and chunk.relative_to(tmp_path).parts[2:] != ("1", "0", "2"):
            chunk.write_bytes(b"damaged")
    part = open_volume(tmp_path / "in.zarr").read(1, slice(0, 16), slice(32, 48))
    np.testing.assert_array_equal(part, IMAGES[1, :16, 32:48] / np.float32(255))


def test_more_channels_than_any_composite_has_are_slices_as_they_are_for_a_stack(tmp_path):
    slices = np.concatenate([IMAGES, 255 - IMAGES])
    tifffile.imwrite(tmp_path / "in.tif", slices, imagej=True, metadata={"axes": "CYX"})
    volume = open_volume(tmp_path / "in.tif")
    assert volume.shape == (6, 40, 50)
    read = volume.read(5, slice(0, 40), slice(0, 50))
    np.testing.assert_array_equal(read, read_images(tmp_path / "in.tif").array[5])


def test_the_fingerprint_is_that_of_the_pixels_and_not_of_the_file(tmp_path):
    blocks = [(z, slice(0, 40), slice(0, 50)) for z in range(3)]
    for name in ("stack.tif", "plain.zarr"):
        WRITERS[name](tmp_path / name)
    other = IMAGES.copy()
    other[2, 39, 49] ^= 1
    zarr.save_array(tmp_path / "other.zarr", other)
    volumes = [open_volume(tmp_path / name) for name in ("stack.tif", "plain.zarr", "other.zarr")]
    first, same, different = (fingerprint(volume.shape, sample(volume, blocks)) for volume in volumes)
    assert first == same != different


@pytest.mark.parametrize("count", [1, 2, SAMPLES, SAMPLES + 1, 1000])
def test_a_sample_is_spread_from_the_first_block_to_the_last(count):
    class Numbers:
        def read(self, number):
            return number

    numbers = sample(Numbers(), [(number,) for number in range(count)])
    assert len(numbers) == min(count, SAMPLES)
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    steps = np.diff(numbers).tolist()
    assert max(steps, default=1) - min(steps, default=1) <= 1


def damaged_zarr(path):
    zarr.save_array(path, IMAGES)
    (path / "zarr.json").write_text('{"shape": [3')


def damaged_tiff(path):
    tifffile.imwrite(path, IMAGES, photometric="minisblack")
    path.write_bytes(path.read_bytes()[:500])


def n5(path):
    path.mkdir()
    (path / "attributes.json").write_text('{"n5": "2.0.0"}')


def group_of_arrays(path):
    zarr.create_group(path).create_array("raw", data=IMAGES)


def group_of_images(path):
    zarr.create_group(path)
    ome_zarr(path / "0", IMAGES, names="zyx")


BAD = {
    "missing.zarr": (lambda path: None, "does not exist"),
    "missing.h5:/raw": (lambda path: None, "missing.h5 does not exist"),
    "empty.zarr": (lambda path: path.mkdir(), "cannot read .*empty.zarr as zarr"),
    "damaged.zarr": (damaged_zarr, "cannot read .*damaged.zarr as zarr"),
    "damaged.tif": (damaged_tiff, "cannot read .*damaged.tif"),
    "text.tif": (lambda path: path.write_text("no TIFF"), "cannot read .*text.tif as TIFF"),
    "text.h5:/raw": (lambda path: path.write_text("no HDF5"), "cannot read .*text.h5:/raw as HDF5"),
    "group.zarr": (group_of_arrays, "one of these must be named: .*group.zarr/raw"),
    "images.zarr": (group_of_images, "one of these must be named: .*images.zarr/0"),
    "no_path.h5": (lambda path: hdf5(path, IMAGES), "must name a dataset of the file: /volumes/raw"),
    "wrong_path.h5:/raw": (lambda path: hdf5(path, IMAGES), "must name a dataset of the file: /volumes/raw"),
    "copy.n5": (n5, "is N5.*tensorstore"),
    "folder": (n5, "is N5.*tensorstore"),
    "line.zarr": (lambda path: zarr.save_array(path, IMAGES[0, 0]), r"has the shape \(50,\)"),
    "four.zarr": (lambda path: zarr.save_array(path, np.stack([IMAGES] * 2)), "2 channels"),
    "five.zarr": (lambda path: ome_zarr(path, np.stack([IMAGES[None]] * 2)), r"shape \(2, 1, 3, 40, 50\)"),
    "channels.zarr": (lambda path: ome_zarr(path, IMAGES[:2], names="cyx"), "has 2 channels"),
    "colours.zarr": (lambda path: zarr.save_array(path, np.stack([IMAGES[0]] * 3, -1)), "3 channels"),
    "colours.tif": (
        lambda path: tifffile.imwrite(path, np.stack([IMAGES[0]] * 3, -1), photometric="rgb"),
        "3 channels",
    ),
    "last.zarr": (
        lambda path: zarr.save_array(path, IMAGES[..., None]),
        "with 1 channels at the end; it must be",
    ),
    "named_last.zarr": (lambda path: ome_zarr(path, IMAGES[..., None], names="zyxc"), "has the axes zyxc"),
    "last.tif": (lambda path: tifffile.imwrite(path, IMAGES[..., None], photometric="minisblack"), "has the axes"),
    "palette.tif": (
        lambda path: tifffile.imwrite(path, IMAGES[0], photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
        "has a palette; it must have gray values",
    ),
    "turned.zarr": (lambda path: ome_zarr(path, IMAGES, names="xyz"), "has the axes xyz"),
    "empty_axis.zarr": (lambda path: zarr.save_array(path, IMAGES[:0]), "not empty"),
    "int16.zarr": (lambda path: zarr.save_array(path, IMAGES.astype(np.int16)), "type int16"),
    "uint32.h5:/volumes/raw": (lambda path: hdf5(path, IMAGES.astype(np.uint32)), "type uint32"),
    "complex.zarr": (lambda path: zarr.save_array(path, IMAGES.astype(np.complex64)), "type complex64"),
}


@pytest.mark.filterwarnings("ignore:Object at .* is not recognized:zarr.errors.ZarrUserWarning")
@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_sentence(tmp_path, name):
    write, sentence = BAD[name]
    write(tmp_path / name.partition(":")[0])
    with pytest.raises(InputError, match=sentence) as error:
        open_volume(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [-0.5, 1.5, np.nan, np.inf])
def test_floats_beyond_0_to_1_are_found_where_they_are(tmp_path, value):
    images = IMAGES / np.float32(255)
    images[1, 20, 30] = value
    zarr.save_array(tmp_path / "in.zarr", images)
    volume = open_volume(tmp_path / "in.zarr")
    volume.read(1, slice(0, 20), slice(0, 50))
    with pytest.raises(InputError, match=r"slice 1, rows 10 to 29, columns 0 to 49, has pixels .* must be 0 to 1"):
        volume.read(1, slice(10, 30), slice(0, 50))


@pytest.mark.parametrize(
    ("missing", "source", "sentence"),
    [("zarr", "in.tif", "unet-paper[volumes]"), ("h5py", "in.h5:/raw", "unet-paper[hdf5]")],
)
def test_without_an_extra_it_is_named(tmp_path, missing, source, sentence):
    (tmp_path / source.partition(":")[0]).touch()
    check = f"import sys; sys.modules[{missing!r}] = None; from unet_paper.__main__ import main; sys.exit(main())"
    arguments = ["predict", str(tmp_path / source), str(tmp_path / "out.zarr"), "--weights", "none"]
    done = subprocess.run([sys.executable, "-c", check, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
