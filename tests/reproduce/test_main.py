"""The command line: quick to answer, and one sentence for whatever stops it."""

import importlib
import os
import re
import subprocess
import sys

import pytest

from reproduce import __main__ as commands
from reproduce import publish
from reproduce.records import ROOT
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss

CPU_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000000 bytes."


def python(*words, **options):
    return subprocess.run([sys.executable, *words], cwd=ROOT, text=True, stderr=subprocess.PIPE, **options)


HELP = """
import sys
from reproduce.__main__ import main
for words in (["--help"], *([name, "--help"] for name in sys.argv[1:])):
    try:
        main(words)
    except SystemExit as stopped:
        assert stopped.code == 0
sys.exit(", ".join({"torch", "numba", "scipy", "matplotlib"} & set(sys.modules)) or 0)
"""


def test_help_needs_none_of_the_large_packages():
    told = python("-c", HELP, "table1", "quick", "sweep", "publish", stdout=subprocess.PIPE)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.count("usage: python -m reproduce") == 5


def test_help_lists_every_command():
    text = commands.parser("").format_help()
    for name, module in commands.COMMANDS.items():
        words = importlib.import_module(module).__doc__.splitlines()[0]
        assert f"\n  {name:12} {words.replace('`', '')}\n" in f"{text}\n"


def test_without_docstrings_the_commands_run():
    told = python("-OO", "-m", "reproduce", "table1", "--help", stdout=subprocess.PIPE)
    assert (told.returncode, told.stderr) == (0, "")
    assert "--final" in told.stdout
    assert python("-OO", "-m", "reproduce", "--help", stdout=subprocess.PIPE).returncode == 0


STOPPED = """
import runpy, sys

where = sys.argv[1]

class Stop:
    def find_spec(name, *_):
        if name == where:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stop)
sys.argv[1:] = ["table1", "--device", "cpu"]
runpy.run_module("reproduce", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["reproduce.records", "reproduce.table1", "torch"])
def test_an_interrupt_while_importing_is_quiet(module):
    told = python("-c", STOPPED, module, stdout=subprocess.PIPE)
    assert (told.returncode, told.stdout, told.stderr) == (130, "", "")


PRINTS = """
import sys
from reproduce import __main__, publish
publish.run = lambda arguments: print("three records")
sys.exit(__main__.main(["publish"]))
"""


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the end", "at once"])
def test_a_reader_that_has_gone_is_no_error_to_be_told(unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        told = python("-c", PRINTS, stdout=writer, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(writer)
    assert (told.returncode, told.stderr) == (1, "")


@pytest.fixture
def stopped(monkeypatch, capsys, tmp_path):
    """Run a command that raises an error; returns the exit status and what was told."""

    def run(error, *more):
        def raising(arguments):
            raise error

        monkeypatch.setattr(publish, "run", raising)
        status = commands.main(["publish", "--out", str(tmp_path), *more])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("the seed is -1"), "the seed is -1"),
        (NonFiniteLoss("the loss is not finite at step 3"), "the loss is not finite at step 3"),
        (PermissionError(13, "Permission denied", "runs"), "[Errno 13] Permission denied: 'runs'"),
        (MemoryError("Unable to allocate 7.11 PiB"), "not enough memory: Unable to allocate 7.11 PiB"),
        (MemoryError(), "not enough memory: MemoryError"),
        (RuntimeError(CPU_MEMORY), f"not enough memory: {CPU_MEMORY.split(': ', 1)[1].rstrip('.')}"),
        (RuntimeError("CUDA out of memory. Tried"), "not enough memory: CUDA out of memory. Tried"),
    ],
)
def test_an_error_is_one_sentence(stopped, error, words):
    assert stopped(error) == (2, f"error: {words}\n")


def test_an_error_of_the_program_itself_is_not_hidden(stopped):
    with pytest.raises(RuntimeError, match="sizes differ"):
        stopped(RuntimeError("sizes differ"))


def test_an_interrupt_is_quiet(stopped):
    assert stopped(KeyboardInterrupt()) == (130, "")


def test_a_stopped_training_says_how_to_go_on(stopped):
    assert stopped(Interrupted("stopped after step 3 of 9")) == (
        130,
        "stopped after step 3 of 9; the same command continues\n",
    )


def test_a_stopped_training_goes_on_without_the_option_that_starts_anew(tmp_path, monkeypatch, capsys):
    from reproduce import table1

    def raising(arguments):
        raise Interrupted("stopped after step 3 of 9")

    monkeypatch.setattr(table1, "run", raising)
    for option, told in (
        ("--resume", "continues\n"),
        ("--no-resume", "the same command without --no-resume continues\n"),
    ):
        assert commands.main(["table1", "--out", str(tmp_path), "--device", "cpu", option]) == 130
        assert capsys.readouterr().err.endswith(told)


@pytest.mark.parametrize("words", [[], ["nothing"], ["--seed", "3"], ["publish", "--device", "cpu"]])
def test_words_that_are_no_command_or_option_are_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(words)
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_a_command_has_the_shared_options_that_it_reads_and_no_others(name):
    source = (ROOT / f"{commands.COMMANDS[name].replace('.', '/')}.py").read_text(encoding="utf-8")
    shared = {"data": commands.WITH_DATA, "device": commands.WITH_DEVICE, "seed": commands.WITH_SEED}
    assert {o for o in shared if name in shared[o]} == {o for o in shared if re.search(rf"arguments\.{o}\b", source)}
