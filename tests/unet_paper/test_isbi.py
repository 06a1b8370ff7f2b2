"""The challenge's folder is found and read whole, and the folds hold every slice out once."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from unet_paper.errors import InputError
from unet_paper.isbi import find_data, folds, load_isbi, pixel_sha256
from unet_paper.tiff import write_stack

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 24, 32), dtype=np.uint8)


def isbi_like(folder, labels=None):
    write_stack(folder / "train-volume.tif", GRAY)
    write_stack(folder / "train-labels.tif", np.where(GRAY > 90, 255, 0).astype(np.uint8) if labels is None else labels)
    write_stack(folder / "test-volume.tif", GRAY[:, ::-1])
    return folder


def test_a_folder_in_the_challenges_format_is_loaded(tmp_path):
    data = load_isbi(isbi_like(tmp_path))
    np.testing.assert_array_equal(data.images, GRAY / np.float32(255))
    np.testing.assert_array_equal(data.labels, GRAY > 90)
    np.testing.assert_array_equal(data.test_images, data.images[:, ::-1])
    assert data.sha256["train-volume"] == pixel_sha256(GRAY)
    assert (data.notes, data.folder) == ((), tmp_path)


def test_a_stack_that_was_scaled_is_noted(tmp_path):
    write_stack(isbi_like(tmp_path) / "test-volume.tif", GRAY.astype(np.uint16))
    (note,) = load_isbi(tmp_path).notes
    assert "test-volume.tif has 16-bit pixels" in note
    tifffile.imwrite(tmp_path / "train-labels.tif", np.where(GRAY > 90, 0, 255).astype(np.uint8), photometric=0)
    assert "train-labels.tif says that 0 is white" in load_isbi(tmp_path).notes[0]
    np.testing.assert_array_equal(load_isbi(tmp_path).labels, GRAY > 90)


def test_numbered_cells_are_no_labels_to_train_with(tmp_path):
    cells = np.where(GRAY > 90, GRAY % 3, 0).astype(np.uint8)
    with pytest.raises(InputError, match=r"train-labels\.tif has 2 values other than 0"):
        load_isbi(isbi_like(tmp_path, labels=cells))
    np.testing.assert_array_equal(load_isbi(isbi_like(tmp_path, labels=np.uint8(7) * (cells > 0))).labels, cells > 0)


def test_training_images_and_labels_must_fit(tmp_path):
    with pytest.raises(InputError, match="they must be the same"):
        load_isbi(isbi_like(tmp_path, labels=GRAY[1:]))


def test_the_real_data_is_30_slices_of_512_with_about_a_fifth_of_membrane(isbi_folder):
    data = load_isbi(isbi_folder)
    assert data.images.shape == data.labels.shape == data.test_images.shape == (30, 512, 512)
    assert data.images.dtype == data.test_images.dtype == np.float32
    assert np.unique(data.labels).tolist() == [0, 1]
    assert 0.15 < (data.labels == 0).mean() < 0.3


def test_the_folder_is_the_argument_then_the_environment_then_the_default(tmp_path, monkeypatch):
    for name in ("a", "b", "data/isbi2012"):
        (tmp_path / name).mkdir(parents=True)
        isbi_like(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISBI2012_DIR", "b")
    assert find_data("a") == Path("a")
    assert find_data() == Path("b")
    monkeypatch.delenv("ISBI2012_DIR")
    assert find_data() == Path("data/isbi2012")
    with pytest.raises(InputError, match=r"none lacks train-volume\.tif.*data_scripts\.isbi2012"):
        find_data("none")


@pytest.mark.parametrize(("n_slices", "n_folds"), [(30, 5), (10, 3), (4, 4)])
def test_folds_are_contiguous_and_hold_out_every_slice_once(n_slices, n_folds):
    made = folds(n_slices, n_folds)
    assert [s for fold in made for s in fold.held_out] == list(range(n_slices))
    for fold in made:
        assert sorted(fold.train + fold.held_out) == list(range(n_slices))
    assert max(len(f.held_out) for f in made) - min(len(f.held_out) for f in made) <= 1


def test_the_five_folds_have_six_slices():
    assert [fold.held_out[0] for fold in folds()] == [0, 6, 12, 18, 24]


@pytest.mark.parametrize(("n_slices", "n_folds"), [(3, 4), (30, 1), (0, 0)])
def test_impossible_folds_are_refused(n_slices, n_folds):
    with pytest.raises(InputError, match="cannot split"):
        folds(n_slices, n_folds)
