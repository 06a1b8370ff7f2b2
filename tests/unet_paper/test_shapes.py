"""The arithmetic of valid convolutions, against walking the U step by step."""

import pytest

from unet_paper import shapes
from unet_paper.errors import InputError


def walk(side, depth):
    """Output side by following the network, or None where a pooling meets an odd side."""
    for _ in range(depth):
        side -= 4
        if side <= 0 or side % 2:
            return None
        side //= 2
    side -= 4
    for _ in range(depth):
        if side <= 0:
            return None
        side = 2 * side - 4
    return side if side > 0 else None


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_legal_sides_are_those_the_network_can_walk(depth):
    for side in range(1, 900):
        expected = walk(side, depth)
        assert shapes.is_legal_input_size(side, depth) == (expected is not None)
        if expected is not None:
            assert shapes.output_size(side, depth) == expected


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_input_size_for_is_the_smallest_legal_side_with_that_output(depth):
    for wanted in range(1, 300):
        naive = next(n for n in range(1, 2000) if (walk(n, depth) or 0) >= wanted)
        assert shapes.input_size_for(wanted, depth) == naive


def test_the_numbers_of_the_paper():
    assert shapes.output_size(572) == 388
    assert shapes.context() == 92
    assert shapes.period() == 16


@pytest.mark.parametrize(("side", "nearest"), [(512, "508, 524"), (571, "556, 572"), (100, "188"), (-3, "188")])
def test_an_illegal_side_names_the_nearest_legal_ones(side, nearest):
    with pytest.raises(InputError, match=f"nearest legal: {nearest}$"):
        shapes.check_input_size(side)
