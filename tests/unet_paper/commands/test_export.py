"""``unet-paper export``: what it writes, and one sentence for what it cannot."""

import sys

import pytest
from small_commands import network_file, unet_paper_fails

from unet_paper import __main__ as commands
from unet_paper import export as packages


def test_the_network_and_its_metadata_are_exported(folder, capsys, monkeypatch):
    given = []
    monkeypatch.setattr(packages, "export", lambda *arguments: given.append(arguments))
    network_file("net.safetensors", 2)
    assert commands.main(["export", "unet.zip", "--weights", "net.safetensors"]) == 0
    ((path, model, metadata),) = given
    assert (str(path), model.config.base_channels, metadata["image_mean"]) == ("unet.zip", 2, 0.55)
    assert capsys.readouterr().out == "wrote unet.zip\n"


@pytest.mark.parametrize("missing", ["bioimageio.spec", "onnx", "onnxscript"])
def test_without_the_extra_it_is_named(folder, capsys, monkeypatch, missing):
    network_file("net.safetensors", 2)
    monkeypatch.setitem(sys.modules, missing, None)
    told = unet_paper_fails(capsys, "export", "unet.zip", "--weights", "net.safetensors")
    assert "the extra unet-paper[export]" in told


@pytest.mark.parametrize(
    ("package", "weights", "message"),
    [
        ("unet.zip", "none.safetensors", "none.safetensors does not exist"),
        ("unet.zip", "other.safetensors", "other.safetensors is not a safetensors file"),
        ("none/unet.zip", "other.safetensors", "cannot write none/unet.zip"),
        ("other.safetensors", "other.safetensors", "which is read"),
    ],
)
def test_weights_and_places_that_are_none_are_told(folder, capsys, package, weights, message):
    assert message in unet_paper_fails(capsys, "export", package, "--weights", weights)
