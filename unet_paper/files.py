"""Writing a file completely or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from unet_paper.errors import InputError


@contextmanager
def atomic_write(path):
    """Give a temporary path in the folder of `path`; rename it to `path` on success, remove it on failure.

    Parameters
    ----------
    path : path
        The file to write; an existing one is replaced only when everything was written. Its folder
        must exist.

    Yields
    ------
    pathlib.Path
        A new empty file to write to.

    Raises
    ------
    InputError
        If the folder does not exist or is not writable, or writing failed, as with a full disk.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "note.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> (folder / "note.txt").read_text()
    'whole'
    """
    path = Path(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes files private
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
