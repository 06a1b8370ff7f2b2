"""Whatever ends a command is told in one sentence and by its exit status, and leaves nothing half-written."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unet_paper.__main__ import COMMANDS
from unet_paper.command import command_line, exit_status, whole
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss

ROOT = Path(__file__).resolve().parents[2]
TORCH = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


def run_python(*arguments, **options):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, **options)


def raise_(error):
    raise error


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_returns_is_its_status(returned, status):
    assert exit_status(lambda *arguments: returned, 1, 2) == status


ENDS = {
    "input": (InputError("w0 is -1"), 2, "error: w0 is -1\n"),
    "system": (OSError(28, "No space left on device", "a"), 2, "error: [Errno 28] No space left on device: 'a'\n"),
    "loss": (NonFiniteLoss("the loss is NaN"), 2, "error: the loss is NaN\n"),
    "Python": (MemoryError(), 2, "error: not enough memory: MemoryError\n"),
    "torch": (
        RuntimeError(f"{TORCH} 9 bytes.\nmore"),
        2,
        "memory: can't allocate memory: you tried to allocate 9 bytes\n",
    ),
    "CUDA": (RuntimeError("CUDA out of memory. Tried."), 2, "error: not enough memory: CUDA out of memory. Tried\n"),
    "Ctrl-C": (KeyboardInterrupt(), 130, ""),
    "stopped": (
        Interrupted("stopped after step 3 of 9"),
        130,
        "stopped after step 3 of 9; the same command continues\n",
    ),
}


@pytest.mark.parametrize(("error", "status", "told"), ENDS.values(), ids=ENDS)
def test_what_goes_wrong_is_one_sentence_and_a_status(capsys, error, status, told):
    assert exit_status(raise_, error) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith(told)
    assert len(printed.err.splitlines()) == len(told.splitlines())


def test_sizes_beyond_any_memory_are_no_memory(capsys):
    assert exit_status(np.zeros, (10**10, 10**10)) == 2
    assert exit_status(np.zeros, 10**14) == 2
    assert capsys.readouterr().err.count("error: not enough memory: ") == 2


@pytest.mark.parametrize(
    "error", [RuntimeError("sizes differ"), ValueError("no such"), AssertionError(), SystemExit(2)]
)
def test_faults_of_the_program_are_not_hidden(error):
    with pytest.raises(type(error)):
        exit_status(raise_, error)


WARNS = """
import warnings
from unet_paper.command import exit_status
from unet_paper.errors import LabelWarning
def run():
    for _ in range(3):
        warnings.warn("cells touch", LabelWarning)
    warnings.warn("other")
exit_status(run)
"""


def test_doubtful_labels_are_noted_once_and_other_warnings_stay_warnings():
    note, *others = run_python("-c", WARNS).stderr.splitlines()
    assert note == "note: cells touch"
    assert len(others) == 1
    assert others[0].endswith("UserWarning: other")


TERMINATED = """
import os, signal, sys
from unet_paper.command import exit_status
from unet_paper.files import atomic_write
def run():
    with atomic_write(sys.argv[1]) as temporary:
        temporary.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
sys.exit(exit_status(run))
"""


def test_a_command_asked_to_end_leaves_nothing_half_written(tmp_path):
    ended = run_python("-c", TERMINATED, tmp_path / "a", timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")
    assert not list(tmp_path.iterdir())


def test_the_signal_is_served_by_others_before_and_after():
    for before in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGTERM, before)
        exit_status(print)
        assert signal.getsignal(signal.SIGTERM) == before


PRINTS = "import sys; from unet_paper.command import exit_status; sys.exit(exit_status(print, 'line ' * 10**6))"


@pytest.mark.parametrize("arguments", [["-c", PRINTS], ["-m", "unet_paper", "--help"]])
def test_a_reader_that_leaves_is_no_error(arguments):
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}  # else argparse itself is silent, and the status of its help 0
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=buffered, **pipe) as shown:
        shown.stdout.close()
        assert shown.stderr.read() == b""
        assert shown.wait(60) == 1


INTERRUPTED = """
import builtins, runpy, sys
real = builtins.__import__
def interrupted(name, *rest, **named):
    if name == "numpy":
        raise KeyboardInterrupt
    return real(name, *rest, **named)
builtins.__import__ = interrupted
sys.argv = ["unet_paper", "weight-map", "labels.tif", "weights.tif"]
runpy.run_module("unet_paper", run_name="__main__")
"""


def test_an_interrupt_while_packages_are_imported_is_quiet():
    ended = run_python("-c", INTERRUPTED)
    assert (ended.returncode, ended.stderr) == (130, "")


HELP = """
import sys
from contextlib import suppress
from unet_paper.__main__ import COMMANDS, main
for words in (["--help"], *([name, "--help"] for name in COMMANDS)):
    with suppress(SystemExit):
        main(words)
sys.exit(", ".join({"numpy", "torch", "tqdm", "importlib.metadata"} & {*sys.modules}) or 0)
"""


def test_help_imports_nothing_that_takes_time():
    shown = run_python("-c", HELP)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.count("usage: python -m unet_paper") == 1 + len(COMMANDS)


def test_the_help_of_a_command_is_the_docstring_of_its_module(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    top, _ = command_line("p", None, {"made": {"a": "unet_paper.commands.score"}}, "")
    assert top.format_help().endswith(
        "made:\n  a            The five metrics of the challenge, at their best thresholds.\n"
    )
    _, command = command_line("p", None, {"made": {"a": "unet_paper.commands.score"}}, "a")
    shown = command.format_help()
    assert "The five metrics of the challenge, at their best\nthresholds.\n\nBoth stacks have the same slices" in shown
    assert shown.endswith(
        "examples:\n  p a train-labels.tif probability.tif\n  p a train-labels.tif probability.tif --slices 24-29\n"
    )


@pytest.mark.parametrize("module", ["unet_paper", "data_scripts.isbi2012", "data_scripts.phantom"])
@pytest.mark.parametrize("options", [[], ["-OO"]])
def test_each_command_shows_its_help_as_a_module_also_without_docstrings(module, options):
    shown = run_python(*options, "-m", module, "--help", check=True)
    assert f"usage: python -m {module}" in shown.stdout
    assert "`" not in shown.stdout


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("9223372036854775807", 2**63 - 1)])
def test_whole_numbers_are_read(text, value):
    assert whole(0)(text) == value


@pytest.mark.parametrize(
    ("text", "limit"), [("0", "at least 1"), ("9223372036854775808", "at most 9223372036854775807")]
)
def test_whole_numbers_beyond_their_range_are_told(text, limit):
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} must be {limit}"):
        whole(1)(text)
