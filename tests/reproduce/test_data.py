"""The stack of figures and benchmarks: the data where it is, a synthetic one where it is not, never in place of it."""

import numpy as np
import pytest
from reproduce.stacks import load_example

from data_scripts.phantom import write_phantom
from unet_paper.errors import InputError
from unet_paper.tiff import read_stack, write_stack


def test_without_the_data_the_stack_is_synthetic_and_said_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    stack = load_example(n_slices=1)
    assert (stack.name, stack.images.shape, stack.images.dtype) == ("synthetic", (1, 512, 512), np.float32)
    assert set(np.unique(stack.labels)) == {0, 1}
    assert "a synthetic stack is used" in capsys.readouterr().out


def test_the_data_is_read_where_it_is_named(tmp_path, capsys):
    write_phantom(tmp_path, n_slices=3, size=64, seed=0)
    write_stack(tmp_path / "train-volume.tif", read_stack(tmp_path / "train-volume.tif").array.astype(np.uint16) * 257)
    stack = load_example(tmp_path, n_slices=2)
    assert (stack.name, stack.labels.shape) == ("ISBI", (2, 64, 64))
    assert capsys.readouterr().out.count("16-bit") == 1


@pytest.mark.parametrize("named", ["argument", "environment"])
def test_a_folder_without_the_data_is_never_replaced(tmp_path, monkeypatch, named):
    if named == "environment":
        monkeypatch.setenv("ISBI2012_DIR", str(tmp_path))
    with pytest.raises(InputError, match=str(tmp_path)):
        load_example(tmp_path if named == "argument" else None)
