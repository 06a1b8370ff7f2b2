"""Volumes: the same as a stack in memory, whatever the blocks, wherever it was killed."""

import errno
import multiprocessing
import random
import shutil
import signal

import numpy as np
import pytest
import tifffile
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from unet_paper import volume, volume_io
from unet_paper.__main__ import main
from unet_paper.checkpoint import save_weights
from unet_paper.errors import InputError
from unet_paper.files import locked
from unet_paper.model import UNet
from unet_paper.predict import predict_stack
from unet_paper.tiff import write_stack
from unet_paper.volume import block_probability, predict_volume, split
from unet_paper.volume_io import Volume, open_output

STATISTICS = {"image_mean": 0.4, "image_std": 0.2}


def network(seed=0):
    torch.manual_seed(seed)
    return UNet(base_channels=2).eval()


def whole_number_network():
    """A network whose sums are whole numbers, which no order of summation rounds: the same on every processor."""
    numbers, model = np.random.default_rng(121), UNet(base_channels=2).eval()
    for weights in model.parameters():
        if weights.ndim == 4:
            spread = 1.8 * (2 / weights[0].numel()) ** 0.5
            weights.data = (
                torch.tensor(numbers.normal(0, spread, weights.shape), dtype=torch.float32).clamp(-1, 1).round()
            )
    return model


def stack_of(model, images, *, block, rotations, precision="float32", **statistics):
    """The oracle, with tiles as large as the blocks."""
    how = {"rotations": rotations, "precision": precision, "tile": block + 4, "stride": block}
    return predict_stack(model, images, **(statistics or {"mean": 0.4, "std": 0.2}), **how)


def blocks_of(model, images, *, block, rotations, precision="float32", **statistics):
    model, source = model.to(memory_format=torch.channels_last), Volume("images", images, 0)
    how = {"rotations": rotations, "precision": precision, "block": block, "device": "cpu"}
    result = np.full(images.shape, np.nan, np.float32)
    for place in split(images.shape, block):
        result[place] = block_probability(model, source, place, **(statistics or {"mean": 0.4, "std": 0.2}), **how)
    return result


def steps(probability):
    return np.rint(probability * 255).astype(np.uint8)


# --- the same as in memory


@pytest.mark.parametrize("rotations", ["none", "eight"])
@given(height=st.integers(1, 90), width=st.integers(1, 90))
@settings(max_examples=8, deadline=None)
def test_blocks_equal_the_stack_for_any_sides(rotations, height, width):
    images = np.random.default_rng(height * width).integers(0, 16, (1, height, width)).astype(np.float32) / 16
    how = {"block": 32, "rotations": rotations, "mean": 0.0, "std": 1 / 16}
    model = whole_number_network()
    np.testing.assert_array_equal(steps(blocks_of(model, images, **how)), steps(stack_of(model, images, **how)))


@pytest.mark.parametrize(("rotations", "tolerance"), [("none", 0), ("eight", 1e-6)])  # windows of 700 and of 716 px
def test_blocks_equal_the_stack_in_float32(rotations, tolerance):
    images = np.random.default_rng(0).random((1, 530, 300)).astype(np.float32)
    how = {"block": 512, "rotations": rotations}
    np.testing.assert_allclose(
        blocks_of(network(), images, **how), stack_of(network(), images, **how), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("rotations", ["none", "eight"])
def test_blocks_equal_the_stack_bit_for_bit_in_bfloat16(rotations):
    images = np.random.default_rng(0).random((1, 20, 9)).astype(np.float32)
    how = {"block": 16, "rotations": rotations, "precision": "bfloat16"}
    np.testing.assert_array_equal(blocks_of(network(), images, **how), stack_of(network(), images, **how))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, a stack of 98 blocks of 32 pixels as TIFF, and what is expected of it."""
    folder = tmp_path_factory.mktemp("volume")
    save_weights(folder / "net.safetensors", network(), STATISTICS)
    images = np.random.default_rng(1).integers(0, 256, (2, 200, 210), np.uint8)
    write_stack(folder / "images.tif", images, voxel_size=(50, 4, 4), unit="nm")
    expected = stack_of(network(), images / np.float32(255), block=32, rotations="none")
    np.save(folder / "expected.npy", steps(expected))
    return folder


HOW = {"rotations": "none", "precision": "float32", "device": "cpu", "block": 32}


def predict(folder, out, source="images.tif"):
    predict_volume(folder / source, out, folder / "net.safetensors", **HOW)


def pixels(out):
    return zarr.open_array(out / "0", mode="r")[:]


def test_the_command_writes_what_the_command_for_tiff_writes_in_steps_of_255(folder, tmp_path):
    images = str(folder / "images.tif"), str(tmp_path / "out.tif"), str(tmp_path / "out.zarr")
    how = ["--weights", str(folder / "net.safetensors"), "--device", "cpu"]
    assert main(["predict", images[0], images[1], *how]) == 0
    assert main(["predict", images[0], images[2], *how]) == 0
    np.testing.assert_array_equal(pixels(tmp_path / "out.zarr"), steps(tifffile.imread(images[1])))


def test_the_output_is_ome_zarr_with_the_voxel_size_and_a_chunk_for_each_block(folder, tmp_path):
    predict(folder, tmp_path / "out.zarr")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    assert group.attrs["ome"]["version"] == "0.5"
    (image,) = group.attrs["ome"]["multiscales"]
    assert image["axes"] == [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    (level,) = image["datasets"]
    assert level["coordinateTransformations"] == [{"type": "scale", "scale": [50, 4, 4]}]
    array = group[level["path"]]
    assert (array.shape, array.chunks, array.dtype) == ((2, 200, 210), (1, 32, 32), np.uint8)
    np.testing.assert_array_equal(array[:], np.load(folder / "expected.npy"))


# --- killed, and given again


def test_killed_twenty_times_the_result_is_equal(folder, tmp_path):
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["unet_paper.volume", "torch._dynamo"])  # what is slow to import
    out, chance, kept, killed = tmp_path / "out.zarr", random.Random(0), 0, 0
    while killed < 20:
        arguments = folder / "images.tif", out, folder / "net.safetensors"
        process = processes.Process(target=predict_volume, args=arguments, kwargs=HOW)
        process.start()
        wanted = kept + chance.choice([0, 1, 2])
        while process.is_alive() and finished(out) < wanted:
            process.join(0.005)
        process.join(chance.random() / 50)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in (0, -signal.SIGKILL)
        assert finished(out) >= kept
        kept = finished(out)
        for chunk in out.glob("0/c/*/*/*"):
            assert chunk.name.isdecimal() or chunk.suffix == ".partial"
    predict(folder, out)
    np.testing.assert_array_equal(pixels(out), np.load(folder / "expected.npy"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zarr"]
    assert not list(out.rglob("*.partial"))


def finished(out):
    return sum(path.name.isdecimal() for path in out.glob("0/c/*/*/*"))


def test_a_run_killed_while_it_made_the_output_leaves_nothing_that_stays(folder, tmp_path):
    killed, living = (tmp_path / f".out.zarr.new-{number}" for number in (1, 2))
    for left in (killed, living):
        left.mkdir()
        (left / "zarr.json").write_text("{")
    with locked(living):
        predict(folder, tmp_path / "out.zarr")
        assert {path.name for path in tmp_path.iterdir()} == {"out.zarr", living.name}
        assert list(living.iterdir())
    predict(folder, tmp_path / "second.out.zarr")
    assert living.exists()


def test_a_volume_that_another_process_fills_is_left_to_it(folder, tmp_path):
    out = tmp_path / "out.zarr"
    predict(folder, out)
    (out / "0" / "c" / "1" / "0" / "0").rename(out / "0" / "c" / "1" / "0" / "0.partial")
    with locked(out), pytest.raises(InputError, match="another process works in"):
        predict(folder, out)
    assert list(out.rglob("*.partial"))
    predict(folder, out)
    np.testing.assert_array_equal(pixels(out), np.load(folder / "expected.npy"))


def test_while_a_volume_is_filled_no_other_process_may(folder, tmp_path, monkeypatch):
    out = tmp_path / "out.zarr"

    def one_more(job, place):
        with pytest.raises(InputError, match="another process works in"), locked(out):
            pass
        tried.append(place)
        predict_block(job, place)

    predict_block, tried = volume.predict_block, []
    monkeypatch.setattr(volume, "predict_block", one_more)
    predict(folder, out)
    assert len(tried) == finished(out)
    (out / "0" / "c" / "1" / "0" / "0").unlink()
    predict(folder, out)
    assert tried[-1] == (1, slice(0, 32), slice(0, 32))


def test_what_is_finished_is_not_computed_again_even_if_it_is_zero(folder, tmp_path, monkeypatch):
    sure = network()
    with torch.no_grad():
        sure.score.bias += torch.tensor([1e3, -1e3])
    save_weights(tmp_path / "sure.safetensors", sure, STATISTICS)
    arguments = folder / "images.tif", tmp_path / "out.zarr", tmp_path / "sure.safetensors"
    predict_volume(*arguments, **HOW)
    assert not pixels(tmp_path / "out.zarr").any()
    (tmp_path / "out.zarr" / "0/c/1/3/2").unlink()
    computed = []
    monkeypatch.setattr(volume, "predict_block", lambda job, place: computed.append(place))
    predict_volume(*arguments, **HOW)
    assert computed == [(1, slice(96, 128), slice(64, 96))]


@pytest.fixture(scope="module")
def begun(folder, tmp_path_factory):
    """An output with its weights and input, and another of each."""
    here = tmp_path_factory.mktemp("begun")
    predict(folder, here / "out.zarr")
    shutil.copy(folder / "net.safetensors", here)
    save_weights(here / "other.safetensors", network(seed=1), STATISTICS)
    images = tifffile.imread(folder / "images.tif")
    images[0, 0, 0] ^= 1
    write_stack(here / "other.tif", images)
    return here


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"weights": "other.safetensors"}, "weights_sha256"),
        ({"source": "other.tif"}, "input_sha256"),
        ({"rotations": "eight"}, "rotations none, not eight"),
        ({"precision": "bfloat16"}, "precision float32, not bfloat16"),
        ({"block": 64}, "block 32, not 64"),
        ({"full_range": 300}, "full_range 255.0, not 300.0"),
    ],
)
def test_another_setting_is_refused_when_a_volume_is_continued(folder, begun, change, named):
    shutil.copy(folder / "images.tif", begun)
    how = {**HOW, **change}
    source, weights = how.pop("source", "images.tif"), how.pop("weights", "net.safetensors")
    with pytest.raises(InputError, match=f"out.zarr was begun with .*{named}"):
        predict_volume(begun / source, begun / "out.zarr", begun / weights, **how)


# --- what goes wrong


@pytest.mark.parametrize("block", [0, -16, 500])
def test_a_block_that_does_not_fit_the_network_is_named(folder, tmp_path, block):
    with pytest.raises(InputError, match=f"block is {block}; it must be a positive multiple of 16"):
        predict_volume(
            folder / "images.tif", tmp_path / "out.zarr", folder / "net.safetensors", **HOW | {"block": block}
        )
    assert not list(tmp_path.iterdir())


def test_an_unknown_device_is_named_before_anything_is_written(folder, tmp_path):
    with pytest.raises(InputError, match="the device is 'cuda:1'; it must be one of auto, cpu, cuda"):
        predict_volume(
            folder / "images.tif", tmp_path / "out.zarr", folder / "net.safetensors", **HOW | {"device": "cuda:1"}
        )
    assert not list(tmp_path.iterdir())


def test_nothing_of_a_volume_stays_open(folder, tmp_path):
    predict(folder, tmp_path / "out.zarr")
    assert volume.opened.cache_info().currsize == volume.reopened.cache_info().currsize == 0


def test_a_full_disk_is_one_sentence_and_what_is_finished_stays(folder, tmp_path, monkeypatch):
    class Disk:
        def __init__(self, path):
            self.array, self.left = open_output(path), 3

        def __setitem__(self, place, values):
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.array[place], self.left = values, self.left - 1

    out = tmp_path / "out.zarr"
    with monkeypatch.context() as context:
        context.setattr(volume, "open_output", Disk)
        with pytest.raises(InputError, match=r"out\.zarr: No space left on device;"):
            predict(folder, out)
    assert finished(out) == 3
    predict(folder, out)
    np.testing.assert_array_equal(pixels(out), np.load(folder / "expected.npy"))


def test_a_full_disk_at_the_beginning_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(path, **_):
        (path / "zarr.json").touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(volume_io.zarr, "create_group", full)
    with pytest.raises(InputError, match="No space left on device"):
        predict(folder, tmp_path / "out.zarr")
    assert not list(tmp_path.iterdir())


def test_a_chunk_that_cannot_be_read_is_one_sentence_and_what_is_finished_stays(folder, tmp_path):
    images, source, out = tifffile.imread(folder / "images.tif"), tmp_path / "in.zarr", tmp_path / "out.zarr"
    zarr.create_array(source, data=images, chunks=(1, 16, 16))
    chunk = source / "c/1/8/10"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"no chunk")  # of a block that is not a sample
    with pytest.raises(InputError, match=r"cannot read .*in\.zarr, slice 1, rows"):
        predict(folder, out, source=source)
    assert finished(out) > 49
    chunk.write_bytes(whole)
    predict(folder, out, source=source)
    np.testing.assert_array_equal(pixels(out), np.load(folder / "expected.npy"))


@pytest.mark.parametrize("bad", [-0.5, 1.5, np.nan])
def test_a_float_beyond_0_to_1_anywhere_is_found_before_anything_is_written(folder, tmp_path, bad):
    images = np.full((1, 600, 600), 0.5, np.float32)
    images[0, 200, 333] = bad  # of a block that is not a sample
    zarr.save_array(tmp_path / "in.zarr", images)
    with pytest.raises(InputError, match=r"slice 0, rows 192 to 223, columns 320 to 351, has pixels from"):
        predict(folder, tmp_path / "out.zarr", source=tmp_path / "in.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["in.zarr"]


def test_gray_values_of_blocks_can_be_inspected_beside_those_of_the_training(folder, tmp_path):
    images, asked = folder / "images.tif", []
    predict_volume(images, tmp_path / "o.zarr", folder / "net.safetensors", **HOW, inspect=lambda *a: asked.append(a))
    ((source, parts, mean, std),) = asked
    assert (source, mean, std) == (images, 0.4, 0.2)
    stack, blocks = tifffile.imread(images) / np.float32(255), list(split((2, 200, 210), 32))
    assert len(parts) == volume_io.SAMPLES
    for part, place in ((parts[0], blocks[0]), (parts[-1], blocks[-1])):
        np.testing.assert_array_equal(part, stack[place])


@pytest.mark.parametrize(("darker", "noted"), [(1, False), (16, True)])
def test_gray_values_far_from_the_trainings_are_noted_of_a_volume_too(folder, tmp_path, capsys, darker, noted):
    write_stack(tmp_path / "images.tif", tifffile.imread(folder / "images.tif")[:1] // darker)
    words = ["--weights", str(folder / "net.safetensors"), "--device", "cpu", "--rotations", "none"]
    assert main(["predict", str(tmp_path / "images.tif"), str(tmp_path / "out.zarr"), *words]) == 0
    assert ("but the network was trained on 0.40 and 0.20" in capsys.readouterr().err) == noted


@pytest.mark.parametrize("name", ["file.zarr", "folder.zarr", "array.zarr"])
def test_an_output_that_is_something_else_is_refused(folder, tmp_path, name):
    (tmp_path / "file.zarr").write_text("mine")
    (tmp_path / "folder.zarr").mkdir()
    zarr.create_array(tmp_path / "array.zarr", shape=(2, 200, 210), dtype="uint8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"{name} exists and is no volume of this command"):
        predict(folder, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("source", "out", "options", "sentence"),
    [
        ("missing.zarr", "out.zarr", [], "missing.zarr does not exist"),
        ("images.tif", "missing/out.zarr", [], "missing"),
        ("images.tif", "out.zarr", ["--rotations", "seven"], "must be one of none, eight"),
        ("images.tif", "out.zarr", ["--scheduler", "nowhere"], "no Dask scheduler answers at nowhere"),
        ("images.tif", "out.tif", ["--workers", "2"], "must be .zarr"),
    ],
)
def test_bad_input_of_the_command_is_one_sentence_and_nothing_is_written(
    folder, tmp_path, monkeypatch, capsys, source, out, options, sentence
):
    shutil.copy(folder / "images.tif", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", source, out, "--weights", str(folder / "net.safetensors"), *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    assert [path.name for path in tmp_path.iterdir()] == ["images.tif"]


def test_weights_of_another_network_are_refused(folder, tmp_path):
    save_weights(tmp_path / "net.safetensors", UNet(base_channels=2, n_classes=3), STATISTICS)
    with pytest.raises(InputError, match="1 channel and 2 classes"):
        predict_volume(folder / "images.tif", tmp_path / "out.zarr", tmp_path / "net.safetensors")


def test_another_precision_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="precision is 'float16'; it must be one of bfloat16, float32"):
        predict_volume(
            folder / "images.tif", tmp_path / "out.zarr", folder / "net.safetensors", **HOW | {"precision": "float16"}
        )
    assert not list(tmp_path.iterdir())
