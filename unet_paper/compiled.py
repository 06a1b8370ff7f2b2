"""Numba for the loops of the metrics and of the weight map, also where nothing can be cached."""

from collections.abc import Callable

from numba import njit


def compiled(function: Callable) -> Callable:
    """`numba.njit` without the GIL, cached on disk where a cache can be written."""
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the folder of the package nor the user's is writable
        return njit(nogil=True)(function)
