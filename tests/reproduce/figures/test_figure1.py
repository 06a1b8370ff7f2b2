"""Figure 1: what the drawing states is what was measured, and that is the paper's."""

import json

import pytest

from reproduce.figures import figure1

SIDES = {  # Figure 1 of the paper: after each convolution, and in the expansive path after the up-convolution too
    "contracting": [570, 568, 282, 280, 138, 136, 66, 64, 30, 28],
    "expansive": [56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388],
    "score": [388],
}


@pytest.fixture(scope="module")
def layers():
    return figure1.measure()


def test_the_measured_network_has_the_totals_of_figure_1(layers):
    assert len(layers) == 23
    assert sum(layer.parameters for layer in layers) == 31_030_658
    assert round(sum(layer.multiply_adds for layer in layers) / 1e9, 2) == 150.43
    assert figure1.crops(layers) == (4, 16, 40, 88)


def test_every_measured_side_is_that_of_the_drawing(layers):
    assert [layer.output_side for layer in layers] == [side for path in SIDES.values() for side in path]


def test_the_cost_of_a_layer_is_that_of_the_closed_form(layers):
    first, deepest_up = layers[1], layers[10]
    assert first.multiply_adds == 568**2 * 64 * 64 * 9
    assert deepest_up.multiply_adds == 56**2 * 1024 * 512  # each output pixel is reached once


def test_every_number_of_the_drawing_is_the_papers(layers):
    found = figure1.against_paper(layers)
    assert len(found) == 6
    for metric, measured, published in found:
        assert measured == published, metric


def test_the_command_draws_every_side_that_it_measured(run, figures, layers, capsys):
    assert run(figure1) == 0
    assert "31,030,658" in capsys.readouterr().out
    assert (figures / "figure1.png").exists()
    texts = [text.get_text() for text in figure1.draw(layers).axes[0].texts]
    contracting, expansive = figure1.paths(layers)
    entries = [first.input_side for first, _ in contracting] + [up.output_side for up, _, _ in expansive]
    boxes = [f"{side}²" for side in entries + [layer.output_side for layer in layers]]  # an up-convolution has two
    assert sorted(text for text in texts if text.endswith("²")) == sorted(boxes)
    assert [text for text in texts if "crop" in text] == ["crop 4", "crop 16", "crop 40", "crop 88"]


def test_a_difference_to_the_paper_fails(run, figures, monkeypatch, capsys):
    numbers = json.loads((figure1.RESULTS / "paper.json").read_text(encoding="utf-8"))
    for number in numbers["numbers"]:
        number["value"] += number["id"] == "output_size"
    figures.parent.joinpath("paper.json").write_text(json.dumps(numbers), encoding="utf-8")
    monkeypatch.setattr(figure1, "RESULTS", figures.parent)
    assert run(figure1) == 1
    assert "output size: measured 388, paper 389" in capsys.readouterr().out
