"""Stacks survive a round trip, and whatever is wrong with a file is told in one sentence."""

import numpy as np
import pytest
import tifffile

from unet_paper.errors import InputError
from unet_paper.tiff import check_same_shape, read_images, read_labels, read_stack, write_stack

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
    sizes = {"PhysicalSizeX": 4, "PhysicalSizeY": 5, "PhysicalSizeZ": 50, "PhysicalSizeXUnit": "nm"}
    path = written(tmp_path, GRAY, ome=True, metadata={"axes": "ZYX"} | sizes)
    assert read_stack(path)[1:3] == ((50, 5, 4), "nm")
    path = written(tmp_path, GRAY, resolution=(1 / 4, 1 / 5), metadata={"axes": "ZYX", "spacing": 50, "unit": "nm"})
    assert read_stack(path)[1:3] == ((50, 5, 4), "nm")


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


# --- bad input, one clear sentence each


def nan_pixel(array):
    array = array.astype(np.float32) / 255
    array[1, 2, 3] = np.nan
    return array


BAD_FILES = {
    "colours": (lambda: np.zeros((8, 8, 3), np.uint8), {"photometric": "rgb"}, "3 colours"),
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
    "beyond 1": (lambda: GRAY.astype(np.float32), {}, "legal: 0 to 1"),
    "negative": (lambda: GRAY.astype(np.float32) / -255, {}, "legal: 0 to 1"),
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
    with pytest.raises(InputError, match="not a file"):
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
    check_same_shape(GRAY, GRAY)
    with pytest.raises(InputError, match=r"\(5, 24, 32\).*\(4, 24, 32\)"):
        check_same_shape(GRAY, GRAY[1:])


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (GRAY.astype(np.float64), {}, "type float64"),
        (GRAY[0], {}, "shape"),
        (GRAY, {"voxel_size": (0, 4, 4)}, "voxel size"),
    ],
)
def test_what_imagej_cannot_read_is_not_written(tmp_path, array, options, message):
    with pytest.raises(InputError, match=message):
        write_stack(tmp_path / "a.tif", array, **options)
    assert not list(tmp_path.iterdir())
