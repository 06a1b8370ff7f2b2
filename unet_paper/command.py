"""What all commands share: modules as commands, one sentence for whatever goes wrong, and a quiet interrupt."""

import argparse
import ast
import importlib.util
import math
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


def exit_status(run: Callable[..., int | None], *arguments: object) -> int:
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


def command_line(
    prog: str, description: str | None, groups: dict[str, dict[str, str]], chosen: str
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """The parser of commands that are modules, none of which is imported.

    Parameters
    ----------
    prog, description : str
        As of `argparse.ArgumentParser`.
    groups : dict
        Headings of the list of commands, each with the module of each command. The docstring of a module is the help
        of its command: its first line stands in the list, and what follows "examples:" behind the options.
    chosen : str
        The first word of the command line.

    Returns
    -------
    top : argparse.ArgumentParser
        The whole command line.
    command : argparse.ArgumentParser or None
        That of the chosen command, which lacks its arguments yet; None if there is no such command.
    """
    modules = {name: module for group in groups.values() for name, module in group.items()}
    lists = [
        f"{heading}:\n" + "\n".join(f"  {name:12} {_docstring(group[name]).splitlines()[0]}" for name in group)
        for heading, group in groups.items()
        if chosen not in modules
    ]
    top = argparse.ArgumentParser(
        prog=prog, description=description, epilog="\n\n".join(lists), formatter_class=HelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", help="one of the following")
    parsers = {name: commands.add_parser(name, formatter_class=HelpFormatter) for name in modules}
    if chosen in modules:
        text, examples, lines = _docstring(modules[chosen]).partition("examples:")
        parsers[chosen].description, parsers[chosen].epilog = text, examples + lines
    return top, parsers.get(chosen)


def file_name(text: str) -> Path:
    """A path, for argparse, which must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("it must be the name of a file, not empty")
    return Path(text)


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` to `most`."""

    def number(text):
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} must be at least {least}")
        if value > most:
            raise argparse.ArgumentTypeError(f"{text} must be at most {most}")
        return value

    number.__name__ = "whole number"  # argparse: "invalid whole number value"
    return number


def positive(text: str) -> float:
    """The type of an argument that is a finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be finite and above 0")
    return value


positive.__name__ = "number"


def note(text: str) -> None:
    """Tell the user something on standard error, which is no error."""
    print(f"note: {text}", file=sys.stderr)


class HelpFormatter(argparse.HelpFormatter):
    """Fills paragraphs, and leaves those with indented lines, such as examples, as they are."""

    def _fill_text(self, text, width, indent):
        fill = super()._fill_text
        return "\n\n".join(part if "\n  " in part else fill(part, width, indent) for part in text.split("\n\n"))


def _docstring(module):
    """The docstring of a module, without marks, read from its source: also with -OO, and without its imports."""
    source = importlib.util.find_spec(module).loader.get_source(module)
    return ast.get_docstring(ast.parse(source)).replace("`", "")


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
