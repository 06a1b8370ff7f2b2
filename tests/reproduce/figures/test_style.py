"""Files: the same figure is the same file, small, and gray where it was gray. Colours: one for each cell."""

import numpy as np
import pytest
from PIL import Image

from data_scripts.phantom import make_phantom
from reproduce.figures.style import CELL_COLOURS, coloured, new_figure, outlined, save_figure, show
from unet_paper.errors import InputError
from unet_paper.weight_map import cells_from_membranes

CELLS = np.kron([[1, 2], [3, 0]], np.ones((8, 8), int))


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        figure = new_figure(2, 2)
        figure.subplots().plot([0, 1])
        save_figure(figure, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_grays_stay_gray_among_the_256_colours_of_a_file(tmp_path):
    images, labels = make_phantom(1, 200, 200, seed=0)
    figure = new_figure(4, 2)
    left, right = figure.subplots(1, 2)
    show(left, np.linspace(0, 1, 200**2).reshape(200, 200))
    show(right, coloured(cells_from_membranes(labels[0] > 0), images[0] / 255))
    save_figure(figure, tmp_path / "a.png")
    before = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    with Image.open(tmp_path / "a.png") as file:
        after = np.asarray(file.convert("RGB")).astype(int)
        assert len(file.getcolors()) <= 256
    gray = np.ptp(before, axis=-1) == 0
    assert gray.mean() > 0.4
    assert np.ptp(after, axis=-1)[gray].mean() < 0.3
    assert np.abs(after - before).mean() < 4


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(InputError, match="cannot make the folder"):
        save_figure(new_figure(2, 2), tmp_path / "figures" / "x.png")


def test_every_cell_has_one_colour_of_its_own_and_membrane_is_black():
    colours = [np.unique(coloured(CELLS)[n == CELLS], axis=0) for n in range(4)]
    assert [len(c) for c in colours] == [1, 1, 1, 1]
    assert colours[0].tolist() == [[0, 0, 0]]
    assert len(np.unique(np.concatenate(colours), axis=0)) == 4


def test_sixty_cells_have_sixty_colours_and_neighbouring_numbers_distant_ones():
    assert len(np.unique(coloured(np.arange(1, 61)[None])[0], axis=0)) == 60
    steps = np.linalg.norm(np.diff(CELL_COLOURS, axis=0), axis=1)
    assert steps.min() > 0.5


def test_an_image_shines_through_cells_and_membrane():
    image = np.linspace(0.2, 0.8, CELLS.size).reshape(CELLS.shape)
    drawn = coloured(CELLS, image)
    for n in range(4):
        assert np.corrcoef(drawn[n == CELLS].mean(axis=-1), image[n == CELLS])[0, 1] > 0.99


def test_borders_are_black_and_the_inside_of_a_cell_keeps_its_colour():
    drawn = outlined(CELLS)
    assert (drawn[6:10] == 0).all(axis=-1).any(axis=0).all()
    np.testing.assert_array_equal(drawn[2:6, 2:6], coloured(CELLS)[2:6, 2:6])
