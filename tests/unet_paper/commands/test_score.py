"""``unet-paper score``: the numbers it prints, of which slices, and what it refuses."""

import numpy as np
import pytest
import tifffile
from small_commands import IMAGES, LABELS, unet_paper_fails

from unet_paper import __main__ as commands
from unet_paper import metrics
from unet_paper.commands.common import SCORES
from unet_paper.tiff import write_stack
from unet_paper.weight_map import cells_from_membranes


def test_score_prints_the_five_metrics_with_their_thresholds(folder, capsys):
    probability = np.clip(LABELS / 255 * 0.5 + IMAGES / 510, 0, 1).astype(np.float32)
    write_stack("map.tif", probability)
    assert commands.main(["score", "labels.tif", "map.tif"]) == 0
    printed = capsys.readouterr().out.splitlines()
    scores = metrics.score(LABELS, probability)
    assert len(printed) == len(SCORES) == 5
    for (name, title), line in zip(SCORES.items(), printed, strict=True):
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
    assert commands.main(["score", "labels.tif", "last.tif", "--slices", f"{last}"]) == 0
    assert f"{metrics.score(LABELS[last:], probability[last:]).v_rand.value:.6f}" in capsys.readouterr().out
    for slices, message in [
        ([f"{last}-{last + 1}"], f"has slices 0 to {last}"),
        ([f"0-{last}"], f"--slices names {last + 1} of the slices of labels.tif, but last.tif has 1"),
        ([], "--slices FIRST-LAST must name the slices of labels.tif that the map is of"),
    ]:
        options = ["--slices", *slices] if slices else []
        assert message in unet_paper_fails(capsys, "score", "labels.tif", "last.tif", *options)


@pytest.mark.parametrize("text", ["", "2-1", "-1-2", "a-b", "1-", "3+"])
def test_a_range_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit) as stop:
        commands.main(["score", "labels.tif", "map.tif", f"--slices={text}"])
    assert stop.value.code == 2
    assert "must be a slice or FIRST-LAST" in capsys.readouterr().err


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


def test_stack_and_labels_of_different_shape_are_told(folder, capsys):
    write_stack("bad.tif", IMAGES[:, 1:])
    assert "(2, 48, 40)" in unet_paper_fails(capsys, "score", "labels.tif", "bad.tif")


def test_numbered_cells_cannot_be_scored_against(folder, capsys):
    write_stack("bad.tif", cells_from_membranes(LABELS).astype(np.uint16))
    assert "binary" in unet_paper_fails(capsys, "score", "bad.tif", "images.tif")


@pytest.mark.parametrize("value", [0, 200, 255])
def test_a_constant_map_is_noted_when_it_is_scored(folder, capsys, value):
    write_stack("map.tif", np.full_like(IMAGES, value))
    assert commands.main(["score", "labels.tif", "map.tif"]) == 0
    assert f"map.tif is {value / 255:g} everywhere" in capsys.readouterr().err


def test_a_stack_of_which_0_is_white_is_converted_and_noted(folder, capsys):
    for name, stack in [("labels.tif", LABELS), ("map.tif", IMAGES)]:
        tifffile.imwrite(name, 255 - stack, photometric="miniswhite")
    assert commands.main(["score", "labels.tif", "map.tif"]) == 0
    printed = capsys.readouterr()
    assert f"{metrics.score(LABELS, IMAGES).v_rand.value:.6f}" in printed.out
    assert printed.err.count("0 is white, and was inverted") == 2


def test_an_interrupt_ends_with_130(folder, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics, "score", interrupted)
    assert commands.main(["score", "labels.tif", "labels.tif"]) == 130
