"""What can go wrong for reasons outside the program, each told in one clear sentence."""


class InputError(ValueError):
    """What the caller gave is illegal; the message names what was wrong and what it must be.

    Commands print the message and exit with status 2.
    """


class Interrupted(Exception):
    """Training was asked to stop; a checkpoint was written, and the same command continues it."""


class NonFiniteLoss(Exception):
    """The loss became infinite or NaN; the message names step and seed."""


class LabelWarning(UserWarning):
    """Labels are legal, but hardly what the caller means; the message says what to do."""
