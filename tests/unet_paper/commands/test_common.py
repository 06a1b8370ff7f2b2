"""One clear sentence for every stack, name and place that a command cannot take."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from small_commands import IMAGES, unet_paper_fails

from data_scripts import isbi2012
from unet_paper import __main__ as commands
from unet_paper.tiff import write_stack

ROOT = Path(__file__).resolve().parents[3]


def truncated(path):
    path.write_bytes(Path("images.tif").read_bytes()[:-1500])


BAD_STACKS = {
    "missing": (lambda path: None, "does not exist"),
    "truncated": (truncated, "cannot read"),
    "no TIFF": (lambda path: path.write_text("P2 4 4 255"), "cannot read"),
    "no bytes": (lambda path: path.touch(), "cannot read"),
    "colours": (lambda path: tifffile.imwrite(path, np.zeros((9, 9, 3), np.uint8), photometric="rgb"), "3 colours"),
    "NaN": (lambda path: tifffile.imwrite(path, np.full((1, 9, 9), np.nan, np.float32)), "NaN"),
    "a pipe": (os.mkfifo, "a pipe"),
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


@pytest.mark.parametrize(
    ("command", "message"), [("weight-map", "a folder"), ("score labels", "a folder"), ("predict", "must be .zarr")]
)
def test_a_folder_is_told(folder, capsys, command, message):
    Path("bad.tif").mkdir()
    assert message in unet_paper_fails(capsys, *READERS[command])


@pytest.mark.parametrize("arguments", [READERS["weight-map"], READERS["score labels"]])
def test_labels_with_fractions_are_told(folder, capsys, arguments):
    write_stack("bad.tif", IMAGES / np.float32(255))
    assert "fractions" in unet_paper_fails(capsys, *arguments)


@pytest.mark.parametrize("target", ["none/out.tif", "labels.tif/out.tif", "."])
@pytest.mark.parametrize("command", ["weight-map", "predict"])
def test_a_place_that_cannot_be_written_is_told(folder, capsys, command, target):
    weights = ["--weights", "other.safetensors"] if command == "predict" else []
    assert "cannot write" in unet_paper_fails(capsys, command, "labels.tif", target, *weights)


WRITERS = {
    "weight-map": ["weight-map", "labels.tif"],
    "predict": ["predict", "images.tif", "--weights", "other.safetensors"],
    "segment": ["segment", "images.tif", "--labels", "labels.tif"],
}


@pytest.mark.parametrize("arguments", WRITERS.values(), ids=WRITERS)
def test_an_output_that_is_an_input_or_no_tiff_is_told(folder, capsys, arguments):
    Path("same.tif").symlink_to(arguments[1])
    for target, message in [
        *((name, "which is read") for name in (*arguments[1::2], "same.tif")),
        ("out.png", "must end in .tif or .tiff"),
    ]:
        assert message in unet_paper_fails(capsys, *arguments[:2], target, *arguments[2:])


@pytest.mark.parametrize(
    "arguments", [["weight-map", "", "out.tif"], ["predict", "in.tif", "out.tif", "--weights", ""]]
)
def test_a_name_that_is_empty_is_told(folder, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        commands.main(arguments)
    assert end.value.code == 2
    assert "must be the name of a file, not empty" in capsys.readouterr().err


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
