"""Figures: what they state is what was measured; every one is written, and small."""

import argparse

import numpy as np
import pytest
from PIL import Image

from data_scripts.phantom import make_phantom
from reproduce import figure1, figure2, figure3, figure_elastic
from reproduce.drawing import new_figure, save_figure
from reproduce.montage import draw_montage, draw_systems
from unet_paper import metrics
from unet_paper.errors import InputError

LIMIT = 600_000  # bytes


@pytest.fixture(autouse=True)
def without_isbi(monkeypatch, tmp_path):
    """The synthetic slice stands in for the data."""
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


def run(module, out, *words):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    common = {"data": None, "device": "cpu", "seed": 0, "out": out}
    return module.run(argparse.Namespace(**common, **vars(parser.parse_args(words))))


@pytest.fixture(scope="module")
def layers():
    return figure1.measure()


def test_the_measured_network_has_the_totals_of_figure_1(layers):
    assert len(layers) == 23
    assert sum(layer.parameters for layer in layers) == 31_030_658
    assert round(sum(layer.multiply_adds for layer in layers) / 1e9, 2) == 150.43
    assert figure1.crops(layers) == (4, 16, 40, 88)


def test_every_measured_side_is_that_of_figure_1(layers):
    down = [570, 568, 282, 280, 138, 136, 66, 64, 30, 28]
    up = [56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388]
    assert [layer.output_side for layer in layers] == [*down, *up, 388]


def test_the_cost_of_a_layer_is_that_of_the_closed_form(layers):
    first, deepest_up = layers[1], layers[10]
    assert first.multiply_adds == 568**2 * 64 * 64 * 9
    assert deepest_up.multiply_adds == 56**2 * 1024 * 512  # each output pixel is reached once


def test_every_number_of_the_drawing_is_the_papers(layers):
    found = figure1.against_paper(layers)
    assert len(found) == 6
    for metric, measured, published in found:
        assert measured == published, metric


def test_figure1_is_written(tmp_path, capsys):
    assert run(figure1, tmp_path) == 0
    assert "31,030,658" in capsys.readouterr().out
    assert (tmp_path / "figures" / "figure1.png").stat().st_size < LIMIT


def test_tiles_at_stride_384_agree_with_one_pass_and_at_388_do_not(tmp_path, capsys):
    assert run(figure2, tmp_path) == 0
    words = capsys.readouterr().out
    largest = {stride: float(words.split(f"stride {stride}: ")[1].split(",")[0]) for stride in (384, 388)}
    assert largest[384] < 1e-5 < 1e-3 < largest[388]
    assert (tmp_path / "figures" / "figure2.png").stat().st_size < LIMIT


def test_figure3_is_written(tmp_path):
    assert run(figure3, tmp_path, "--crop", "128") == 0
    assert (tmp_path / "figures" / "figure3.png").stat().st_size < LIMIT


@pytest.mark.parametrize(
    ("module", "words"),
    [(figure3, ("--slice", "30")), (figure3, ("--crop", "0")), (figure_elastic, ("--sigma", "-1"))],
)
def test_an_illegal_option_is_an_error_and_leaves_nothing(tmp_path, module, words):
    with pytest.raises(InputError):
        run(module, tmp_path, *words)
    assert not list(tmp_path.iterdir())


def test_without_displacement_nothing_moves():
    image = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    nodes = np.zeros((2, 3, 3), np.float32)
    for deformed in figure_elastic.deform([(image, "cubic"), (image, "nearest")], nodes):
        np.testing.assert_allclose(deformed, image, atol=1e-5)


def test_the_elastic_figure_is_written(tmp_path):
    assert run(figure_elastic, tmp_path) == 0
    assert (tmp_path / "figures" / "elastic.png").stat().st_size < LIMIT


def test_a_montage_is_written_from_stored_or_plain_maps(tmp_path):
    images, labels = make_phantom(2, 96, 96, seed=0)
    labels = (labels > 0).astype(np.uint8)
    for name, probability in (("stored", 255 * labels), ("plain", labels.astype(np.float32))):
        path = tmp_path / f"{name}.png"
        scores = metrics.score(labels, probability)
        draw_montage(images / 255, labels, probability, scores, path, titles=["slice 24", "slice 25"])
        assert path.stat().st_size < LIMIT
    assert (tmp_path / "stored.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.parametrize("systems", [1, 4])
def test_systems_are_drawn_side_by_side(tmp_path, systems):
    images, labels = make_phantom(2, 96, 96, seed=0)
    labels = (labels > 0).astype(np.uint8)
    probability = labels.astype(np.float32)
    maps = {f"system {n}": (probability, metrics.score(labels, probability)) for n in range(systems)}
    path = draw_systems(images / 255, labels, maps, tmp_path / "systems.png", names=["slice 24", "slice 25"], words="")
    with Image.open(path) as drawn:
        width, height = drawn.size
    assert (height > width) == (systems > 3)  # a second line of panels
    assert path.stat().st_size < LIMIT


def test_the_same_figure_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        figure = new_figure(2, 2)
        figure.subplots().plot([0, 1])
        save_figure(figure, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(InputError, match="cannot make the folder"):
        save_figure(new_figure(2, 2), tmp_path / "figures" / "x.png")
