"""What can go wrong for reasons outside the program, each told in one clear sentence."""


class InputError(ValueError):
    """What the caller gave is illegal; the message names what was wrong and what it must be.

    Commands print the message and exit with status 2.
    """


class MissingExtra(InputError, ImportError):
    """A library of an extra is not installed; the message says how to get it."""


class Interrupted(Exception):
    """Training was asked to stop; if it has a folder, a checkpoint was written there, from which it continues."""


class NonFiniteLoss(Exception):
    """The loss became infinite or NaN; the message names step and seed."""


class LabelWarning(UserWarning):
    """Labels are legal, but hardly what the caller means; the message says what to do."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, NumPy or PyTorch ran out of memory, on the processor or on a GPU.

    PyTorch raises a `RuntimeError`, and NumPy for absurd sizes a `ValueError`, that only the text tells apart.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("can't allocate memory")), is_out_of_memory(
    ...     RuntimeError("sizes differ")
    ... )
    (True, True, False)
    """
    words = ("can't allocate memory", "out of memory", "size calculation overflowed", "array is too big")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ValueError) and any(word in str(error) for word in words)
    )
