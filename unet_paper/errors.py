"""What can go wrong for reasons outside the program, each told in one clear sentence."""


class InputError(ValueError):
    """What the caller gave is illegal; the message names what was wrong and what is legal.

    Commands print the message and exit with status 2.
    """


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint was written, and the same command continues it."""


class NonFiniteLoss(Exception):
    """The loss became infinite or NaN; the message names step and seed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy or PyTorch ran out of memory, on the processor or on a GPU.

    PyTorch raises a `RuntimeError` that only its text tells apart.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("can't allocate memory")), is_out_of_memory(
    ...     RuntimeError("sizes differ")
    ... )
    (True, True, False)
    """
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in words)
    )
