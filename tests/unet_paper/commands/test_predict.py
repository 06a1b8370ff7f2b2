"""``unet-paper predict``: the map it writes slice by slice, its progress, and what it refuses."""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
import tqdm
from small_commands import IMAGES, network_file, unet_paper_fails

import unet_paper
from unet_paper import __main__ as commands
from unet_paper.tiff import read_stack, write_stack

PREDICT = ["predict", "images.tif", "map.tif", "--weights", "net.safetensors", "--device", "cpu"]


@pytest.fixture
def copying(monkeypatch):
    """A prediction that gives back the images it is given, which are kept."""
    from unet_paper import predict

    given = []

    def predict_stack(model, images, **options):
        given.append(images)
        return images

    monkeypatch.setattr(predict, "predict_stack", predict_stack)
    network_file("net.safetensors", 2)
    return given


def test_predict_writes_the_probability_the_network_gives(folder, monkeypatch):
    from unet_paper import predict
    from unet_paper.checkpoint import load_weights

    predict_stack = partial(predict.predict_stack, tile=68, stride=64)  # small, as the slice is
    monkeypatch.setattr(predict, "predict_stack", predict_stack)
    network_file("net.safetensors", 2)
    write_stack("slice.tif", IMAGES[:1], voxel_size=(50, 4, 4), unit="nm")
    arguments = ["--weights", "net.safetensors", "--device", "cpu", "--rotations", "none"]
    assert commands.main(["predict", "slice.tif", "map.tif", *arguments]) == 0
    model, _ = load_weights("net.safetensors")
    images = IMAGES[:1] / np.float32(255)
    expected = predict_stack(model, images, mean=0.55, std=0.13, rotations="none", device="cpu")
    written = read_stack("map.tif")
    np.testing.assert_array_equal(written.array, expected)
    assert written.array.dtype == np.float32
    assert 0 <= written.array.min() <= written.array.max() <= 1
    assert (written.voxel_size, written.unit) == ((50, 4, 4), "nm")


def test_predict_without_weights_takes_the_network_in_the_package_and_says_so(folder, monkeypatch, capsys):
    from unet_paper import predict, trained

    held_out = {"scores": {"v_rand": 0.9125}, "slices": [0, 1]}
    network_file("shipped.safetensors", 3, about={"title": "the shipped U-Net", "held_out": held_out})
    digest = hashlib.sha256(Path("shipped.safetensors").read_bytes()).hexdigest()
    Path("shipped.sha256").write_text(f"{digest}  shipped.safetensors\n")
    monkeypatch.setattr(trained, "WEIGHTS", Path("shipped.safetensors"))
    used = []
    monkeypatch.setattr(predict, "predict_stack", lambda model, images, **_: used.append(model) or images)
    assert commands.main(["predict", "images.tif", "map.tif", "--device", "cpu"]) == 0
    assert {model.config.base_channels for model in used} == {3}
    assert "network in the package is used: the shipped U-Net, trained on" in (told := capsys.readouterr().err)
    assert "V_Rand 0.912 by the same recipe on 2 slices" in told
    network_file("net.safetensors", 2)
    assert commands.main(PREDICT) == 0
    assert "in the package" not in capsys.readouterr().err


@pytest.mark.parametrize("stack", ["folder.zarr", "volume.h5:/raw", "volume.HDF5"])
def test_what_is_read_block_by_block_is_written_so(folder, capsys, stack):
    Path("folder.zarr").mkdir()
    network_file("net.safetensors", 2)
    told = unet_paper_fails(capsys, "predict", stack, "map.tif", "--weights", "net.safetensors")
    assert told == f"error: {stack} is segmented block by block; map.tif must be .zarr"


def test_pixels_of_another_size_than_in_training_are_told(folder, monkeypatch, copying, capsys):
    network_file("net.safetensors", 2, about={"voxel_nm": [50, 4, 4]})
    assert commands.main(PREDICT) == 0
    assert "pixels of" not in capsys.readouterr().err
    write_stack("images.tif", IMAGES, voxel_size=(0.05, 0.02, 0.02), unit="µm")
    assert commands.main(PREDICT) == 0
    assert "pixels of images.tif are 20 x 20 nm, but the network was trained on 4 x 4 nm" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "rotations"), [([], "eight"), (["--rotations", "seven"], "seven")])
def test_predict_averages_the_versions_asked_for(folder, monkeypatch, arguments, rotations):
    from unet_paper import predict

    asked = []

    def predict_stack(model, images, **options):
        asked.append(options["rotations"])
        return images

    monkeypatch.setattr(predict, "predict_stack", predict_stack)
    network_file("net.safetensors", 2)
    assert commands.main(["predict", "images.tif", "map.tif", "--weights", "net.safetensors", *arguments]) == 0
    assert asked == [rotations] * len(IMAGES)


def test_predict_holds_one_slice_at_a_time_and_writes_bigtiff_where_it_must(folder, monkeypatch, copying):
    monkeypatch.setattr(unet_paper.tiff, "LARGEST_IMAGEJ", 100)
    assert commands.main(PREDICT) == 0
    assert [images.shape for images in copying] == [(1, 48, 40)] * 2
    with tifffile.TiffFile("map.tif") as tiff:
        assert tiff.is_bigtiff
    np.testing.assert_array_equal(read_stack("map.tif").array, IMAGES / np.float32(255))
    assert (read_stack("map.tif").voxel_size, read_stack("map.tif").unit) == ((50, 4, 4), "nm")


def test_predict_scales_by_the_range_that_is_named_and_notes_gray_values_far_from_the_trainings(
    folder, capsys, copying
):
    twelve_bits = (IMAGES * (4095 / 255)).astype(np.uint16)
    write_stack("images.tif", twelve_bits)
    assert commands.main(PREDICT) == 0
    assert "--scale names the value of white" in capsys.readouterr().err
    assert commands.main([*PREDICT, "--scale", "4095"]) == 0
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(read_stack("map.tif").array, twelve_bits / np.float32(4095))
    before = Path("map.tif").read_bytes()
    assert "0 to 200" in unet_paper_fails(capsys, *PREDICT, "--scale", "200")
    assert Path("map.tif").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "noted"),
    [
        (lambda x: x, False),
        (lambda x: 0.8 * x + 20, False),
        (lambda x: np.clip(x - 60, 0, 255), True),
        (lambda x: x / 16, True),
        (lambda x: x / 8 + 120, True),
        (lambda x: 255 - x / 3, True),
        (lambda x: np.where(x > x.mean(), 255, 0), True),
    ],
)
def test_only_gray_values_far_from_the_trainings_are_noted(folder, capsys, copying, change, noted):
    write_stack("images.tif", change(IMAGES.astype(float)).astype(np.uint8))
    assert commands.main(PREDICT) == 0
    assert ("gray values of images.tif" in capsys.readouterr().err) == noted


def test_a_map_that_would_be_nan_is_refused(folder, capsys, monkeypatch, copying):
    monkeypatch.setattr("unet_paper.predict.predict_stack", lambda model, images, **options: images * np.float32("nan"))
    assert "map.tif: slice 0 holds NaN" in unet_paper_fails(capsys, *PREDICT)


@pytest.mark.parametrize(("rotations", "versions"), [("none", 1), ("eight", 8), ("seven", 7)])
def test_the_progress_of_a_prediction_counts_tiles_of_all_slices_and_rotations(
    folder, monkeypatch, rotations, versions
):
    from unet_paper import predict

    network_file("net.safetensors", 1)
    monkeypatch.setattr(predict, "predict_stack", partial(predict.predict_stack, tile=100, stride=96))
    seen = []

    class Bar(tqdm.tqdm):
        def update(self, n=1):
            seen.append((n, self.total))

        n = property(lambda self: len(seen), lambda self, value: None)

    monkeypatch.setattr(tqdm, "tqdm", Bar)
    assert commands.main([*PREDICT, "--rotations", rotations]) == 0
    assert seen == [(1, 2 * versions)] * (2 * versions)


@pytest.mark.parametrize("depth", [1, 3])
def test_predict_takes_a_network_of_another_depth(folder, depth):
    network_file("net.safetensors", 1, depth=depth)
    write_stack("slice.tif", IMAGES[:1])
    arguments = ["--weights", "net.safetensors", "--device", "cpu", "--rotations", "none"]
    assert commands.main(["predict", "slice.tif", "map.tif", *arguments]) == 0
    assert read_stack("map.tif").array.shape == (1, 48, 40)


@pytest.mark.parametrize("weights", ["other.safetensors", "none.safetensors", "images.tif", "."])
def test_weights_that_are_not_safetensors_are_told(folder, capsys, weights):
    arguments = ["predict", "images.tif", "out.tif", "--device", "cpu", "--weights", weights]
    assert weights in unet_paper_fails(capsys, *arguments)


def test_weights_of_another_shape_are_told(folder, capsys):
    from safetensors.torch import load_file, save_file

    network_file("other.safetensors", 2)
    network = {"in_channels": 1, "n_classes": 2, "base_channels": 3, "depth": 4, "dropout": 0.5}
    about = {"image_mean": 0.5, "image_std": 0.1, "network": network}
    save_file(load_file("other.safetensors"), "other.safetensors", {"unet_paper": json.dumps(about)})
    arguments = ["predict", "images.tif", "out.tif", "--device", "cpu", "--weights", "other.safetensors"]
    assert "other.safetensors does not fit the network" in unet_paper_fails(capsys, *arguments)


@pytest.mark.parametrize("sizes", [{"in_channels": 3}, {"n_classes": 1}])
def test_a_network_for_other_images_or_classes_is_told(folder, capsys, sizes):
    network_file("other.safetensors", 2, **sizes)
    arguments = ["predict", "images.tif", "out.tif", "--device", "cpu", "--weights", "other.safetensors"]
    assert "must have 1 channel" in unet_paper_fails(capsys, *arguments)


def test_a_device_that_is_not_there_is_told(folder, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["predict", "images.tif", "out.tif", "--device", "cuda", "--weights", "other.safetensors"]
    assert "cuda" in unet_paper_fails(capsys, *arguments)
