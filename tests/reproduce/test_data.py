"""The stack of a command: the data where it is, a synthetic one where figures may do without, never in place of it."""

import shutil

import numpy as np
import pytest

from data_scripts.phantom import write_phantom
from reproduce.data import load_data, load_example, with_test_labels
from unet_paper.errors import InputError
from unet_paper.isbi import pixel_sha256
from unet_paper.tiff import read_labels, read_stack, write_stack


@pytest.fixture
def copied(phantom, tmp_path):
    """A folder with the phantom to change."""
    return shutil.copytree(phantom, tmp_path / "copied")


def test_data_is_known_by_the_pixels_of_each_file(phantom, copied):
    data = load_data(phantom)
    assert set(data.sha256) == {"train-volume", "train-labels", "test-volume"}
    for name in data.sha256:
        array = read_stack(copied / f"{name}.tif").array.copy()
        array[0, 0, 0] ^= 255
        write_stack(copied / f"{name}.tif", array)
        changed = load_data(copied).sha256
        assert {other for other in changed if changed[other] != data.sha256[other]} == {name}
        shutil.copyfile(phantom / f"{name}.tif", copied / f"{name}.tif")


def test_a_network_is_known_by_the_files_it_is_trained_on(phantom):
    data = load_data(phantom)
    expected = {name: data.sha256[name] for name in ("train-volume", "train-labels")}
    assert data.training_sha256 == with_test_labels(data, phantom).training_sha256 == expected


def test_converted_pixels_are_told(copied, capsys):
    write_stack(copied / "test-volume.tif", read_stack(copied / "test-volume.tif").array.astype(np.uint16) * 257)
    load_data(copied)
    assert "note: " in capsys.readouterr().out


def test_labels_of_the_test_volume_are_its_own_and_part_of_the_data(phantom):
    data = load_data(phantom)
    assert (data.test_labels, data.test_rows) == (None, None)
    labelled = with_test_labels(data, phantom)
    stored = read_labels(phantom / "test-labels.tif").array
    np.testing.assert_array_equal(labelled.test_labels, stored > 0)
    assert labelled.test_labels.dtype == np.uint8
    assert set(np.unique(labelled.test_labels)) == {0, 1}
    assert labelled.sha256 == data.sha256 | {"test-labels": pixel_sha256(stored)}


def test_labels_may_cover_some_rows(copied):
    stored = read_labels(copied / "test-labels.tif").array
    write_stack(copied / "test-labels.tif", stored[:, 20:60])
    labelled = with_test_labels(load_data(copied), copied, (20, 59))
    assert labelled.test_rows == (20, 59)
    np.testing.assert_array_equal(labelled.test_labels, stored[:, 20:60] > 0)


@pytest.mark.parametrize("rows", [None, (0, 9), (20, 64), (-1, 40), (30, 20)])
def test_labels_that_do_not_cover_what_they_should_are_told(copied, rows):
    write_stack(copied / "test-labels.tif", read_labels(copied / "test-labels.tif").array[:, 20:60])
    with pytest.raises(InputError, match=r"must lie in 0-63|must be .* or --rows must name"):
        with_test_labels(load_data(copied), copied, rows)


def test_test_labels_that_number_cells_are_told(copied):
    write_stack(copied / "test-labels.tif", np.arange(5 * 64 * 64, dtype=np.uint16).reshape(5, 64, 64))
    with pytest.raises(InputError, match="several values other than 0"):
        with_test_labels(load_data(copied), copied)


def test_without_the_data_the_stack_is_synthetic_and_said_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    stack = load_example(n_slices=1)
    assert (stack.name, stack.images.shape, stack.images.dtype) == ("synthetic", (1, 512, 512), np.float32)
    assert set(np.unique(stack.labels)) == {0, 1}
    assert 0.5 < stack.images.max() <= 1
    assert "a synthetic stack is used" in capsys.readouterr().out


def test_the_synthetic_stack_has_no_more_slices_than_the_challenges(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISBI2012_DIR", raising=False)
    monkeypatch.setattr("reproduce.data.SLICES", 2)
    assert len(load_example(n_slices=10**6).images) == 2


def test_the_data_is_read_where_it_is_named(tmp_path, capsys):
    write_phantom(tmp_path, n_slices=3, size=64, seed=0)
    stack = load_example(tmp_path, n_slices=2)
    assert (stack.name, stack.title, stack.labels.shape) == (tmp_path.name, f"{tmp_path.name} slice", (2, 64, 64))
    assert "synthetic" not in capsys.readouterr().out


@pytest.mark.parametrize("named", ["argument", "environment"])
def test_a_folder_without_the_data_is_never_replaced(tmp_path, monkeypatch, named):
    if named == "environment":
        monkeypatch.setenv("ISBI2012_DIR", str(tmp_path))
    with pytest.raises(InputError, match=str(tmp_path)):
        load_example(tmp_path if named == "argument" else None)
