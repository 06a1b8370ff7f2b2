"""The folder that the commands are called in."""

import pytest
from small_commands import IMAGES, LABELS

from unet_paper.tiff import write_stack


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a stack, its labels and a trained network's weights that are none."""
    write_stack(tmp_path / "images.tif", IMAGES, voxel_size=(50, 4, 4), unit="nm")
    write_stack(tmp_path / "labels.tif", LABELS, voxel_size=(50, 4, 4), unit="nm")
    (tmp_path / "other.safetensors").write_bytes(b"not safetensors at all")
    monkeypatch.chdir(tmp_path)
    return tmp_path
