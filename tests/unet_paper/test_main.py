"""``python -m unet_paper``: its help, its version, and the name it is called by."""

import sys

import pytest

import unet_paper
from unet_paper import __main__ as commands


@pytest.mark.parametrize("command", ["weight-map", "score", "predict", "segment", "export"])
def test_help_says_what_files_may_be_shows_examples_and_every_default(capsys, command):
    with pytest.raises(SystemExit):
        commands.main([command, "--help"])
    shown = capsys.readouterr().out
    assert f"examples:\n  python -m unet_paper {command} " in shown or f" {command} " in shown.partition("examples:")[2]
    assert "None" not in shown
    assert "`" not in shown
    words = " ".join(shown.split()) + " "
    network = "of the packaged network's recipe, the best on held-out slices"
    defaults = {"weight-map": ["10", "5"], "score": ["all"], "predict": ["auto", "eight"], "segment": [network]}
    for default in defaults.get(command, []):
        assert f"default: {default})" in words or f"default: {default} " in words


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(["--version"])
    assert (end.value.code, capsys.readouterr().out) == (0, f"unet-paper {unet_paper.__version__}\n")


@pytest.mark.parametrize(
    ("script", "shown"), [("/usr/bin/unet-paper", "unet-paper"), ("unet_paper/__main__.py", "python -m unet_paper")]
)
def test_the_usage_is_that_of_how_it_was_called(monkeypatch, script, shown):
    monkeypatch.setattr(sys, "argv", [script])
    assert commands.parser().format_usage().startswith(f"usage: {shown} [-h]")
