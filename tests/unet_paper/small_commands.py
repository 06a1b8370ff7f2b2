"""A small stack, weights for it, and what a command that must fail tells."""

from pathlib import Path

import pytest

from data_scripts.phantom import make_phantom
from unet_paper import __main__ as commands

IMAGES, LABELS = make_phantom(2, 48, 40, seed=0)


def fails(capsys, command, *arguments):
    """The sentence of a command that must fail with status 2 and write nothing."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert command([str(argument) for argument in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return lines[0]


def unet_paper_fails(capsys, *arguments):
    return fails(capsys, commands.main, *arguments)


def network_file(path, base_channels, about=None, **sizes):
    """Weights of an untrained network, and what is `about` it."""
    torch = pytest.importorskip("torch")
    from unet_paper.checkpoint import save_weights
    from unet_paper.model import UNet

    torch.manual_seed(0)
    metadata = {"image_mean": 0.55, "image_std": 0.13, **(about or {})}
    save_weights(path, UNet(base_channels=base_channels, **sizes), metadata)
