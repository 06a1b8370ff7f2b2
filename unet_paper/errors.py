"""The one error a user can cause: an illegal input, named in one clear sentence."""


class InputError(ValueError):
    """What the caller gave is illegal; the message names what was wrong and what is legal.

    Commands print the message and exit with status 2.
    """
