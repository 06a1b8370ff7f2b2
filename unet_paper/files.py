"""Files appear whole or not at all.

What is written goes to a temporary file in the same folder, which replaces the target in one step
when it is complete. A failure leaves the folder as it was and is told in one sentence.
"""

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path

from unet_paper.errors import InputError


@contextmanager
def atomic_write(path, *, failures=OSError):
    """Write a file under a temporary name and rename it when it is complete.

    Parameters
    ----------
    path : path-like
        The file to write or to replace; its folder must exist.
    failures : exception type or tuple of them
        What the writer raises when the file cannot be written (disk full, no permission).

    Yields
    ------
    Path
        The temporary path to write to, in the same folder and with the same suffix.

    Raises
    ------
    InputError
        If the file cannot be written. The temporary file is removed, and a file that was at `path`
        stays as it was, whatever the exception.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "note.txt") as temporary:
    ...         _ = temporary.write_text("complete")
    ...     os.listdir(folder)
    ['note.txt']
    """
    path = Path(path)
    temporary = _name_beside(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except failures as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        with suppress(OSError):  # its folder is not a folder, or is gone: nothing was left there
            temporary.unlink(missing_ok=True)


def make_folder(path):
    """Make the folder `path` and those above it unless they exist; `InputError` if that is impossible.

    Examples
    --------
    >>> make_folder("/dev/null/results")
    Traceback (most recent call last):
    unet_paper.errors.InputError: cannot make the folder /dev/null/results: Not a directory
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}") from error
    return Path(path)


def check_folder(path):
    """Raise `InputError` unless `path` is, or could be made, a folder to write to; nothing is made.

    Examples
    --------
    >>> check_folder("/dev/null/results")
    Traceback (most recent call last):
    unet_paper.errors.InputError: cannot write to /dev/null/results: /dev/null is not a folder
    """
    above = Path(path).absolute()
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise InputError(f"cannot write to {path}: {above} is not a folder")
    if not os.access(above, os.W_OK):
        raise InputError(f"cannot write to {path}: no permission to write in {above}")


def check_writable(path):
    """Raise `InputError` unless `path` can be written: for a command to call before its long work.

    Examples
    --------
    >>> check_writable("/no/such/folder/map.tif")
    Traceback (most recent call last):
    unet_paper.errors.InputError: cannot write /no/such/folder/map.tif: the folder does not exist
    """
    path = Path(path)
    probe = _name_beside(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


def _name_beside(path):
    return path.parent / f".{path.stem}-{secrets.token_hex(4)}{path.suffix}"


def _reason(error):
    if isinstance(error, FileNotFoundError):
        return "the folder does not exist"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
