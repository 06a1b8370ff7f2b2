"""Border thinning: by hand, by a plain queue, by symmetry."""

import metric_oracles as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from unet_paper.metrics.thinning import thin_borders

SLICES = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@settings(deadline=None, max_examples=200)
@given(SLICES)
def test_equals_the_queue_of_the_definition(foreground):
    segments = oracle.components(foreground)
    np.testing.assert_array_equal(thin_borders(segments), oracle.thin(segments))


def test_the_order_in_memory_does_not_matter():
    segments = np.array([[1, 0, 0, 0, 2], [1, 0, 0, 0, 2]])
    np.testing.assert_array_equal(thin_borders(np.asfortranarray(segments)), [[1, 1, 0, 2, 2]] * 2)


def test_equals_the_queue_on_sparse_seeds_far_apart():
    rng = np.random.default_rng(0)
    for density in (0.003, 0.02, 0.1):
        segments = oracle.components(rng.random((40, 31)) < density)
        np.testing.assert_array_equal(thin_borders(segments), oracle.thin(segments))


@settings(deadline=None, max_examples=50)
@given(SLICES)
def test_segments_keep_their_pixels_and_their_number(foreground):
    segments, n = ndimage.label(foreground)
    grown = thin_borders(segments)
    if n:
        np.testing.assert_array_equal(grown[foreground], segments[foreground])
        assert set(np.unique(grown[grown > 0])) == set(range(1, n + 1))


@settings(deadline=None, max_examples=50)
@given(SLICES)
def test_numbering_of_the_segments_does_not_matter(foreground):
    segments, n = ndimage.label(foreground)
    renumbered = np.concatenate([[0], np.random.default_rng(0).permutation(n) + 1])
    if n:
        np.testing.assert_array_equal(thin_borders(renumbered[segments]), renumbered[thin_borders(segments)])


def test_an_even_gap_goes_to_the_pixel_taken_first():
    # The left pixel of the gap is earlier in column order: it grows, its neighbour becomes the line.
    np.testing.assert_array_equal(thin_borders(np.array([[1, 0, 0, 2]])), [[1, 1, 0, 2]])
    np.testing.assert_array_equal(thin_borders(np.array([[1], [0], [0], [2]])), [[1], [1], [0], [2]])


def test_pixels_are_taken_column_by_column():
    # (1, 0) is the first of the queue, so its follower (0, 0) is labelled before (0, 1) and makes that a line;
    # row by row (0, 2) and its follower (0, 1) would come first, and (0, 0) would be the line.
    segments = np.array([[0, 0, 0], [0, 0, 2], [1, 0, 0]])
    np.testing.assert_array_equal(thin_borders(segments), [[1, 0, 2], [1, 0, 2], [1, 1, 0]])


@pytest.mark.parametrize("value", [0, 1])
def test_a_uniform_slice_is_one_segment(value):
    np.testing.assert_array_equal(thin_borders(np.full((3, 4), value)), np.ones((3, 4)))


def test_one_segment_fills_the_slice():
    segments = np.zeros((6, 7), int)
    segments[2, 3] = 1
    assert (thin_borders(segments) == 1).all()
