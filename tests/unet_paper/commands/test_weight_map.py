"""``unet-paper weight-map``: the map it writes, and what it refuses."""

import numpy as np
import pytest
from small_commands import IMAGES, LABELS, unet_paper_fails

from unet_paper import __main__ as commands
from unet_paper.tiff import read_stack, write_stack
from unet_paper.weight_map import cells_from_membranes, unet_weight_map


def test_weight_map_of_membranes_is_that_of_a_training_on_them(folder, capsys):
    assert commands.main(["weight-map", "labels.tif", "weights.tif", "--sigma", "3"]) == 0
    counts = np.bincount((LABELS > 0).ravel())
    assert len({(plane > 0).sum() for plane in LABELS}) > 1  # or a pair of class weights a slice would do
    expected = [
        unet_weight_map(cells, sigma=3, class_weights=LABELS.size / (2 * counts))
        for cells in cells_from_membranes(LABELS)
    ]
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


def test_doubtful_labels_are_noted_once(folder, capsys):
    touching = np.tile(np.repeat([1, 2], 20), (3, 30, 1)).astype(np.uint8)
    for name, stack, message in [("images.tif", IMAGES, "gray image"), ("touching.tif", touching, "cells touch")]:
        write_stack(name, stack)
        assert commands.main(["weight-map", name, "weights.tif"]) == 0
        notes = capsys.readouterr().err.splitlines()
        assert len(notes) == 1
        assert message in notes[0]


@pytest.mark.parametrize("option", [("--sigma", "-1"), ("--sigma", "0"), ("--sigma", "nan"), ("--w0", "-2")])
def test_an_illegal_weight_map_option_is_told(folder, capsys, option):
    assert option[0].strip("-") in unet_paper_fails(capsys, "weight-map", "labels.tif", "out.tif", *option)


def test_too_little_memory_is_told(folder, capsys, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("unet_paper.weight_map.unet_weight_map", no_memory)
    arguments = ["weight-map", "labels.tif", "out.tif"]
    assert unet_paper_fails(capsys, *arguments) == "error: not enough memory: Unable to allocate 9 TiB"
