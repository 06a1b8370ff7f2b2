"""The elastic figure deforms by the displacements that its arrows show."""

import numpy as np
import pytest
from matplotlib.quiver import Quiver

from reproduce.figures import elastic
from unet_paper.errors import InputError

PLANE = np.arange(30.0, dtype=np.float32).reshape(5, 6)


@pytest.mark.parametrize("mode", ["cubic", "linear", "nearest"])
def test_without_displacement_nothing_moves(mode):
    np.testing.assert_allclose(elastic.deform(PLANE, np.zeros((2, 3, 3), np.float32), mode), PLANE, atol=1e-5)


def test_a_pixel_shows_what_lies_at_its_displaced_position():
    nodes = np.zeros((2, 3, 3), np.float32)
    nodes[0], nodes[1] = 1, 2  # down and to the right
    np.testing.assert_allclose(elastic.deform(PLANE, nodes, "linear")[:-1, :-2], PLANE[1:, 2:], atol=1e-5)


def test_the_arrows_point_from_a_node_by_its_displacement():
    nodes = np.random.default_rng(0).normal(size=(2, 3, 3)).astype(np.float32)
    drawn = elastic.draw(PLANE, PLANE, nodes, "", "").axes[0].collections
    (arrows,) = (one for one in drawn if isinstance(one, Quiver))
    np.testing.assert_array_equal(arrows.XY, [(x, y) for y in (0, 2, 4) for x in (0, 2.5, 5)])
    np.testing.assert_array_equal((arrows.V, arrows.U), nodes.reshape(2, 9))


def test_the_elastic_figure_is_written(run, figures):
    run(elastic)
    assert (figures / "elastic.png").exists()


@pytest.mark.parametrize("sigma", ["-1", "nan", "inf", "1e30"])
def test_a_deviation_beyond_the_slice_is_refused(run, figures, sigma):
    with pytest.raises(InputError, match="must be in 0 to 512 pixels"):
        run(elastic, "--sigma", sigma)
    assert not figures.exists()
