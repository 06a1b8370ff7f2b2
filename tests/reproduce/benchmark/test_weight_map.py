"""The weight map beside the copied recipe: equal results, and ratios of medians that were taken equally warm."""

import numpy as np
import pytest

from reproduce.benchmark import weight_map
from reproduce.benchmark.timing import Bench
from reproduce.benchmark.weight_map import REPEATS, benchmark_weight_map, copied_recipe, squares
from reproduce.data import Example
from unet_paper.weight_map import cells_from_membranes, unet_weight_map


def test_the_copied_recipe_gives_the_border_term(stack):
    for cells in cells_from_membranes(stack.labels):
        assert cells.max() > 2
        np.testing.assert_allclose(unet_weight_map(cells, class_weights=None), copied_recipe(cells), rtol=0, atol=1e-6)


def test_ratios_are_taken_slice_by_slice_and_no_first_call_counts(clock, monkeypatch):
    cold, calls = {}, []

    def pretended(name, seconds):
        def call(cells):
            key = name, cells.tobytes()
            clock.spend(seconds(cells) + (0 if key in cold else 1000.0))
            cold[key] = True
            calls.append(name)

        return call

    monkeypatch.setattr(weight_map, "unet_weight_map", pretended("map", lambda cells: cells.max()))
    monkeypatch.setattr(weight_map, "copied_recipe", pretended("recipe", lambda cells: cells.max() ** 2))
    monkeypatch.setattr(weight_map, "SQUARES_SIDE", 64)
    labels = np.zeros((7, 40, 40), np.uint8)
    for plane, n_cells in zip(labels, (9, 1, 1, 4, 1, 1, 5)):  # slices 0, 3 and 6 are measured
        plane[::2, :] = np.arange(20)[:, None] < n_cells
    rows = list(benchmark_weight_map(Bench("cpu", 0.0, clock=clock), Example(labels, labels, "striped", {})))
    assert [(row.name, row.conditions["image"]) for row in rows] == [
        ("weight map", "striped slice"),
        ("copied recipe", "striped slice"),
        ("one whole-image transform", "striped slice"),
        ("weight map", "squares"),
    ]
    own, recipe, _, _ = (row.measures for row in rows)
    assert (recipe["least_relative_time"], recipe["relative_time"], recipe["greatest_relative_time"]) == (4, 5, 9)
    assert (recipe["median_seconds"], own["median_seconds"]) == (25, 5)
    assert own["least_relative_time"] == own["greatest_relative_time"] == 1
    counts = [recipe[name] for name in ("slices_count", "fewest_cells_count", "most_cells_count", "side_pixels")]
    assert counts == [3, 4, 9, 40]
    recipes = "".join(name[0] for name in calls).lstrip("m")[: 3 * 2 * (1 + REPEATS)]
    assert recipes == ("r" * (1 + REPEATS) + "m" * (1 + REPEATS)) * 3  # side by side, equally often


def test_memory_is_that_of_the_operation_above_what_was_there(bench, stack, monkeypatch):
    monkeypatch.setattr(weight_map, "SQUARES_SIDE", 64)
    labels = stack.labels.copy()
    labels[0, :32] = 0  # not the first slice has most cells
    held = np.ones(2**24)  # 128 MiB that do not count
    own, recipe, *_ = (row.measures for row in benchmark_weight_map(bench, stack._replace(labels=labels)))
    n_cells = recipe["most_cells_count"]
    assert 2 * n_cells * 64 * 64 * 8 < recipe["peak_bytes"] < 4 * n_cells * 64 * 64 * 8
    assert own["peak_bytes"] < recipe["peak_bytes"] < held.nbytes


@pytest.mark.parametrize(("side", "count"), [(2048, 73**2 + 1), (56, 5)])
def test_squares_are_many_cells_of_their_own(side, count):
    assert len(np.unique(squares(side))) == count
