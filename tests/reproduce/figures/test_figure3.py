"""Figure 3: the panels are cut from the map of the whole slice; what cannot be drawn is refused."""

import numpy as np
import pytest

from data_scripts.phantom import make_phantom
from reproduce.data import Example
from reproduce.figures import figure3, style
from unet_paper.errors import InputError
from unet_paper.weight_map import cells_from_membranes, unet_weight_map


def test_a_crop_has_the_weights_of_the_whole_slice_and_its_own_numbers(run, figures, monkeypatch):
    drawn = {}

    def draw(image, cells, mask, weights, title):
        drawn.update(cells=cells, mask=mask, weights=weights)
        return style.new_figure(1, 1)

    monkeypatch.setattr(figure3, "draw", draw)
    run(figure3, "--crop", "100")
    _, labels = make_phantom(1, 512, 512, seed=0)
    cells = cells_from_membranes(labels[0] > 0)
    np.testing.assert_array_equal(drawn["weights"], unet_weight_map(cells)[:100, :100])
    assert set(np.unique(drawn["cells"])) == set(range(drawn["cells"].max() + 1))
    np.testing.assert_array_equal(drawn["cells"] > 0, drawn["mask"] > 0)


def test_figure3_is_written(run, figures):
    run(figure3)
    assert (figures / "figure3.png").exists()


def test_a_slice_that_is_not_there_is_refused(run, figures, monkeypatch):
    images, labels = make_phantom(2, 32, 32, seed=0)
    example = Example(images / 255, labels, "synthetic", {})
    monkeypatch.setattr(figure3, "load_example", lambda folder, n_slices: example)
    with pytest.raises(InputError, match="slice 2 must be in 0 to 1"):
        run(figure3, "--slice", "2")
    assert not figures.exists()


@pytest.mark.parametrize("words", [("--slice", "-1"), ("--crop", "0")])
def test_a_slice_or_crop_that_cannot_be_is_refused(run, figures, capsys, words):
    with pytest.raises(SystemExit, match="2"):
        run(figure3, *words)
    assert "must be at least" in capsys.readouterr().err
    assert not figures.exists()
