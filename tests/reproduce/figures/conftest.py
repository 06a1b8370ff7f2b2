"""What the tests of the figures share: commands run on the synthetic slice, and a limit on the size of a file."""

import pytest

from reproduce.__main__ import parser

LIMIT = 600_000  # bytes


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """An empty current folder without the data, and the one below it where commands put figures."""
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "figures"


@pytest.fixture
def run(figures):
    """Run the command of a module as `python -m reproduce` does; returns what it does."""

    def run(module, *words):
        name = module.__name__.split(".")[-1]
        arguments = parser(name).parse_args([name, *words, "--out", str(figures.parent)])
        arguments.device = "cpu"
        status = module.run(arguments)
        assert all(path.stat().st_size < LIMIT for path in figures.iterdir())
        return status

    return run
