"""The figure of a segmentation: the slice that was asked for, with as many cells as its labels have."""

import numpy as np
import pytest

from data_scripts.phantom import make_phantom
from reproduce.figures import segmentation
from unet_paper.errors import InputError
from unet_paper.segment import segment
from unet_paper.tiff import write_stack

IMAGES, LABELS = make_phantom(3, 64, 48, seed=0)


@pytest.fixture
def files(figures):
    for name, array in (("stack", IMAGES), ("map", LABELS), ("cells", segment(LABELS, threshold=0.5))):
        write_stack(f"{name}.tif", array)
    return ["stack.tif", "map.tif", "cells.tif"]


def test_the_slice_is_drawn_with_its_probability_and_cells(run, figures, files, monkeypatch):
    shown = []
    monkeypatch.setattr(segmentation, "show", lambda axes, image, title: shown.append((image, title)))
    run(segmentation, *files, "--slice", "2")
    cells = segment(LABELS[2], threshold=0.5)
    np.testing.assert_array_equal(shown[0][0], IMAGES[2] / np.float32(255))
    np.testing.assert_array_equal(shown[1][0], LABELS[2] / 255)
    assert shown[0][1] == "stack.tif, slice 2"
    assert shown[2][1] == f"{cells.max()} cells"
    assert (figures / "segmentation.png").exists()


def test_what_does_not_belong_together_is_refused(run, figures, files):
    with pytest.raises(InputError, match="slice 3 must be in 0 to 2"):
        run(segmentation, *files, "--slice", "3")
    write_stack("cells.tif", LABELS[:2])
    with pytest.raises(InputError, match=r"stack.tif has the shape \(3, 64, 48\), cells.tif \(2, 64, 48\)"):
        run(segmentation, *files)
    assert not figures.exists()
