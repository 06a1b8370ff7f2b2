"""What the tests of the figures share: commands run on the synthetic slice, and a limit on the size of a file."""

import argparse

import pytest

LIMIT = 600_000  # bytes


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """An empty current folder without the data, and the one below it where commands put figures."""
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "figures"


@pytest.fixture
def run(figures):
    """Run the command of a module as `python -m reproduce` does; returns its exit status."""

    def run(module, *words):
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        common = {"data": None, "device": "cpu", "seed": 0, "out": figures.parent}
        status = module.run(argparse.Namespace(**common, **vars(parser.parse_args(words))))
        assert all(path.stat().st_size < LIMIT for path in figures.iterdir())
        return status

    return run
