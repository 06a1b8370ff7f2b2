"""What all commands share: whatever goes wrong is told in one sentence, and an interrupt is quiet."""

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from unet_paper.errors import InputError, Interrupted, LabelWarning, NonFiniteLoss, is_out_of_memory

UNREAD, FAILED, INTERRUPTED, TERMINATED = 1, 2, 130, 143  # the last two as a shell reports signals


def exit_status(run: Callable[..., int | None], *arguments) -> int:
    """Run a command and tell what went wrong.

    Parameters
    ----------
    run : callable
        ``run(*arguments)``; what it returns is the exit status, None is 0.

    Returns
    -------
    int
        The exit status: 2 if something outside the program was wrong, which one sentence on standard error
        tells; 130 after Ctrl-C; 1 if the reader of the output left, as of ``| head``.

    Raises
    ------
    SystemExit
        With 143 if the process is asked to end (SIGTERM), so that nothing is left half-written.
    """
    try:
        with _terminable(), _warnings_as_notes():
            try:
                return run(*arguments) or 0
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except Interrupted as stopped:
        print(f"{stopped}; the same command continues", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
        return UNREAD
    except (InputError, NonFiniteLoss, OSError) as error:
        message = str(error)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = f"not enough memory: {_first_line(error)}"
    print(f"error: {message}", file=sys.stderr)
    return FAILED


def file_name(text: str) -> Path:
    """A path, for argparse, which must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("it must be the name of a file, not empty")
    return Path(text)


def note(text: str) -> None:
    """Tell the user something on standard error, which is no error."""
    print(f"note: {text}", file=sys.stderr)


class HelpFormatter(argparse.HelpFormatter):
    """Fills descriptions, and leaves the lines of a text that begins with "examples:" as they are."""

    def _fill_text(self, text, width, indent):
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, unless somebody else serves it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Tell a `LabelWarning` once, as a note; others as ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", LabelWarning)
        usual = warnings.showwarning

        def show(message, category, *place, **options):
            if issubclass(category, LabelWarning):
                note(message)
            else:
                usual(message, category, *place, **options)

        warnings.showwarning = show
        yield


def _first_line(error):
    """The first line of a message, without the place in torch that raised it."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return line.split("DefaultCPUAllocator: ")[-1].rstrip(".")
