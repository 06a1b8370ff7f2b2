"""Files appear whole or not at all, and what is no regular file is left alone."""

import os
import resource
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from unet_paper.errors import InputError
from unet_paper.files import atomic_write, check_folder, check_readable, check_writable, locked
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


# --- what is no regular file is left alone


def write_bytes(path, content=b"new"):
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


SPECIAL = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    "a device": lambda path: path.symlink_to("/dev/null"),
    "read-only": lambda path: (path.touch(), path.chmod(0o444)),
    "hard links": lambda path: (path.touch(), path.with_name("twin").hardlink_to(path)),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the socket is closed by its end
@pytest.mark.parametrize("write", [check_writable, write_bytes, lambda path: write_stack(path, GRAY)])
@pytest.mark.parametrize(("message", "make"), SPECIAL.items(), ids=SPECIAL)
def test_what_must_not_be_replaced_is_refused_and_stays(tmp_path, monkeypatch, message, make, write):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    path = Path("out.tif")
    make(path)
    before, names = path.stat(), sorted(os.listdir())
    with pytest.raises(InputError, match=rf"cannot write out\.tif: .*{message}"):
        write(path)
    after = path.stat()
    assert (after.st_ino, after.st_mode, after.st_nlink) == (before.st_ino, before.st_mode, before.st_nlink)
    assert sorted(os.listdir()) == names


@pytest.mark.parametrize("dangling", [False, True])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path, dangling):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "target.tif", tmp_path / "link.tif"
    if not dangling:
        target.write_bytes(b"old")
    link.symlink_to(target)
    check_writable(link)
    write_bytes(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert os.listdir(tmp_path / "elsewhere") == ["target.tif"]


def test_the_mode_of_a_replaced_file_is_kept(tmp_path):
    path = tmp_path / "a"
    path.touch()
    path.chmod(0o640)
    write_bytes(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_mode_of_the_umask_whatever_its_writer_does(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "a") as temporary:
            temporary.unlink()  # as safetensors does: it renames a file of its own, of mode 0600
            temporary.touch(mode=0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~umask


def test_an_output_that_is_an_input_is_refused(tmp_path):
    (tmp_path / "a.tif").touch()
    (tmp_path / "same.tif").symlink_to(tmp_path / "a.tif")
    for output, read in [("same.tif", "a.tif"), ("a.tif", "same.tif"), ("a.tif", "a.tif")]:
        with pytest.raises(InputError, match=rf"{output}: it is .*{read}, which is read"):
            check_writable(tmp_path / output, inputs=[tmp_path / "none.tif", tmp_path / read])
    check_writable(tmp_path / "b.tif", inputs=[tmp_path / "a.tif"])
    check_writable(tmp_path / "c.tif", inputs=[tmp_path / "c.tif"])  # neither is there


@pytest.mark.parametrize(
    ("message", "make"), [*list(SPECIAL.items())[:4], ("does not exist", lambda path: path.symlink_to("none"))]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_file_cannot_be_read(tmp_path, monkeypatch, message, make):
    monkeypatch.chdir(tmp_path)
    make(Path("in.tif"))
    with pytest.raises(InputError, match=rf"in\.tif .*{message}|in\.tif {message}"):
        check_readable(Path("in.tif"))
    for name in ("", "a\0b", "x" * 300):
        with pytest.raises(InputError):
            check_readable(name)


# --- killed and living writers


KILLED = """
import os, sys
from unet_paper.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_ones_file_is_not(tmp_path):
    path = tmp_path / "a[1].tif"
    path.write_bytes(b"old")
    users = {".a[1]-my_notes.tif", ".a[1]-20240131.tif"}
    for name in users:
        (tmp_path / name).touch()
    assert subprocess.run([sys.executable, "-c", KILLED, path]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 4
    with atomic_write(path) as living:
        living.write_bytes(b"living")
        assert {p.name for p in tmp_path.iterdir()} == {"a[1].tif", living.name, *users}
        write_bytes(path, b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"living"
    assert {p.name for p in tmp_path.iterdir()} == {"a[1].tif", *users}


def test_a_folder_is_held_by_one_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match=f"another process works in {tmp_path}"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written_is_told_before_one_is_made_in_it(tmp_path, monkeypatch):
    monkeypatch.setattr("unet_paper.files.os.access", lambda *_: False)  # root may write anywhere
    with pytest.raises(InputError, match=f"cannot write to .*: no permission to write in {tmp_path}"):
        check_folder(tmp_path / "results")
    check_folder(tmp_path / "results", writable=False)
    assert not (tmp_path / "results").exists()
