"""Stacks survive a round trip, and whatever is wrong with a file is told in one sentence."""

from itertools import pairwise

import numpy as np
import pytest
import tifffile

from unet_paper import tiff
from unet_paper.errors import InputError
from unet_paper.tiff import check_same_shape, read_images, read_labels, read_stack, write_slices, write_stack

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 24, 32), dtype=np.uint8)


def written(folder, array, **options):
    path = folder / "stack.tif"
    tifffile.imwrite(path, array, photometric=options.pop("photometric", "minisblack"), **options)
    return path


# --- stacks in and out


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
def test_a_written_stack_is_read_back_unchanged_with_its_voxel_size(tmp_path, dtype):
    array = RNG.integers(0, 256, (3, 17, 19)).astype(dtype)
    write_stack(tmp_path / "a.tif", array, voxel_size=(50, 4, 5), unit="µm")
    stack = read_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(stack.array, array)
    assert stack.array.dtype == dtype
    assert stack.voxel_size == pytest.approx((50, 4, 5))
    assert stack.unit == "µm"


def test_a_written_stack_is_an_imagej_hyperstack_of_slices_compressed_with_zlib(tmp_path):
    write_stack(tmp_path / "a.tif", GRAY, voxel_size=(50, 4, 4), unit="nm")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej
        assert tiff.series[0].axes == "ZYX"
        assert (tiff.imagej_metadata["slices"], tiff.imagej_metadata["spacing"]) == (5, 50)
        assert tiff.pages[0].compression.name == "ADOBE_DEFLATE"
        assert tiff.pages[0].tags["XResolution"].value == (1, 4)


def test_a_stack_without_voxel_size_is_written_and_read_without(tmp_path):
    write_stack(tmp_path / "a.tif", GRAY)
    assert read_stack(tmp_path / "a.tif")[1:] == (None, None, None)


def test_a_single_image_is_a_stack_of_one(tmp_path):
    assert read_stack(written(tmp_path, GRAY[0])).array.shape == (1, 24, 32)
    write_stack(tmp_path / "a.tif", GRAY[:1])
    assert read_stack(tmp_path / "a.tif").array.shape == (1, 24, 32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"metadata": None},
        {"compression": "zlib"},
        {"bigtiff": True},
    ],
)
def test_every_usual_kind_of_tiff_is_read_alike(tmp_path, options):
    np.testing.assert_array_equal(read_stack(written(tmp_path, GRAY, **options)).array, GRAY)


def test_voxel_size_of_ome_and_of_tifffile_is_read(tmp_path):
    sizes = {"PhysicalSizeX": 4, "PhysicalSizeY": 5, "PhysicalSizeZ": 50}
    units = {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}
    path = written(tmp_path, GRAY, ome=True, metadata={"axes": "ZYX"} | sizes | units)
    assert read_stack(path)[1:3] == ((50, 5, 4), "nm")
    path = written(tmp_path, GRAY, resolution=(1 / 4, 1 / 5), metadata={"axes": "ZYX", "spacing": 50, "unit": "nm"})
    assert read_stack(path)[1:3] == ((50, 5, 4), "nm")


def test_a_voxel_size_in_several_units_is_none_and_a_direction_is_no_part_of_it(tmp_path):
    sizes = {"PhysicalSizeX": 4, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 4, "PhysicalSizeYUnit": "nm"}
    sizes |= {"PhysicalSizeZ": 0.05, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(tmp_path / "stack.ome.tif", GRAY, metadata={"axes": "ZYX", **sizes})
    assert read_stack(tmp_path / "stack.ome.tif")[1:3] == (None, None)
    del sizes["PhysicalSizeZUnit"]  # by default it is µm
    tifffile.imwrite(tmp_path / "stack.ome.tif", GRAY, metadata={"axes": "ZYX", **sizes})
    assert read_stack(tmp_path / "stack.ome.tif")[1:3] == (None, None)
    metadata = {"axes": "ZYX", "spacing": -50, "unit": "nm"}
    path = written(tmp_path, GRAY, imagej=True, resolution=(1 / 4, 1 / 4), metadata=metadata)
    assert read_stack(path).voxel_size == pytest.approx((50, 4, 4))


@pytest.mark.parametrize("unit", ["µm", "μm", "Å", "nm", "inch"])  # the micro sign and the Greek letter
def test_a_unit_is_read_as_it_was_written(tmp_path, unit):
    write_stack(tmp_path / "a.tif", GRAY, voxel_size=(50, 4, 4), unit=unit)
    assert read_stack(tmp_path / "a.tif").unit == unit


@pytest.mark.parametrize("size", [0.0, 4e-10, 1e10])
def test_a_size_that_is_none_is_no_voxel_size(tmp_path, size):
    sizes = {"PhysicalSizeX": size, "PhysicalSizeY": 4.0, "PhysicalSizeZ": 50.0}
    path = written(tmp_path, GRAY, ome=True, metadata={"axes": "ZYX"} | sizes)
    assert read_stack(path)[1:3] == (None, None)
    metadata = {"axes": "ZYX", "spacing": float("nan"), "unit": "nm"}
    path = written(tmp_path, GRAY, imagej=True, resolution=(1 / 4, 1 / 4), metadata=metadata)
    assert read_stack(path)[1:3] == (None, None)


def test_a_file_of_an_ome_set_that_has_its_metadata_elsewhere_is_read(tmp_path):
    namespace = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    text = f'<OME xmlns="{namespace}"><BinaryOnly MetadataFile="all.companion.ome" UUID="urn:uuid:1"/></OME>'
    path = tmp_path / "one.ome.tif"
    tifffile.imwrite(path, GRAY, description=text, metadata=None, photometric="minisblack")
    stack = read_stack(path)
    np.testing.assert_array_equal(stack.array, GRAY)
    assert stack[1:3] == (None, None)


@pytest.mark.parametrize("stack", [GRAY, GRAY[0]])
def test_an_axis_of_one_at_the_end_is_left_out(tmp_path, stack):
    path = written(tmp_path, stack[..., None], photometric="minisblack")
    np.testing.assert_array_equal(read_stack(path).array, stack.reshape(-1, *stack.shape[-2:]))


def test_dots_per_inch_are_no_voxel_size(tmp_path):
    path = written(tmp_path, GRAY, resolution=(72, 72), resolutionunit="INCH", metadata=None)
    assert read_stack(path).voxel_size is None


# --- gray values and labels


def test_images_are_scaled_by_their_type(tmp_path):
    np.testing.assert_array_equal(read_images(written(tmp_path, GRAY)).array, GRAY / np.float32(255))
    wide = GRAY.astype(np.uint16) * 257
    stack = read_images(written(tmp_path, wide))
    np.testing.assert_array_equal(stack.array, wide / np.float32(65535))
    assert stack.array.dtype == np.float32
    assert "16-bit" in stack.note
    unit = GRAY / np.float32(255)
    np.testing.assert_array_equal(read_images(written(tmp_path, unit)).array, unit)


def test_labels_keep_their_numbers(tmp_path):
    np.testing.assert_array_equal(read_labels(written(tmp_path, GRAY)).array, GRAY)
    labels = read_labels(written(tmp_path, GRAY.astype(np.float32))).array
    np.testing.assert_array_equal(labels, GRAY)
    assert labels.dtype.kind == "i"


# --- what a file says of its own gray values

GRAYS = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
ORDER = RNG.permutation(256)
TWELVE_BITS = np.rint(GRAY * (3987 / 255)).astype(np.uint16)
OME = {"ome": True, "metadata": {"axes": "ZYX"}}


def shuffled(array):
    """The picture of `array` as numbers of a palette in which the grays lie in any order."""
    return {"array": np.argsort(ORDER).astype(np.uint8)[array], "photometric": "palette", "colormap": GRAYS[:, ORDER]}


def max_sample_value(value):
    return {"extratags": [(281, "H", 1, value, True)], "metadata": None}


SAME_PICTURE = {
    "8 bits": {},
    "palette": shuffled(GRAY),
    "palette of 8 bits a gray": shuffled(GRAY) | {"colormap": GRAYS[:, ORDER] // 257},
    "0 is white": {"array": 255 - GRAY, "photometric": "miniswhite"},
    "0 is white, 16 bits": {"array": 65535 - GRAY.astype(np.uint16) * 257, "photometric": "miniswhite"},
    "0 is white, float": {"array": 1 - GRAY / np.float32(255), "photometric": "miniswhite"},
    "16 bits": {"array": GRAY.astype(np.uint16) * 257},
    "12 bits by MaxSampleValue": {"array": np.rint(GRAY / 255 * 4095).astype(np.uint16), **max_sample_value(4095)},
    "12 bits by the largest there is": {
        "array": np.rint(GRAY / 255 * 4095).astype(np.uint16),
        **max_sample_value(3987),
    },
    "12 bits by OME": {
        "array": np.rint(GRAY / 255 * 4095).astype(np.uint16),
        "ome": True,
        "metadata": {"axes": "ZYX", "SignificantBits": 12},
    },
    "wrong MaxSampleValue": {"array": GRAY.astype(np.uint16) * 257, **max_sample_value(255)},
    "16 bits by OME": {"array": GRAY.astype(np.uint16) * 257, **OME},
}


@pytest.mark.parametrize("options", SAME_PICTURE.values(), ids=SAME_PICTURE)
def test_a_picture_is_the_same_however_its_grays_are_stored(tmp_path, options):
    stack = read_images(written(tmp_path, **({"array": GRAY} | options)))
    np.testing.assert_allclose(stack.array, GRAY / 255, atol=0.03)
    assert stack.array.dtype == np.float32
    assert (stack.note is None) == (not options)


@pytest.mark.parametrize("bits", [2, 4])
def test_pixels_of_few_bits_are_scaled_by_those(tmp_path, bits):
    array = GRAY >> (8 - bits)
    path = written(tmp_path, array, bitspersample=bits)
    np.testing.assert_array_equal(read_images(path).array, array / np.float32(2**bits - 1))


@pytest.mark.parametrize("mask", [GRAY > 90, GRAY < 0])
def test_a_mask_that_tifffile_wrote_is_read_as_it_was(tmp_path, mask):
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.tif").array, mask)
    np.testing.assert_array_equal(read_images(tmp_path / "mask.tif").array, mask)
    tifffile.imwrite(tmp_path / "mask.tif", mask, software="a scanner")  # 0 is white, as for tifffile's
    np.testing.assert_array_equal(read_images(tmp_path / "mask.tif").array, ~mask)


def test_colours_of_a_palette_are_no_gray_values_but_those_of_imagej_are_a_way_to_look(tmp_path):
    fire = GRAYS.copy()
    fire[1] = 0
    with pytest.raises(InputError, match="a palette of colours"):
        read_images(written(tmp_path, GRAY, photometric="palette", colormap=fire))
    stack = read_images(written(tmp_path, GRAY, photometric="palette", colormap=fire, imagej=True))
    np.testing.assert_array_equal(stack.array, GRAY / np.float32(255))
    assert "colour table" in stack.note


def test_the_full_range_can_be_named(tmp_path):
    for array in (GRAY.astype(np.uint16), GRAY.astype(np.int32), GRAY.astype(np.float32), GRAY):
        stack = read_images(written(tmp_path, array), full_range=300)
        np.testing.assert_allclose(stack.array, GRAY / 300, rtol=1e-6)
        assert (stack.array.dtype, stack.note) == (np.float32, None)
    with pytest.raises(InputError, match=r"pixels from 0 to 255; they must be 0 to 200"):
        read_images(written(tmp_path, GRAY), full_range=200)
    for nonsense in (0, -1, np.nan, np.inf):
        with pytest.raises(InputError, match="full range"):
            read_images(written(tmp_path, GRAY), full_range=nonsense)


MEMBRANES = np.where(GRAY > 90, 255, 0).astype(np.uint8)
SAME_LABELS = {
    "black and white": {},
    "0 is white": {"array": 255 - MEMBRANES, "photometric": "miniswhite"},
    "palette": shuffled(MEMBRANES),
    "palette of two": {
        "array": MEMBRANES // 255,
        "photometric": "palette",
        "colormap": np.where(np.arange(256) == 1, GRAYS * 0 + 65535, 0).astype(np.uint16),
    },
    "palette of two the other way round": {
        "array": 1 - MEMBRANES // 255,
        "photometric": "palette",
        "colormap": np.where(np.arange(256) == 0, GRAYS * 0 + 65535, 0).astype(np.uint16),
    },
}


@pytest.mark.parametrize("options", SAME_LABELS.values(), ids=SAME_LABELS)
def test_membranes_are_black_however_they_are_stored(tmp_path, options):
    labels = read_labels(written(tmp_path, **({"array": MEMBRANES} | options))).array
    np.testing.assert_array_equal(labels > 0, MEMBRANES > 0)


def test_a_palette_of_one_bit_is_followed(tmp_path):
    path = written(tmp_path, MEMBRANES == 0, extratags=[(320, "H", 6, [65535, 0] * 3, True)])  # False is white
    with tifffile.TiffFile(path, mode="r+b") as file:
        for page in file.pages:
            page.tags["PhotometricInterpretation"].overwrite(3)
    np.testing.assert_array_equal(read_images(path).array, MEMBRANES > 0)
    np.testing.assert_array_equal(read_labels(path).array > 0, MEMBRANES > 0)


def test_a_palette_decorates_numbered_cells(tmp_path):
    colours = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    path = written(tmp_path, GRAY, photometric="palette", colormap=colours)
    np.testing.assert_array_equal(read_labels(path).array, GRAY)
    path = written(tmp_path, GRAY, photometric="palette", colormap=GRAYS * 0)
    np.testing.assert_array_equal(read_labels(path).array, GRAY)


def test_numbered_cells_of_which_0_is_white_are_refused(tmp_path):
    with pytest.raises(InputError, match="0 is white"):
        read_labels(written(tmp_path, GRAY, photometric="miniswhite"))


@pytest.mark.parametrize("compression", ["lzw", "zstd", "zlib", "packbits", "lzma"])
def test_compressed_stacks_are_read(tmp_path, compression):
    np.testing.assert_array_equal(read_stack(written(tmp_path, GRAY, compression=compression)).array, GRAY)


# --- bad input, one clear sentence each


def nan_pixel(array):
    array = array.astype(np.float32) / 255
    array[1, 2, 3] = np.nan
    return array


BAD_FILES = {
    "colours": (lambda: np.zeros((8, 8, 3), np.uint8), {"photometric": "rgb"}, "3 colours"),
    "slices taken for colours": (
        lambda: GRAY[:3],
        {"photometric": "rgb", "planarconfig": "separate"},
        "if they are slices, photometric='minisblack'",
    ),
    "stack of colours": (lambda: np.zeros((2, 8, 8, 3), np.uint8), {"photometric": "rgb"}, "3 colours"),
    "four dimensions": (
        lambda: np.zeros((2, 3, 8, 8), np.uint8),
        {"imagej": True, "metadata": {"axes": "TZYX"}},
        "axes TZYX",
    ),
    "channels": (lambda: GRAY[:3], {"imagej": True, "metadata": {"axes": "CYX", "mode": "composite"}}, "3 channels"),
    "stack of channels": (lambda: np.zeros((2, 3, 8, 8), np.uint8), {"imagej": True}, "3 channels"),
    "NaN": (lambda: nan_pixel(GRAY), {}, "NaN"),
    "infinite": (lambda: np.full((1, 4, 4), np.inf, np.float32), {}, "infinite"),
    "beyond 1": (lambda: GRAY.astype(np.float32), {}, "must be 0 to 1"),
    "negative": (lambda: GRAY.astype(np.float32) / -255, {}, "must be 0 to 1"),
    "int32": (lambda: GRAY.astype(np.int32), {}, "type int32"),
}


@pytest.mark.parametrize(("make", "options", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_illegal_images_are_refused_in_one_sentence(tmp_path, make, options, message):
    with pytest.raises(InputError, match=message) as raised:
        read_images(written(tmp_path, make(), **options))
    assert "\n" not in str(raised.value)
    assert "stack.tif" in str(raised.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GRAY / np.float32(255), "fractions"),
        (lambda: nan_pixel(GRAY), "NaN"),
        (lambda: GRAY.astype(np.int16) - 9, "at least 0"),
        (lambda: GRAY.astype(np.complex64), "type complex64"),
        (lambda: GRAY.astype(np.float64) * 1e20, r"at most 2\*\*53"),
    ],
)
def test_illegal_labels_are_refused(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        read_labels(written(tmp_path, make()))


@pytest.mark.filterwarnings("ignore::UserWarning")  # tifffile's, about writing nothing
def test_an_empty_stack_is_refused(tmp_path):
    path = tmp_path / "empty.tif"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot read"):
        read_stack(path)
    with pytest.raises(InputError, match="empty"):
        read_stack(written(tmp_path, np.zeros((0, 8, 8), np.uint8)))
    with pytest.raises(InputError, match="not empty"):
        write_stack(path, np.zeros((0, 8, 8), np.uint8))


def test_missing_file_folder_and_foreign_format_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_stack(tmp_path / "none.tif")
    with pytest.raises(InputError, match="is a folder"):
        read_stack(tmp_path)
    (tmp_path / "text.tif").write_text("labels, but not as TIFF")
    with pytest.raises(InputError, match="cannot read"):
        read_stack(tmp_path / "text.tif")


@pytest.mark.parametrize(
    "options",
    [
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"compression": "zlib"},
        {"metadata": None},
    ],
)
def test_a_truncated_tiff_is_refused_or_loses_no_pixel(tmp_path, options):
    whole = written(tmp_path, GRAY, **options).read_bytes()
    n_refused = 0
    for length in range(0, len(whole), 61):
        (tmp_path / "cut.tif").write_bytes(whole[:length])
        try:
            array = read_stack(tmp_path / "cut.tif").array
        except InputError:
            n_refused += 1
        else:
            np.testing.assert_array_equal(array, GRAY)
    assert n_refused > 0.8 * len(whole) / 61


def test_images_of_different_sizes_in_one_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(GRAY[0], metadata=None)
        tiff.write(GRAY[0, :5], metadata=None)
    with pytest.raises(InputError, match="different sizes"):
        read_stack(tmp_path / "a.tif")


def test_stack_and_labels_of_different_shape_are_refused():
    check_same_shape(GRAY, GRAY, "a.tif", "b.tif")
    with pytest.raises(InputError, match=r"a.tif has the shape \(5, 24, 32\), b.tif \(4, 24, 32\)"):
        check_same_shape(GRAY, GRAY[1:], "a.tif", "b.tif")


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (GRAY.astype(np.float64), {}, "type float64"),
        (GRAY[0], {}, "shape"),
        (GRAY, {"voxel_size": (0, 4, 4)}, "voxel size"),
        (GRAY, {"voxel_size": (4, 4)}, "voxel size is .* must be three numbers"),
        (GRAY, {"voxel_size": (1, 1e-10, 1)}, "voxel size is .* from 1e-9 to 1e9"),
        (nan_pixel(GRAY), {}, "slice 1 holds NaN"),
        (np.full((1, 2, 2), np.inf, np.float32), {}, "slice 0 holds NaN or infinite"),
    ],
)
def test_what_cannot_be_read_again_is_not_written(tmp_path, array, options, message):
    with pytest.raises(InputError, match=message):
        write_stack(tmp_path / "a.tif", array, **options)
    assert not list(tmp_path.iterdir())


# --- slices written as they are computed


@pytest.mark.parametrize("largest", [tiff.LARGEST_IMAGEJ, GRAY.nbytes - 1])
def test_slices_are_written_before_the_next_is_taken_as_bigtiff_where_imagejs_form_is_too_small(
    tmp_path, monkeypatch, largest
):
    monkeypatch.setattr(tiff, "LARGEST_IMAGEJ", largest)
    sizes = []

    def slices():
        for plane in GRAY:
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
            yield plane

    options = {"voxel_size": (50, 4, 5), "unit": "µm"}
    write_slices(tmp_path / "a.tif", slices(), shape=GRAY.shape, dtype="uint8", **options)
    assert all(after - before > GRAY[0].size / 2 for before, after in pairwise(sizes))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_imagej == (not file.is_bigtiff) == (largest > GRAY.nbytes)
    stack = read_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(stack.array, GRAY)
    assert (stack.voxel_size, stack.unit) == (pytest.approx((50, 4, 5)), "µm")


def test_four_gibibytes_need_bigtiff():
    assert 2**32 - 2**26 < tiff.LARGEST_IMAGEJ < 2**32


def test_shape_and_type_are_refused_before_a_slice_is_computed(tmp_path):
    def slices():
        raise AssertionError("a slice was asked for")
        yield

    for shape, dtype in [((2, 3), "uint8"), ((2, 3, 0), "uint8"), ((2, 3, 4), "float64")]:
        with pytest.raises(InputError, match="cannot write"):
            write_slices(tmp_path / "a.tif", slices(), shape=shape, dtype=dtype)


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([], "there are 0 slices; the shape says 5"),
        (GRAY[:1], "there are 1 slices; the shape says 5"),
        ([*GRAY, GRAY[0]], "there are more slices than the 5 of the shape"),
        ([GRAY[0].T], "slice 0 is uint8 .*; it must be uint8"),
        (GRAY.astype(float), "slice 0 is float64 .*; it must be uint8"),
    ],
)
def test_slices_that_are_not_as_announced_leave_nothing(tmp_path, slices, message):
    with pytest.raises(InputError, match=message):
        write_slices(tmp_path / "a.tif", slices, shape=GRAY.shape, dtype="uint8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [">u2", ">u4", ">f4"])
def test_pixels_of_the_other_byte_order_are_written(tmp_path, dtype):
    write_stack(tmp_path / "a.tif", GRAY.astype(dtype))
    np.testing.assert_array_equal(read_stack(tmp_path / "a.tif").array, GRAY)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, InputError])
def test_slices_that_end_early_leave_nothing(tmp_path, error):
    def slices():
        yield GRAY[0]
        raise error

    with pytest.raises(error):
        write_slices(tmp_path / "a.tif", slices(), shape=GRAY.shape, dtype="uint8")
    assert not list(tmp_path.iterdir())
