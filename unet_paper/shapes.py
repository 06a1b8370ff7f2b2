"""Arithmetic of valid convolutions: which tile sides the network of Figure 1 accepts.

Every level loses 4 pixels to two unpadded 3x3 convolutions; the contracting path halves with 2x2
max pooling, which is legal for even sides only, and the expansive path doubles. With the paper's
four poolings a legal input side is ``16 k + 60``, at least 188, and the output is 184 smaller.
All sides are in pixels.
"""

from unet_paper.errors import InputError

CONV_LOSS = 4  # two unpadded 3x3 convolutions a level, section 2


def period(depth: int = 4) -> int:
    """Shift in pixels under which the network repeats itself: ``2**depth``, 16 for the paper."""
    return 2**depth


def context(depth: int = 4) -> int:
    """Pixels of image the network needs on each side of its output: 92 for the paper.

    Examples
    --------
    >>> context()
    92
    """
    return 6 * 2**depth - 4


def is_legal_input_size(size: int, depth: int = 4) -> bool:
    """Whether every pooling of the contracting path meets an even side and the output is not empty.

    Examples
    --------
    >>> is_legal_input_size(572), is_legal_input_size(512)
    (True, False)
    """
    return size > 2 * context(depth) and (size - CONV_LOSS * (2**depth - 1)) % 2**depth == 0


def input_size_for(output_size: int, depth: int = 4) -> int:
    """Smallest legal input side whose output side is at least `output_size`.

    Examples
    --------
    >>> input_size_for(388), input_size_for(389), input_size_for(512)
    (572, 588, 700)
    """
    size = max(output_size, 1) + 2 * context(depth)
    return size + (CONV_LOSS * (2**depth - 1) - size) % 2**depth


def check_input_size(size: int, depth: int = 4) -> None:
    """Raise `InputError` naming the nearest legal sides when `size` is illegal.

    Examples
    --------
    >>> check_input_size(512)
    Traceback (most recent call last):
    ...
    unet_paper.errors.InputError: input side 512 is not 16*k + 60 with k >= 8; nearest legal: 508, 524
    """
    if is_legal_input_size(size, depth):
        return
    above = input_size_for(size - 2 * context(depth), depth)
    below = above - period(depth)
    nearest = f"{below}, {above}" if is_legal_input_size(below, depth) else f"{above}"
    rest = CONV_LOSS * (2**depth - 1)
    k = (input_size_for(1, depth) - rest) // period(depth)
    raise InputError(f"input side {size} is not {period(depth)}*k + {rest} with k >= {k}; nearest legal: {nearest}")


def output_size(input_size: int, depth: int = 4) -> int:
    """Side of the segmentation map for a legal `input_size`; raises `InputError` otherwise.

    Examples
    --------
    >>> output_size(572), output_size(188), output_size(700)
    (388, 4, 516)
    """
    check_input_size(input_size, depth)
    return input_size - 2 * context(depth)
