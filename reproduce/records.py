"""Records: one JSON line for each measurement, with everything needed to trace and repeat it.

A file of records is append only; tables are rendered from it and from nothing else.
"""

import ctypes
import json
import math
import os
import platform
import resource
import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from unet_paper.errors import InputError
from unet_paper.files import lock, make_folder

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"  # what is published
RUNS = ROOT / "runs"  # what a user runs, ignored by git
EXPERIMENTS = ("table1", "quick", "sweep", "ablations", "learning-curve", "systems", "benchmark", "pretrained")
SCORES = ("warping_error", "rand_error", "pixel_error", "v_rand", "v_info")
PROVENANCE = ("command", "commit", "config", "seed", "data", "device", "versions", "date", "wall_seconds", "peak_bytes")
LATER = ("device_kind",)  # of the provenance, absent in early records
PACKAGES = ("numpy", "scipy", "scikit-image", "numba", "torch")


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes
    ----------
    experiment : str
        One of `EXPERIMENTS`.
    name : str
        The row: a method, a variant, a benchmarked operation.
    conditions : dict
        What tells rows of the same name apart: folds, slices, seeds, rotations, steps, batch, ...
    scores : dict
        Metric to value, keys from `SCORES`; empty for benchmarks.
    details : dict
        What explains the scores: thresholds, V_Rand of each slice, its precision and recall, merge and split pixels.
    measures : dict
        Other figures, each name ending in its unit: train_seconds, parameters_count, ...
    prediction : str or None
        Path, below results/, of the stored map that has these scores.
    provenance : dict
        Keys of `PROVENANCE`; made by `provenance`.
    """

    experiment: str
    name: str
    conditions: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)
    measures: dict = field(default_factory=dict)
    prediction: str | None = None
    provenance: dict = field(default_factory=dict)
    details: dict = field(default_factory=dict)


KINDS = {str: "a text", dict: "a dictionary", str | None: "a path or null"}


def validate(record):
    """Raise `InputError` naming what is wrong with a record."""
    for one in fields(Record):
        if not isinstance(value := getattr(record, one.name), one.type):
            raise InputError(f"{one.name} must be {KINDS[one.type]}, not {str(value)[:40]}")
    for name, value in (record.scores | record.measures).items():
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise InputError(f"{name} must be a finite number, not {str(value)[:40]}")
    if record.experiment not in EXPERIMENTS:
        raise InputError(f"experiment {record.experiment!r} is none of {', '.join(EXPERIMENTS)}")
    unknown = sorted(set(record.scores) - set(SCORES))
    if unknown:
        raise InputError(f"scores {', '.join(unknown)} are none of {', '.join(SCORES)}")
    known = PROVENANCE + LATER
    for what, have, want in (("lacks", PROVENANCE, record.provenance), ("has unknown", record.provenance, known)):
        odd = sorted(set(have) - set(want))
        if odd:
            raise InputError(f"the provenance of {record.name!r} {what} {', '.join(odd)}")


def append(record, path):
    """Validate `record` and add it as one line to the file at `path`."""
    validate(record)
    path = Path(path)
    make_folder(path.parent)
    line = json.dumps(asdict(record), sort_keys=True, allow_nan=False)
    try:
        with open(path, "ab+", buffering=0) as file:
            lock(file)  # until it is closed: a second writer waits
            before = file.seek(0, os.SEEK_END)
            file.seek(max(before - 1, 0))
            ended = b"" if file.read() in (b"", b"\n") else b"\n"
            try:
                left = ended + line.encode() + b"\n"
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                with suppress(OSError):
                    os.truncate(path, before)  # no half line, or the file could not be read again
                raise
    except OSError as error:
        raise InputError(f"cannot append to {path}: {error.strerror}") from error


def read(path):
    """All records of the file at `path`, in order; none if there is no file."""
    path = Path(path)
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            record = Record(**parse(line))
            validate(record)
        except (TypeError, InputError) as error:
            raise InputError(f"line {number} of {path} is not a record: {error}") from error
        records.append(record)
    return records


def parse(content):
    """What the JSON in some bytes says; `InputError` with the reason if they are none.

    Examples
    --------
    >>> parse(b'{"a": \\xe9}')
    Traceback (most recent call last):
    unet_paper.errors.InputError: it is not UTF-8 text
    """
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError("it is not UTF-8 text") from error
    except RecursionError as error:
        raise InputError("it is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"it is not JSON: {str(error)[:100]}") from error


def provenance(*, config, seed, data, device, wall_seconds, peak_bytes=None, commit=None, command=None):
    """Where a number comes from: what ran, on what, from which state of the code and data.

    `config` is JSON-able, `data` maps names to SHA-256 of pixels, `device` is a torch device or its name.
    """
    return {
        "command": command or command_line(),
        "commit": commit or commit_id(),
        "config": config,
        "seed": seed,
        "data": data,
        "device": device_name(device),
        "device_kind": "cuda" if str(device).startswith("cuda") else "cpu",
        "versions": versions(),
        "date": now(),
        "wall_seconds": round(wall_seconds, 3),
        "peak_bytes": peak_bytes if peak_bytes is not None else peak_memory(device),
    }


def command_line():
    """The command that runs, as a user types it."""
    return f"python -m reproduce {shlex.join(sys.argv[1:])}"


def now():
    """The time of day in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def versions():
    """Versions of Python and the packages that numbers depend on."""
    names = PACKAGES + (("monai",) if find_spec("monai") else ())
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def commit_id():
    """The commit of the checkout, with "+" when Python files differ from it, unless REPRODUCE_COMMIT says it."""
    if "REPRODUCE_COMMIT" in os.environ:
        return os.environ["REPRODUCE_COMMIT"]

    def git(*words):
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def device_name(device):
    """The device in words: the GPU's name, or the processor's with the number of cores in use."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    names = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.machine()}, {cores} cores"


def reset_peak_memory(device):
    """Let `peak_memory` count from here, where the system can."""
    if str(device).startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    else:
        if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
            trim(0)  # what `unet_paper.device.keep_freed_memory` has kept
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory(device):
    """Most memory used since `reset_peak_memory`, in bytes: a GPU's own, or the process's resident set on a CPU."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
