"""Claims about the weight map; the oracles are the definition and the slow recipe of the benchmark."""

import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from reproduce.benchmark.weight_map import copied_recipe
from unet_paper import weight_map
from unet_paper.errors import InputError, LabelWarning
from unet_paper.tiff import read_labels
from unet_paper.weight_map import cells_from_membranes, unet_weight_map

SHAPES = st.one_of(
    st.tuples(*[st.integers(1, 20)] * 2), st.tuples(*[st.integers(1, 8)] * 3), st.tuples(st.just(1), st.integers(1, 80))
)
pytestmark = pytest.mark.filterwarnings("ignore::unet_paper.errors.LabelWarning")  # of labels drawn at random
NAMES = np.array([1, 2, 3, 5, 900, 2**40])
STEP = st.sampled_from([1.0, 0.5, 2.0, 12.5, 0.3])


def random_labels(shape, seed, n_cells, density):
    """Single pixels of `n_cells` cells, anywhere: every cell in many pieces, touching or not, at borders or not."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < density, rng.choice(NAMES[:n_cells], shape), 0)


def border_by_definition(labels, *, w0=10.0, sigma=5.0, background_only=True, sampling=None):
    """Equation 2 without w_c, from the distances between all pairs of pixels."""
    places = np.argwhere(np.ones_like(labels)) * (sampling or (1,) * labels.ndim)
    cells = [cell for cell in np.unique(labels) if cell != 0]
    if len(cells) < 2:
        return np.zeros(labels.shape)
    d = np.sort([cdist(places, places[labels.ravel() == cell]).min(axis=1) for cell in cells], axis=0)
    border = w0 * np.exp(-((d[0] + d[1]) ** 2) / (2 * sigma**2)).reshape(labels.shape)
    return np.where(labels == 0, border, 0) if background_only else border


@settings(deadline=None, max_examples=200)
@given(
    labels=st.builds(
        random_labels, SHAPES, st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0])
    ),
    background_only=st.booleans(),
    w0=st.sampled_from([10.0, 1.0, 0.0]),
    sigma=st.sampled_from([5.0, 0.4, 60.0]),
    steps=st.none() | st.tuples(STEP, STEP, STEP),
)
def test_border_term_is_the_definition(labels, background_only, w0, sigma, steps):
    options = {"w0": w0, "sigma": sigma, "background_only": background_only, "sampling": steps and steps[: labels.ndim]}
    before = labels.copy()
    fast = unet_weight_map(labels, class_weights=None, **options)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, border_by_definition(labels, **options), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("gap", [1, 3, 9, 20])
def test_a_straight_gap_has_the_value_of_equation_2(gap):
    row = [4, *[0] * gap, 9]
    expected = {1: 9.2312, 3: 7.2615, 9: 1.3534, 20: 0.0015}[gap]
    np.testing.assert_allclose(unet_weight_map([row], class_weights=None)[0, 1:-1], expected, atol=5e-5)


@pytest.mark.parametrize("n", [0, 12, 29])
def test_isbi_slices_equal_the_recipe(isbi_folder, n):
    cells = cells_from_membranes(read_labels(isbi_folder / "train-labels.tif").array[n])
    np.testing.assert_allclose(unet_weight_map(cells, class_weights=None), copied_recipe(cells), rtol=0, atol=1e-6)


def test_touching_cells_have_the_term_inside_only_on_demand():
    labels = np.repeat([[3, 3, 8, 8]], 2, axis=0)
    assert not unet_weight_map(labels, class_weights=None).any()
    everywhere = unet_weight_map(labels, class_weights=None, background_only=False)
    np.testing.assert_allclose(everywhere[0], 10 * np.exp(-np.array([4, 1, 1, 4]) / 50), rtol=1e-6)


def test_two_pieces_of_one_cell_make_no_gap():
    assert not unet_weight_map([[5, 0, 0, 5]], class_weights=None).any()


def test_numbers_of_cells_mean_nothing():
    labels = np.random.default_rng(0).choice([0, 0, 0, 1, 2, 3], (40, 40))
    names = np.array([0, 2**63 + 1, 2**31 - 1, 7], np.uint64)
    expected = unet_weight_map(labels)
    for same in (
        names[labels],
        labels.astype(">u2"),
        labels.astype(np.float64),
        np.asfortranarray(labels).astype("i1"),
    ):
        np.testing.assert_array_equal(unet_weight_map(same), expected)
    full = unet_weight_map(names[np.array([[1, 2, 2]])], class_weights=None, background_only=False)
    np.testing.assert_allclose(full[0], 10 * np.exp(-np.array([1, 1, 4]) / 50), rtol=1e-6)


def test_turning_the_labels_turns_the_map():
    labels = np.random.default_rng(1).choice([0] * 30 + [1, 2, 3], (60, 45))
    for turn in (np.rot90, np.transpose, np.fliplr):
        np.testing.assert_allclose(unet_weight_map(turn(labels)), turn(unet_weight_map(labels)), rtol=1e-6)


def test_blocks_leave_no_trace(monkeypatch):
    labels = np.random.default_rng(2).choice([0] * 200 + [1, 2, 3, 4], (90, 130))
    whole = unet_weight_map(labels, sampling=(1, 2.5))
    monkeypatch.setattr(weight_map, "BLOCK", 17)
    np.testing.assert_allclose(unet_weight_map(labels, sampling=(1, 2.5)), whole, rtol=0, atol=1e-6)


def test_a_volume_sees_the_cells_of_other_slices():
    volume = np.zeros((3, 1, 3), int)
    volume[0, 0, 1], volume[2, 0, 1] = 1, 2
    thin, thick = (unet_weight_map(volume, class_weights=None, sampling=(z, 1, 1)) for z in (1, 10))
    np.testing.assert_allclose(thin[1, 0, 1], 10 * np.exp(-4 / 50), rtol=1e-6)
    np.testing.assert_allclose(thick[1, 0, 1], 10 * np.exp(-400 / 50), rtol=1e-6)
    assert not np.any([unet_weight_map(slice_labels, class_weights=None) for slice_labels in volume])


@pytest.mark.parametrize("labels", [[[0, 0], [0, 0]], [[6, 6], [6, 6]]])
def test_a_class_that_is_alone_weighs_one(labels):
    np.testing.assert_array_equal(unet_weight_map(labels), 1)
    assert not unet_weight_map(labels, class_weights=None, background_only=False).any()


def test_balanced_classes_have_the_same_total():
    labels = np.random.default_rng(3).choice([0, 0, 0, 0, 1], (50, 50))
    weights = unet_weight_map(labels)
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-6)
    np.testing.assert_allclose(weights[labels == 0].sum(), weights[labels == 1].sum(), rtol=1e-5)
    np.testing.assert_allclose(weights[labels == 1], labels.size / (2 * labels.sum()), rtol=1e-6)


@pytest.mark.parametrize("pair", [(0.25, 1.5), [0.25, 1.5], np.array([0.25, 1.5]), {0: 0.25, 1: 1.5}])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_fractional_class_weights_stay_fractional(pair, dtype):
    np.testing.assert_array_equal(unet_weight_map(np.array([[0, 1, 1]], dtype), class_weights=pair), [[0.25, 1.5, 1.5]])


def test_the_two_terms_are_added():
    labels = [[1, 0, 0, 2]]
    both, border = (unet_weight_map(labels, class_weights=w_c) for w_c in ((0.5, 2), None))
    np.testing.assert_allclose(both - border, [[2, 0.5, 0.5, 2]], rtol=1e-6)


def test_cells_are_4_connected_and_numbered_from_one_in_every_slice():
    diagonal = np.array([[255, 0, 255], [0, 255, 255]], np.uint8)
    cells = cells_from_membranes(diagonal)
    assert cells.dtype == np.int32
    np.testing.assert_array_equal(cells, [[1, 0, 2], [0, 2, 2]])
    np.testing.assert_array_equal(cells_from_membranes(np.stack([diagonal, diagonal > 0])), np.stack([cells, cells]))


def test_isbi_slices_have_about_114_cells(isbi_folder):
    cells = cells_from_membranes(read_labels(isbi_folder / "train-labels.tif").array)
    assert round(cells.max(axis=(1, 2)).mean()) == 114


@pytest.mark.parametrize("function", [unet_weight_map, cells_from_membranes])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 0.5]], "fractions"),
        ([[0, np.nan]], "NaN"),
        ([[0, np.inf]], "infinity"),
        ([[0, -3]], "hold -3"),
        ([0, 1], r"shape \(2,\)"),
        (np.zeros((1, 1, 2, 2), int), "shape"),
        (np.zeros((0, 5), int), "empty"),
        ([["a", "b"]], "type"),
        ([[1j, 0]], "type"),
    ],
)
def test_illegal_labels_are_named(function, labels, message):
    with pytest.raises(InputError, match=message):
        function(labels)


@pytest.mark.parametrize(
    "options",
    [{"sigma": value} for value in (0, -5, np.nan, np.inf, "5", None, 1e-300, 1e300)]
    + [{"w0": value} for value in (-1, np.nan, np.inf, "10", 1e308)]
    + [{"sampling": value} for value in ((1,), (1, 1, 1), 2.0, (1, 0), (1, -1), (1, np.nan), "ab", (1, 1e300))]
    + [{"class_weights": value} for value in ("equal", 3, (1,), (1, 2, 3), (1, -1), (1, np.inf), {0: 1}, {1: 1, 2: 1})]
    + [{"class_weights": (1, 1e308)}],
)
def test_illegal_options_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        unet_weight_map([[1, 0, 2]], **options)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.float16, np.float32, np.int64])
def test_options_of_any_type_of_number_give_the_same_map(kind):
    labels = [[1] + [0] * 30 + [2]]
    found = unet_weight_map(labels, w0=kind(100), sigma=kind(20), sampling=(kind(1), kind(1)))
    np.testing.assert_array_equal(found, unet_weight_map(labels, w0=100, sigma=20))


@pytest.mark.parametrize("size", [weight_map.SMALLEST, weight_map.LARGEST])
def test_the_smallest_and_the_largest_numbers_give_finite_weights(size):
    options = {"sigma": size, "sampling": (size, size), "class_weights": (size, size), "w0": size}
    assert np.isfinite(unet_weight_map([[1, 0, 2], [1, 0, 2]], **options)).all()
    for name, value in options.items():
        assert np.isfinite(unet_weight_map([[1, 0, 2], [1, 0, 2]], **{name: value})).all()


MEMBRANES = np.kron([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]], np.full((3, 3), 255))
TOUCHING = np.kron([[1, 1, 2], [3, 3, 2], [0, 0, 0]], np.ones((9, 9), int))
STRIPES = np.repeat([1, 2, 3], 9)[:, None, None]
DOUBTFUL = {
    "binary labels": (MEMBRANES, {}, "cells_from_membranes"),
    "binary volume": (np.stack([MEMBRANES] * 2), {"sampling": (9, 1, 1)}, "cells_from_membranes"),
    "touching cells": (TOUCHING, {}, "background_only=False"),
    **{f"touching along axis {axis}": (np.moveaxis(STRIPES, 0, axis), {}, "background_only") for axis in range(3)},
    "a stack of slices": (STRIPES + np.zeros((1, 2, 2), int), {}, "stack of independent slices: give those one by one"),
    "a stack of slices everywhere": (
        STRIPES + np.zeros((1, 2, 2), int),
        {"background_only": False},
        "give those one by one$",
    ),
    "a gray image": (np.random.default_rng(0).integers(0, 256, (20, 20)), {}, "gray image"),
    "a gray image everywhere": (
        np.random.default_rng(0).integers(1, 256, (20, 20)),
        {"background_only": False},
        "gray",
    ),
}


@pytest.mark.parametrize(("labels", "options", "message"), DOUBTFUL.values(), ids=DOUBTFUL)
def test_labels_that_are_hardly_meant_are_warned_of_where_the_call_is(labels, options, message):
    with pytest.warns(LabelWarning, match=message) as told:
        unet_weight_map(labels, **options)
    assert [Path(warning.filename).name for warning in told] == ["test_weight_map.py"]


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (cells_from_membranes(MEMBRANES), {}),
        (TOUCHING, {"background_only": False}),
        (TOUCHING, {"w0": 0}),
        (np.where(TOUCHING == 1, 255, 0), {}),  # one cell in one piece
        ([[1, 0, 2]], {}),
        (np.zeros((3, 3), int), {}),
        (np.arange(1, 5).reshape(2, 2).repeat(9, 0).repeat(9, 1), {"background_only": False}),
    ],
)
def test_nobody_is_warned_of_anything_else(labels, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unet_weight_map(labels, **options)


def test_one_transform_and_less_than_20_mib_a_slice(monkeypatch):
    rng = np.random.default_rng(4)
    cells = cells_from_membranes(rng.random((512, 512)) < 0.5)
    transform, calls = weight_map.distance_transform_edt, []
    unet_weight_map(cells[:9, :9])
    monkeypatch.setattr(
        weight_map, "distance_transform_edt", lambda *a, **k: calls.append(a[0].size) or transform(*a, **k)
    )
    labels = cells.astype(np.int64)
    tracemalloc.start()
    unet_weight_map(labels, background_only=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert calls == [512 * 512]
    assert peak < 20 * 2**20


def test_it_works_where_nothing_can_be_cached():
    code = """
import numba
njit = numba.njit
def fails(*function, **options):
    if options.get("cache"):
        raise RuntimeError("cannot cache function: no locator available")
    return njit(*function, **options)
numba.njit = fails
from unet_paper.weight_map import unet_weight_map
unet_weight_map([[1, 0, 2]])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
