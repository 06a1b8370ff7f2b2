"""Montages: what a panel shows is what was measured, errors have their colours, rows are few."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from data_scripts.phantom import make_phantom
from reproduce.figures import montage
from reproduce.figures.style import outlined
from reproduce.records import Record
from unet_paper import metrics
from unet_paper.segment import segment
from unet_paper.tiff import write_stack

IMAGES, LABELS = make_phantom(5, 64, 64, seed=0)
LABELS = (LABELS > 0).astype(np.uint8)
PROBABILITY = np.clip(0.7 * LABELS + 0.3 * IMAGES / 255, 0, 1).astype(np.float32)
PROBABILITY[:, 30] = 0.1  # splits
PROBABILITY[:, :, 20:23] = 0.9  # merges
SCORES = metrics.score(LABELS, PROBABILITY)
TITLES = [f"slice {z}" for z in range(20, 25)]
WHITE, MEMBRANE = (1.0, 1.0, 1.0), to_rgb(montage.PALETTE["true membrane"])
MERGE, SPLIT = (to_rgb(montage.PALETTE[name]) for name in ("merge", "split"))


@pytest.fixture
def panels(monkeypatch):
    """The panels and the heading that would be drawn."""
    drawn = {}
    monkeypatch.setattr(montage, "draw_panels", lambda panels, heading, path: drawn.update(panels=panels, text=heading))
    return drawn


def test_a_row_shows_image_probability_cells_and_errors(panels):
    montage.draw_montage(IMAGES / 255, LABELS, PROBABILITY, SCORES, "montage.png", "U-Net", TITLES)
    assert len(panels["panels"]) == 3 * montage.COLUMNS  # of five slices, at most three
    threshold, warping = SCORES.v_rand.threshold, SCORES.warping_error
    for z, row in zip((0, 2, 4), zip(*[iter(panels["panels"])] * montage.COLUMNS), strict=True):
        cells = segment(PROBABILITY[z], threshold=threshold)
        expected = (IMAGES[z] / 255, PROBABILITY[z], outlined(cells), montage.errors(LABELS[z], warping, z))
        for (panel, _), array in zip(row, expected, strict=True):
            np.testing.assert_array_equal(panel, array)
        assert row[0][1] == TITLES[z]
        assert row[2][1] == f"{cells.max()} cells above {threshold:.1f}"
    assert f"{SCORES.v_rand.value:.3f}" in panels["text"]


def test_the_worst_slice_is_drawn_at_the_thresholds_of_the_stack(panels, tmp_path):
    write_stack(tmp_path / "map.tif", PROBABILITY)
    details = {"v_rand_by_slice": [0.9, 0.8, 0.7, 0.75, 0.9]}
    told = {"title": "U-Net", "steps": 2000, "slices": [1, 2, 3, 4, 5]}
    record = Record("table1", "unet", told, prediction="map.tif", details=details)
    images, labels = (np.pad(stack, ((1, 0), (0, 0), (0, 0))) for stack in (IMAGES / 255, LABELS))
    data = SimpleNamespace(images=images, labels=labels)
    montage.worst_slice_of_record(record, data, tmp_path)
    (image, title), _, (cells, _), (errors, _) = panels["panels"]
    np.testing.assert_array_equal(image, IMAGES[2] / 255)
    assert title == "slice 3, V_Rand 0.700"
    assert panels["text"].startswith("U-Net, 2,000 steps; 5 slices: V_Rand")
    np.testing.assert_array_equal(cells, outlined(segment(PROBABILITY[2], threshold=SCORES.v_rand.threshold)))
    np.testing.assert_array_equal(errors, montage.errors(LABELS[2], SCORES.warping_error, 2))


def test_errors_are_counted_by_their_connected_places(panels):
    merges, splits = np.zeros((2, 1, 9, 9), bool)
    merges[0, [1, 2, 7], [1, 2, 7]] = True  # the first two touch at a corner
    splits[0, 4, 4] = True
    warping = SimpleNamespace(merges=merges, splits=splits, threshold=0.3, value=0.0)
    scores = SimpleNamespace(v_rand=SCORES.v_rand, warping_error=warping)
    montage.draw_montage(
        IMAGES[:1, :9, :9], LABELS[:1, :9, :9], PROBABILITY[:1, :9, :9], scores, "montage.png", "U-Net", TITLES
    )
    assert panels["panels"][3][1] == "above 0.3: 2 merges, 1 splits"


@pytest.mark.parametrize(("kind", "colour"), [("merges", MERGE), ("splits", SPLIT)])
def test_an_error_has_the_colour_of_the_legend_though_it_is_the_only_one(kind, colour):
    masks = dict(merges=np.zeros((1, 21, 21), bool), splits=np.zeros((1, 21, 21), bool))
    masks[kind][0, 10, 10] = True
    labels = np.ones((21, 21), np.uint8)
    labels[:, 2] = 0
    drawn = montage.errors(labels, SimpleNamespace(**masks), 0)
    reached = np.hypot(*(np.indices((21, 21)) - 10)) <= montage.SPREAD
    assert (drawn[reached] == colour).all()
    assert (drawn[:, 2] == MEMBRANE).all()
    assert (drawn[~reached & (labels > 0)] == WHITE).all()


@pytest.fixture
def montage_of(tmp_path):
    """Draws the montage of made records of slices 1 to 5, each given as its map and what it says otherwise."""
    stack = SimpleNamespace(images=IMAGES[[0, *range(5)]] / 255, labels=LABELS[[0, *range(5)]])
    told = {"slices": [1, 2, 3, 4, 5], "rotations": "none", "seeds": [0], "budget": {"seconds": 720.0}}

    def draw(*given):
        made = []
        for number, (probability, other) in enumerate(given):
            write_stack(tmp_path / f"{number}.tif", probability)
            about = told | other | {"title": f"method {number}"}
            made.append(Record("systems", "x", about, prediction=f"{number}.tif"))
        return montage.montage_of_methods(made, stack, tmp_path)

    return draw


def test_a_method_has_its_probability_beside_its_errors(panels, montage_of):
    maps = PROBABILITY, 1 - PROBABILITY
    montage_of(*((probability, {}) for probability in maps))
    drawn = [image for image, _ in panels["panels"]]
    expected = [IMAGES[2] / 255, LABELS[2] > 0]
    for probability in maps:
        scores = metrics.score(LABELS, probability)
        expected += [probability[2], montage.errors(LABELS[2], scores.warping_error, 2)]
    for image, array in zip(drawn, expected, strict=True):
        np.testing.assert_array_equal(image, array)
    titles = [title for _, title in panels["panels"]]
    assert (titles[0], titles[2], titles[4]) == ("slice 3", "method 0", "method 1")
    assert f"{scores.v_rand.value:.3f}" in titles[5]
    assert panels["text"].startswith("training of 720 seconds")


def test_methods_of_one_seed_and_rotations_share_a_picture(panels, montage_of):
    montage_of(*((PROBABILITY, other) for other in ({}, {}, {"seeds": [1]}, {"rotations": "eight"})))
    assert [title for _, title in panels["panels"][2::2]] == ["method 0", "method 1"]


def test_a_montage_is_a_small_file(tmp_path):
    montage.draw_montage(IMAGES / 255, LABELS, PROBABILITY, SCORES, tmp_path / "montage.png", "U-Net", TITLES)
    assert (tmp_path / "montage.png").stat().st_size < 600_000


@pytest.mark.parametrize(("methods", "rows"), [(1, 1), (2, 2), (4, 3)])
def test_two_methods_share_a_row(montage_of, methods, rows):
    with Image.open(montage_of(*[(PROBABILITY, {})] * methods)) as drawn:
        assert round(drawn.height / drawn.width * montage.COLUMNS - 0.25) == rows
