"""Only the challenge's pixels arrive, all of them or none, and nothing leaves the folder."""

import io
import os
import stat
import zipfile

import numpy as np
import pytest
import tifffile

from data_scripts import isbi2012
from data_scripts.isbi2012 import OPTIONAL, SHA256, URL, main
from unet_paper.isbi import pixel_sha256
from unet_paper.tiff import write_stack

pooch, requests = pytest.importorskip("pooch"), pytest.importorskip("requests")
NAMES = list(SHA256)
ARCHIVE = URL.rpartition("/")[2]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder with small stacks that count as the challenge's."""
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in (*NAMES, OPTIONAL):
        array = rng.integers(0, 256, (2, 8, 8), dtype=np.uint8)
        write_stack(folder / name, array)
        if name in SHA256:
            monkeypatch.setitem(SHA256, name, pixel_sha256(array))
    monkeypatch.setattr(isbi2012, "SHAPE", (2, 8, 8))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data" / "isbi2012"


def archive_in(out, members):
    """Put an archive where a download would: members are (name or ZipInfo, bytes)."""
    out.mkdir(parents=True)
    with zipfile.ZipFile(out / ARCHIVE, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)


def files_of(folder, prefix="ISBI 2012/"):
    return [(prefix + path.name, path.read_bytes()) for path in sorted(folder.iterdir())]


def fails(capsys, *arguments):
    """The one sentence of a command that must fail."""
    assert main([str(argument) for argument in arguments]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_the_archive_is_unpacked_as_it_is_and_kept(source, out, capsys):
    archive_in(out, [*files_of(source), ("ISBI 2012/README.txt", b"hello"), ("__MACOSX/._train-volume.tif", b"x")])
    assert main(["--out", str(out)]) == 0
    assert sorted(os.listdir(out)) == sorted([*NAMES, OPTIONAL, ARCHIVE])
    for name in (*NAMES, OPTIONAL):
        assert (out / name).read_bytes() == (source / name).read_bytes()
    assert "verified" in capsys.readouterr().out


def test_the_archive_is_downloaded_once(source, out, monkeypatch, tmp_path):
    archive_in(tmp_path / "server", files_of(source, ""))
    calls = []

    def downloader(url, output_file, _):
        calls.append(url)
        with open(output_file, "wb") as file:
            file.write((tmp_path / "server" / ARCHIVE).read_bytes())

    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: downloader)
    assert main(["--out", str(out)]) == 0
    (out / NAMES[0]).unlink()
    assert main(["--out", str(out)]) == 0
    assert calls == [URL] == ["https://downloads.imagej.net/ISBI-2012-challenge.zip"]
    assert (out / NAMES[0]).exists()


def test_a_folder_named_by_the_user_replaces_the_download(source, out, monkeypatch):
    assert main(["--out", str(out), "--from", str(source)]) == 0
    assert sorted(os.listdir(out)) == sorted([*NAMES, OPTIONAL])
    monkeypatch.setenv("ISBI2012_DIR", str(source))
    assert main(["--out", str(out.with_name("other"))]) == 0
    assert (out.with_name("other") / NAMES[2]).exists()


def test_verified_files_are_left_alone(source, capsys):
    before = {path: path.stat().st_mtime_ns for path in source.iterdir()}
    assert main(["--out", str(source)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in source.iterdir()} == before


def test_a_folder_named_by_the_user_is_copied_from_though_the_stacks_are_there(source, out):
    assert main(["--out", str(out), "--from", str(source)]) == 0
    (out / OPTIONAL).unlink()
    assert main(["--out", str(out), "--from", str(source)]) == 0
    assert (out / OPTIONAL).exists()
    assert main(["--out", str(out), "--from", str(out / "nowhere")]) == 2


def test_without_network_the_sentence_says_where_to_put_which_files(source, out, monkeypatch, capfd):
    tried = []

    def offline(*_):
        tried.append(1)
        raise requests.exceptions.ConnectionError("no route")

    log = io.StringIO()  # pooch writes to the standard error of the time when it was imported
    monkeypatch.setattr(pooch.get_logger().handlers[0], "stream", log)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda *_, **__: offline)
    message = fails(capfd, "--out", out)
    for part in (*NAMES, str(out), "--from"):
        assert part in message
    assert len(tried) == 1 + isbi2012.RETRIES
    assert log.getvalue() == ""
    assert not out.exists()


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../evil.txt", "/evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_an_archive_that_leaves_the_folder_is_refused_whole(source, out, capsys, name):
    member = zipfile.ZipInfo("x")
    member.filename = name
    archive_in(out, [*files_of(source), (member, b"evil")])
    assert "could leave the folder" in fails(capsys, "--out", out)
    assert os.listdir(out) == [ARCHIVE]


def test_an_archive_with_a_link_is_refused_whole(source, out, capsys):
    link = zipfile.ZipInfo("train-volume.tif")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive_in(out, [*files_of(source), (link, b"/etc/hostname")])
    assert "could leave the folder" in fails(capsys, "--out", out)
    assert os.listdir(out) == [ARCHIVE]


def test_an_archive_without_a_stack_or_with_two_is_refused(source, out, capsys):
    archive_in(out, files_of(source)[1:3])
    assert "the archive lacks train-" in fails(capsys, "--out", out)
    (out / ARCHIVE).unlink()
    out.rmdir()
    archive_in(out, [*files_of(source), *files_of(source, "copy/")])
    assert "twice" in fails(capsys, "--out", out)


def test_a_far_too_large_member_is_refused(source, out, capsys, monkeypatch):
    monkeypatch.setattr(isbi2012, "LARGEST", 10)
    archive_in(out, files_of(source))
    assert "far too large" in fails(capsys, "--out", out)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-100], lambda raw: b"no archive", lambda raw: raw[:60] + raw[61:]])
def test_a_damaged_archive_is_told_and_leaves_no_stack(source, out, capsys, damage):
    archive_in(out, files_of(source))
    (out / ARCHIVE).write_bytes(damage((out / ARCHIVE).read_bytes()))
    message = fails(capsys, "--out", out)
    assert str(out / ARCHIVE) in message
    assert "to download it anew" in message
    assert os.listdir(out) == [ARCHIVE]


def test_a_member_whose_compression_is_damaged_is_told(source, out, capsys):
    out.mkdir(parents=True)
    with zipfile.ZipFile(out / ARCHIVE, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files_of(source):
            archive.writestr(name, content)
        start = archive.infolist()[0].header_offset + 60
    raw = bytearray((out / ARCHIVE).read_bytes())
    raw[start : start + 40] = bytes(40)
    (out / ARCHIVE).write_bytes(raw)
    assert f"{out / ARCHIVE} cannot be read, is damaged" in fails(capsys, "--out", out)
    assert os.listdir(out) == [ARCHIVE]


def test_a_file_is_named_where_the_user_finds_it(source, out, capsys):
    tifffile.imwrite(source / OPTIONAL, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    assert f"{source / OPTIONAL} has 3 colours" in fails(capsys, "--out", out, "--from", source)
    archive_in(out, files_of(source))
    assert f"error: {OPTIONAL} of {out / ARCHIVE} has 3 colours" in fails(capsys, "--out", out)


@pytest.mark.parametrize("name", NAMES)
def test_other_pixels_than_the_challenges_are_refused(source, out, capsys, name):
    write_stack(source / name, np.zeros((2, 8, 8), np.uint8))
    message = fails(capsys, "--out", out, "--from", source)
    assert name in message
    assert "SHA-256" in message
    assert not out.exists()
    message = fails(capsys, "--out", source)  # nor are they accepted where they lie
    assert f"remove {source / name} to have it fetched anew" in message
    archive_in(out, files_of(source))
    message = fails(capsys, "--out", out)
    assert "SHA-256" in message
    assert f"remove {out / ARCHIVE}" in message
    assert os.listdir(out) == [ARCHIVE]


def test_of_the_test_labels_only_the_shape_is_known(source, out, capsys):
    write_stack(source / OPTIONAL, np.zeros((3, 8, 8), np.uint8))
    assert OPTIONAL in fails(capsys, "--out", out, "--from", source)
    assert not out.exists()
    (source / OPTIONAL).unlink()
    assert main(["--out", str(out), "--from", str(source)]) == 0


def test_a_folder_without_the_stacks_is_no_source(tmp_path, out, capsys):
    assert "it must hold train-volume.tif" in fails(capsys, "--out", out, "--from", tmp_path)
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_told(source, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot write" in fails(capsys, "--out", tmp_path / "file" / "data", "--from", source)


def test_the_real_stacks_are_the_challenges(isbi_folder, out):
    assert main(["--out", str(out), "--from", str(isbi_folder)]) == 0
    assert main(["--out", str(out)]) == 0
