"""``python -m data_scripts.isbi2012``: fetch the ISBI 2012 stacks and verify every pixel.

The challenge's own archive is downloaded, or the files are copied from a folder that has them. Files
are taken as they are. test-labels.tif, of which no hash was published, comes along when it is there;
no training and no choice uses it. Terms: for non-commercial work on image segmentation software.
"""

import argparse
import lzma
import os
import re
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

from unet_paper.command import HelpFormatter, exit_status, file_name
from unet_paper.errors import InputError
from unet_paper.files import check_writable
from unet_paper.isbi import DEFAULT_FOLDER, pixel_sha256
from unet_paper.tiff import read_stack

URL = "https://downloads.imagej.net/ISBI-2012-challenge.zip"
SHAPE = (30, 512, 512)
SHA256 = {  # of the pixels: uint8, C order
    "train-volume.tif": "200da3d452d726e6c9ca1ce04b869d4edb727320d23b516d01cce707dc8c4760",
    "train-labels.tif": "a7cb64000a1a7e542682927e19c91339f58f9f178e0bcce4e207371116f0ca36",
    "test-volume.tif": "1b58fa7ec1d0ff9d39a855622db3ff66a97863036339b0d04be51b2f5a99b0e9",
}
OPTIONAL = "test-labels.tif"
LARGEST = 100 * 2**20  # bytes of one unpacked file; the real ones have 8 MB
RETRIES = 3


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.isbi2012",
        description="Fetch the stacks of the ISBI 2012 challenge and verify every pixel: download the challenge's own "
        "archive, or copy the files from a folder that has them. Terms of the data: for non-commercial work on image "
        "segmentation software.",
        epilog="examples:\n  %(prog)s\n  %(prog)s --out data/isbi2012 --from /media/stacks",
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--out", type=file_name, default=DEFAULT_FOLDER, metavar="FOLDER", help="made if need be (default: %(default)s)"
    )
    parser.add_argument(
        "--from",
        type=file_name,
        dest="source",
        metavar="FOLDER",
        help="folder that holds the files (default: $ISBI2012_DIR)",
    )
    return exit_status(_run, parser.parse_args(argv))


def fetch(out: str | Path, source: str | Path | None = None) -> str:
    """Bring the stacks into a folder, all of them or none.

    Parameters
    ----------
    out : path-like
        Folder for the files; made if need be.
    source : path-like, optional
        Folder to copy from, whatever `out` holds. By default $ISBI2012_DIR if the files are there, else the archive is
        downloaded into `out`, where it stays for another time.

    Returns
    -------
    str
        What was done, for a person.

    Raises
    ------
    InputError
        If the files can be had from nowhere, are not the challenge's, or cannot be written.
    """
    out = Path(out)
    if source is None and all((out / name).exists() for name in SHA256):
        for name in SHA256:
            try:
                verify(out / name)
            except InputError as error:
                raise InputError(f"{error}; remove {out / name} to have it fetched anew") from error
        return f"{out} already holds the stacks, all verified; nothing to do"
    if source is None and _holds_stacks(named := Path(os.environ.get("ISBI2012_DIR") or out)):
        source = named
    if source is not None and not _holds_stacks(source := Path(source)):
        raise InputError(f"{source} is no source: it must hold {', '.join(SHA256)}")
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        check_writable(out / "train-volume.tif")
        with tempfile.TemporaryDirectory(dir=out, prefix=".unpacking-") as staging:
            names = _copy(source, Path(staging)) if source else _unpack(_download(out), Path(staging))
            for name in names:
                os.replace(Path(staging, name), out / name)
    except OSError as error:
        raise InputError(f"cannot write to {out}: {error.strerror or error}") from error
    finally:
        if is_new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
    return f"{out} now holds {', '.join(names)} from {source or URL}, verified"


def _run(arguments):
    print(fetch(arguments.out, arguments.source))


def verify(path: str | Path, name: str | Path | None = None) -> None:
    """Raise `InputError` unless the file holds the challenge's pixels.

    Of test-labels.tif, only shape and type are known. A message calls the file `name`, by default `path`.
    """
    path = Path(path)
    name = path if name is None else name
    try:
        array = read_stack(path).array
    except InputError as error:
        raise InputError(str(error).replace(str(path), str(name))) from error
    if array.shape != SHAPE or array.dtype != "uint8":
        raise InputError(f"{name} is {array.dtype} of shape {array.shape}; the challenge's is uint8 of {SHAPE}")
    found, expected = pixel_sha256(array), SHA256.get(path.name)
    if expected not in (None, found):
        raise InputError(f"{name} does not hold the challenge's pixels: their SHA-256 is {found}, expected {expected}")


def members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The wanted members of an open archive by their file name.

    Raises
    ------
    InputError
        If any member could be unpacked to outside the folder, or a stack is missing, twice there, or
        far too large.
    """
    wanted = {}
    for member in archive.infolist():
        parts = re.split(r"[/\\]", member.filename)
        if parts[0] == "" or ".." in parts or ":" in parts[0] or stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"the archive is refused: its member {member.filename!r} could leave the folder")
        if parts[-1] in (*SHA256, OPTIONAL):
            if parts[-1] in wanted or member.file_size > LARGEST:
                raise InputError(f"the archive is refused: {parts[-1]} is there twice or is far too large")
            wanted[parts[-1]] = member
    missing = [name for name in SHA256 if name not in wanted]
    if missing:
        raise InputError(f"the archive lacks {', '.join(missing)}")
    return wanted


def _holds_stacks(folder):
    return all((folder / name).is_file() for name in SHA256)


def _copy(source, folder):
    """Copy the stacks into `folder` and verify them; returns their names."""
    names = [name for name in (*SHA256, OPTIONAL) if (source / name).is_file()]
    for name in names:
        shutil.copyfile(source / name, folder / name)
        verify(folder / name, source / name)
    return names


def _download(out):
    """Path of the archive in `out`; downloaded unless it is there."""
    import pooch

    pooch.get_logger().setLevel("ERROR")  # its retries are no sentences for the user
    name = URL.rpartition("/")[2]
    archive = pooch.create(path=out, base_url=URL.removesuffix(name), registry={name: None}, retry_if_failed=RETRIES)
    try:
        return Path(archive.fetch(name, progressbar=sys.stderr.isatty()))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"cannot download {URL} ({reason}): put {', '.join(SHA256)} into {out} by hand, "
            "or name the folder that has them with --from"
        ) from error


def _unpack(path, folder):
    """Unpack the wanted members into `folder` and verify them; returns their names."""
    try:
        contents = _contents(path)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
            verify(folder / name, f"{name} of {path}")
    except InputError as error:
        raise InputError(f"{error}; remove {path} to download it anew") from error
    return list(contents)


def _contents(path):
    """Bytes of the wanted members of an archive, by their file name."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(member) for name, member in members(archive).items()}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, OSError) as error:
        raise InputError(f"{path} cannot be read, is damaged or is no archive ({error})") from error


if __name__ == "__main__":
    sys.exit(main())
