"""Files appear whole or not at all, and what is no regular file is left alone.

What is written goes to a temporary file in the same folder, which replaces the target in one step
when it is complete. A failure leaves the folder as it was and is told in one sentence. A symbolic
link is followed; a device, a pipe, a file with a second name or a read-only one is refused.
"""

import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO

from unet_paper.errors import InputError

HDF5 = re.compile(r"(.+\.(?:h5|hdf5|hdf))(?::(.*))?", re.IGNORECASE)  # FILE.h5:/path of a dataset


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file under a temporary name and rename it when it is complete.

    Parameters
    ----------
    path : path-like
        The file to write or to replace; its folder must exist. A symbolic link stays and what it points to
        is replaced. The mode is that of the file replaced, or else that of the umask.

    Yields
    ------
    Path
        The temporary path to write to, in the same folder and with the same suffix; an empty file.

    Raises
    ------
    InputError
        If the file cannot be written or `path` is not a place for one. The temporary file is removed, and
        a file that was at `path` stays as it was, whatever the exception.

    Notes
    -----
    A process that is killed leaves its temporary file; the next writer of `path` removes it, since nobody
    holds its lock any more.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "note.txt") as temporary:
    ...         _ = temporary.write_text("complete")
    ...     os.listdir(folder)
    ['note.txt']
    """
    target = _regular_file(path)
    temporary = _name_beside(target)
    try:
        _remove_abandoned(target)
        with open(temporary, "xb") as file:
            if _is_locked(file) is None:
                file.close()  # Windows replaces no open file
            mode = _mode(target if target.exists() else temporary)
            yield temporary
            with open(temporary, "r+b") as complete:
                os.fsync(complete.fileno())
            if _mode(temporary) != mode:
                temporary.chmod(mode)
            os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error
    finally:
        with suppress(OSError):  # its folder is not a folder, or is gone: nothing was left there
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: str | Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder that exists, so that one process at a time works in it.

    The lock ends with the process, however that ends, and leaves no file. Where the system knows no locks,
    none is held.

    Parameters
    ----------
    folder : path-like
    patience : float
        Seconds to wait for it.

    Raises
    ------
    InputError
        If another process, or another caller in this one, holds the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + patience
    try:
        while _is_locked(descriptor):
            if time.monotonic() >= end:
                raise InputError(f"another process works in {folder}; wait until it has ended, or name another folder")
            time.sleep(0.1)
        yield
    finally:
        os.close(descriptor)


def make_folder(path: str | Path) -> Path:
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


def check_folder(path: str | Path, *, writable: bool = True) -> None:
    """Raise `InputError` unless `path` is, or could be made, a folder, if `writable` to write to; nothing is made.

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
    if writable and not os.access(above, os.W_OK):
        raise InputError(f"cannot write to {path}: no permission to write in {above}")


def check_readable(path: str | Path) -> None:
    """Raise `InputError` unless `path` is a regular file, or a link to one.

    Examples
    --------
    >>> check_readable("/dev/null")
    Traceback (most recent call last):
    unet_paper.errors.InputError: /dev/null is a device; it must be a file
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is {_kind(mode)}; it must be a file")


def check_writable(path: str | Path, *, inputs: Iterable[str | Path] = ()) -> None:
    """Raise `InputError` unless `path` can be written: for a command to call before its long work.

    Parameters
    ----------
    path : path-like
        The file to be written.
    inputs : iterable of path-like
        Files that are read; `path` must be none of them.

    Examples
    --------
    >>> check_writable("/no/such/folder/map.tif")
    Traceback (most recent call last):
    unet_paper.errors.InputError: cannot write /no/such/folder/map.tif: the folder does not exist
    """
    target = _regular_file(path)
    for read in inputs:
        if target.exists() and Path(read).exists() and target.samefile(read):
            raise InputError(f"cannot write {path}: it is {read}, which is read; name another file")
    probe = _name_beside(target)
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error


def _regular_file(path):
    """Where `path` leads, links followed; `InputError` if what is there must not be replaced."""
    target = Path(os.path.realpath(path))
    try:
        there = target.stat()
    except FileNotFoundError:
        return target
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {_reason(error)}") from error
    if not stat.S_ISREG(there.st_mode):
        raise InputError(f"cannot write {path}: it is {_kind(there.st_mode)}")
    if there.st_nlink > 1:
        raise InputError(f"cannot write {path}: it is a file of {there.st_nlink} names (hard links); remove it first")
    if not (there.st_mode & 0o222 and os.access(target, os.W_OK)):
        raise InputError(f"cannot write {path}: it is read-only")
    return target


def _kind(mode):
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def _name_beside(path):
    return path.parent / f".{path.stem}-{secrets.token_hex(4)}.partial{path.suffix}"


def _remove_abandoned(target):
    """Remove the temporary files of writers of `target` that were killed."""
    for path in target.parent.glob(f".{escape(target.stem)}-{8 * '[0-9a-f]'}.partial{escape(target.suffix)}"):
        with suppress(OSError), open(path, "rb") as file:
            if _is_locked(file) is False:
                path.unlink()


def lock(file: IO) -> None:
    """Wait for the lock of an open file and hold it until the file is closed, where the system knows locks."""
    with suppress(ImportError, OSError):  # Windows; file systems of some networks
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _is_locked(file):
    """Whether another open file holds the lock of `file`, which else gets it until it is closed; None if unknown."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # Windows; file systems of some networks
        return None
    return False


def _reason(error):
    if isinstance(error, FileNotFoundError):
        return "the folder does not exist"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
