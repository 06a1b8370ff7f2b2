"""Files appear whole or not at all."""

import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from unet_paper.errors import InputError
from unet_paper.files import atomic_write, check_writable
from unet_paper.tiff import write_stack

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 24, 32), dtype=np.uint8)


@contextmanager
def files_limited_to(n_bytes):
    """Writing beyond the limit fails in the kernel, in the middle of a file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.tif"
    write_stack(path, GRAY)
    before = path.read_bytes()
    noise = RNG.random((4, 64, 64), dtype=np.float32)
    with files_limited_to(8192), pytest.raises(InputError, match=r"cannot write .*a\.tif: ") as raised:
        write_stack(path, noise)
    assert "\n" not in str(raised.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def fail_halfway(path, error):
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


def test_no_space_left_is_said(tmp_path):
    with pytest.raises(InputError, match="No space left on device"):
        fail_halfway(tmp_path / "a", OSError(28, "No space left on device"))
    assert not list(tmp_path.iterdir())


def test_another_exception_passes_and_leaves_nothing(tmp_path):
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            fail_halfway(tmp_path / "a", error)
    assert not list(tmp_path.iterdir())


def test_a_failure_of_another_kind_can_be_named(tmp_path):
    with pytest.raises(InputError, match="full"), atomic_write(tmp_path / "a", failures=(OSError, KeyError)):
        raise KeyError("full")


def test_the_temporary_file_keeps_suffix_and_folder_and_the_file_gets_usual_rights(tmp_path):
    with atomic_write(tmp_path / "figure.png") as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".png")
        temporary.write_bytes(b"x")
    (tmp_path / "usual").touch()
    assert (tmp_path / "figure.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("write", [check_writable, lambda path: write_stack(path, GRAY)])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, write):
    (tmp_path / "file").touch()
    for path, message in [
        (tmp_path / "none" / "a.tif", "folder does not exist"),
        (tmp_path / "file" / "a.tif", "Not a directory"),
        (tmp_path, "it is a folder"),
    ]:
        with pytest.raises(InputError, match=message):
            write(path)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        check_writable(tmp_path / "a.tif")
    tmp_path.chmod(0o700)
