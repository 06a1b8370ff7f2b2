"""The commands as people type them: what they write, and one clear sentence for every bad input."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile

from data_scripts import isbi2012
from data_scripts import phantom as write_phantom
from data_scripts.phantom import make_phantom
from unet_paper import __main__ as commands
from unet_paper import metrics
from unet_paper.errors import InputError
from unet_paper.files import check_folder
from unet_paper.tiff import read_stack, write_stack
from unet_paper.weight_map import cells_from_membranes, unet_weight_map

ROOT = Path(__file__).resolve().parents[2]
IMAGES, LABELS = make_phantom(2, 48, 40, seed=0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a stack, its labels and a trained network's weights that are none."""
    write_stack(tmp_path / "images.tif", IMAGES, voxel_size=(50, 4, 4), unit="nm")
    write_stack(tmp_path / "labels.tif", LABELS, voxel_size=(50, 4, 4), unit="nm")
    (tmp_path / "other.safetensors").write_bytes(b"not safetensors at all")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails(capsys, command, *arguments):
    """The sentence of a command that must fail with status 2 and write nothing."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert command([str(argument) for argument in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return lines[0]


def unet_paper_fails(capsys, *arguments):
    return fails(capsys, commands.main, *arguments)


# --- what the commands do


def test_weight_map_of_membranes_is_that_of_the_cells_of_each_slice(folder, capsys):
    assert commands.main(["weight-map", "labels.tif", "weights.tif", "--sigma", "3"]) == 0
    expected = [unet_weight_map(cells, sigma=3) for cells in cells_from_membranes(LABELS)]
    written = read_stack("weights.tif")
    np.testing.assert_array_equal(written.array, np.stack(expected))
    assert (written.voxel_size, written.unit) == ((50, 4, 4), "nm")
    assert "4-connected components" in capsys.readouterr().err


def test_weight_map_of_numbered_cells_takes_their_numbers(folder, capsys):
    cells = np.zeros((1, 20, 20), np.uint16)
    cells[0, 2:8, 2:18], cells[0, 10:18, 2:9], cells[0, 10:18, 11:18] = 7, 300, 300  # 300 is in two pieces
    write_stack("cells.tif", cells)
    assert commands.main(["weight-map", "cells.tif", "weights.tif", "--border-only", "--everywhere", "--w0", "4"]) == 0
    expected = unet_weight_map(cells[0], w0=4, class_weights=None, background_only=False)
    np.testing.assert_array_equal(read_stack("weights.tif").array[0], expected)
    assert "note" not in capsys.readouterr().err


def test_score_prints_the_five_metrics_with_their_thresholds(folder, capsys):
    probability = np.clip(LABELS / 255 * 0.5 + IMAGES / 510, 0, 1).astype(np.float32)
    write_stack("map.tif", probability)
    assert commands.main(["score", "labels.tif", "map.tif"]) == 0
    printed = capsys.readouterr().out.splitlines()
    scores = metrics.score(LABELS, probability)
    assert len(printed) == len(commands.SCORES) == 5
    for (name, title), line in zip(commands.SCORES.items(), printed, strict=True):
        result = getattr(scores, name)
        assert line.split() == [*title.split(), f"{result.value:.6f}", "at", "threshold", f"{result.threshold:.1f}"]


def test_score_of_a_stored_8_bit_map_is_that_of_its_probabilities(folder, capsys):
    write_stack("map.tif", np.round(IMAGES * 0.9).astype(np.uint8))
    write_stack("float.tif", np.round(IMAGES * 0.9).astype(np.uint8) / np.float32(255))
    printed = []
    for name in ("map.tif", "float.tif"):
        assert commands.main(["score", "labels.tif", name]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_a_map_of_some_slices_is_scored_against_those(folder, capsys):
    probability = np.clip(LABELS / 255 * 0.5 + IMAGES / 510, 0, 1).astype(np.float32)
    last = len(LABELS) - 1
    write_stack("last.tif", probability[last:])
    assert commands.main(["score", "labels.tif", "last.tif", "--slices", f"{last}-{last}"]) == 0
    assert f"{metrics.score(LABELS[last:], probability[last:]).v_rand.value:.6f}" in capsys.readouterr().out
    message = unet_paper_fails(capsys, "score", "labels.tif", "last.tif", "--slices", f"{last}-{last + 1}")
    assert f"has slices 0 to {last}" in message


@pytest.mark.parametrize("text", ["3", "2-1", "-1-2", "a-b", "1-"])
def test_a_range_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stop:
        commands.main(["score", "labels.tif", "map.tif", f"--slices={text}"])
    assert stop.value.code == 2
    assert "legal: FIRST-LAST" in capsys.readouterr().err


def test_a_16_bit_map_is_scaled_and_said_so(folder, capsys):
    write_stack("map.tif", LABELS.astype(np.uint16) * 257)
    assert commands.main(["score", "labels.tif", "map.tif"]) == 0
    printed = capsys.readouterr()
    assert "V_Rand         1.000000" in printed.out
    assert "divided by 65535" in printed.err


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_segmentation_stored_as_0_and_1_is_told(folder, capsys, dtype):
    write_stack("bad.tif", (LABELS // 255).astype(dtype))
    assert dtype.replace("uint8", "8-bit") in unet_paper_fails(capsys, "score", "labels.tif", "bad.tif")


def network_file(path, base_channels, said=None, **sizes):
    """Weights of an untrained network that says in its metadata to have `said` channels."""
    torch = pytest.importorskip("torch")
    from unet_paper.checkpoint import save_weights
    from unet_paper.model import UNet

    torch.manual_seed(0)
    network = {"in_channels": 1, "n_classes": 2, "base_channels": said or base_channels, "depth": 4, "dropout": 0.5}
    metadata = {"network": network | sizes, "image_mean": 0.55, "image_std": 0.13}
    save_weights(path, UNet(base_channels=base_channels, **sizes), metadata)


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
    assert asked == [rotations]


@pytest.mark.parametrize("depth", [1, 3])
def test_predict_takes_a_network_of_another_depth(folder, depth):
    network_file("net.safetensors", 1, depth=depth)
    write_stack("slice.tif", IMAGES[:1])
    arguments = ["--weights", "net.safetensors", "--device", "cpu", "--rotations", "none"]
    assert commands.main(["predict", "slice.tif", "map.tif", *arguments]) == 0
    assert read_stack("map.tif").array.shape == (1, 48, 40)


def test_the_phantom_script_writes_the_challenges_four_files(folder):
    assert write_phantom.main(["--out", "made", "--slices", "2", "--size", "32", "--seed", "3"]) == 0
    assert sorted(os.listdir("made")) == sorted([*isbi2012.SHA256, isbi2012.OPTIONAL])
    train, test = (read_stack(f"made/{part}-volume.tif") for part in ("train", "test"))
    assert (train.array != test.array).any()
    assert (train.voxel_size, train.unit) == ((50, 4, 4), "nm")
    first = Path("made/train-volume.tif").read_bytes()
    assert write_phantom.main(["--out", "made", "--slices", "2", "--size", "32", "--seed", "3"]) == 0
    np.testing.assert_array_equal(read_stack("made/train-volume.tif").array, train.array)
    assert len(first) > 1000


@pytest.mark.parametrize("module", ["unet_paper", "data_scripts.isbi2012", "data_scripts.phantom"])
def test_each_command_runs_as_a_module(module):
    shown = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, check=True, capture_output=True)
    assert f"python -m {module}" in shown.stdout.decode()


def test_an_interrupt_ends_with_130(folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics, "score", interrupted)
    assert commands.main(["score", "labels.tif", "labels.tif"]) == 130


# --- bad stacks, given to each command that reads one


def truncated(path):
    path.write_bytes(Path("images.tif").read_bytes()[:-1500])


BAD_STACKS = {
    "missing": (lambda path: None, "does not exist"),
    "truncated": (truncated, "cannot read"),
    "no TIFF": (lambda path: path.write_text("P2 4 4 255"), "cannot read"),
    "no bytes": (lambda path: path.touch(), "cannot read"),
    "colours": (lambda path: tifffile.imwrite(path, np.zeros((9, 9, 3), np.uint8), photometric="rgb"), "3 colours"),
    "NaN": (lambda path: write_stack(path, np.full((1, 9, 9), np.nan, np.float32)), "NaN"),
}
READERS = {
    "weight-map": ["weight-map", "bad.tif", "out.tif"],
    "score labels": ["score", "bad.tif", "images.tif"],
    "score map": ["score", "labels.tif", "bad.tif"],
    "predict": ["predict", "bad.tif", "out.tif", "--weights", "other.safetensors"],
}


@pytest.mark.parametrize("arguments", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("make", "message"), BAD_STACKS.values(), ids=BAD_STACKS)
def test_a_bad_stack_is_told(folder, capsys, arguments, make, message):
    make(folder / "bad.tif")
    told = unet_paper_fails(capsys, *arguments)
    assert message in told
    assert "bad.tif" in told


@pytest.mark.parametrize("arguments", [READERS["weight-map"], READERS["score labels"]])
def test_labels_with_fractions_are_told(folder, capsys, arguments):
    write_stack("bad.tif", IMAGES / np.float32(255))
    assert "fractions" in unet_paper_fails(capsys, *arguments)


def test_stack_and_labels_of_different_shape_are_told(folder, capsys):
    write_stack("bad.tif", IMAGES[:1])
    assert "(2, 48, 40)" in unet_paper_fails(capsys, "score", "labels.tif", "bad.tif")


def test_numbered_cells_cannot_be_scored_against(folder, capsys):
    write_stack("bad.tif", cells_from_membranes(LABELS).astype(np.uint16))
    assert "binary" in unet_paper_fails(capsys, "score", "bad.tif", "images.tif")


# --- bad options, weights and places


@pytest.mark.parametrize("option", [("--sigma", "-1"), ("--sigma", "0"), ("--sigma", "nan"), ("--w0", "-2")])
def test_an_illegal_weight_map_option_is_told(folder, capsys, option):
    assert option[0].strip("-") in unet_paper_fails(capsys, "weight-map", "labels.tif", "out.tif", *option)


@pytest.mark.parametrize("weights", ["other.safetensors", "none.safetensors", "images.tif", "."])
def test_weights_that_are_not_safetensors_are_told(folder, capsys, weights):
    arguments = ["predict", "images.tif", "out.tif", "--device", "cpu", "--weights", weights]
    assert weights in unet_paper_fails(capsys, *arguments)


def test_weights_of_another_shape_are_told(folder, capsys):
    network_file("other.safetensors", 2, said=3)
    arguments = ["predict", "images.tif", "out.tif", "--device", "cpu", "--weights", "other.safetensors"]
    assert "other.safetensors" in unet_paper_fails(capsys, *arguments)


@pytest.mark.parametrize("sizes", [{"in_channels": 3}, {"n_classes": 1}])
def test_a_network_for_other_images_or_classes_is_told(folder, capsys, sizes):
    network_file("other.safetensors", 2, **sizes)
    arguments = ["predict", "images.tif", "out.tif", "--device", "cpu", "--weights", "other.safetensors"]
    assert "legal: 1 channel" in unet_paper_fails(capsys, *arguments)


def test_a_device_that_is_not_there_is_told(folder, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = ["predict", "images.tif", "out.tif", "--device", "cuda", "--weights", "other.safetensors"]
    assert "cuda" in unet_paper_fails(capsys, *arguments)


@pytest.mark.parametrize("target", ["none/out.tif", "labels.tif/out.tif", "."])
@pytest.mark.parametrize("command", ["weight-map", "predict"])
def test_a_place_that_cannot_be_written_is_told(folder, capsys, command, target):
    weights = ["--weights", "other.safetensors"] if command == "predict" else []
    assert "cannot write" in unet_paper_fails(capsys, command, "labels.tif", target, *weights)


def test_the_phantom_script_tells_bad_sizes_seeds_and_places(folder, capsys):
    for arguments, message in [
        (["--out", "made", "--slices", "0"], "too small"),
        (["--out", "made", "--size", "3"], "too small"),
        (["--out", "made", "--seed", "-1"], "seed -1"),
        (["--out", "labels.tif", "--size", "16", "--slices", "1"], "cannot make"),
    ]:
        assert message in fails(capsys, write_phantom.main, *arguments)
    assert not Path("made").exists()


FILLS_UP = """
import resource, sys
from {module} import main
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("unet_paper.__main__", ["weight-map", "labels.tif", "weights.tif"]),
        ("data_scripts.phantom", ["--out", "made", "--slices", "2", "--size", "64"]),
        ("data_scripts.isbi2012", ["--out", "made", "--from", "source"]),
    ],
)
def test_a_disk_that_fills_up_is_told_and_leaves_nothing_half_written(folder, module, arguments):
    (folder / "source").mkdir()
    for name in isbi2012.SHA256:
        write_stack(folder / "source" / name, IMAGES)
    (folder / "weights.tif").write_bytes(b"old")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    code = FILLS_UP.format(module=module)
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    told = [line for line in ended.stderr.splitlines() if not line.startswith("note: ")]
    assert (ended.returncode, len(told)) == (2, 1), ended.stderr
    assert told[0].startswith("error: cannot write")
    assert (folder / "weights.tif").read_bytes() == b"old"
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {
        "images.tif",
        "labels.tif",
        "other.safetensors",
        "weights.tif",
        *isbi2012.SHA256,
    }
    assert not any(path.name.startswith(".") for path in left)


def test_a_folder_without_permission_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("unet_paper.files.os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match=f"cannot write to .*: no permission to write in {tmp_path}"):
        check_folder(tmp_path / "results")
    assert not (tmp_path / "results").exists()
