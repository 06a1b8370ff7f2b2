"""The phantom is deterministic, in the challenge's format, and not to be solved by a threshold."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from small_commands import fails

from data_scripts import isbi2012
from data_scripts import phantom as write_phantom
from data_scripts.phantom import make_phantom
from unet_paper import metrics
from unet_paper.errors import InputError
from unet_paper.tiff import read_stack
from unet_paper.weight_map import cells_from_membranes


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(3, 512, 512, seed=1)


def test_the_same_seed_gives_the_same_stack_and_another_seed_another():
    first, again, other = (make_phantom(2, 96, 80, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).mean() > 0.9


def test_it_has_the_format_of_the_challenge(phantom):
    for stack in phantom:
        assert (stack.shape, stack.dtype) == ((3, 512, 512), np.uint8)
    assert np.unique(phantom[1]).tolist() == [0, 255]


def test_it_has_about_as_many_cells_and_as_much_membrane_as_the_real_stack(phantom):
    labels = phantom[1]
    for cells in cells_from_membranes(labels):
        assert 80 < cells.max() < 170
    assert 0.12 < (labels == 0).mean() < 0.25


def test_cells_differ_in_size(phantom):
    sizes = np.bincount(cells_from_membranes(phantom[1])[0].ravel())[1:]
    assert sizes.std() > 0.5 * sizes.mean()


def test_neighbouring_slices_resemble_each_other_more_than_distant_ones():
    labels = make_phantom(9, 256, 256, seed=2)[1] == 0
    agreement = [(labels[0] & labels[z]).sum() / labels[0].sum() for z in (1, 8)]
    assert 0.9 > agreement[0] > 1.5 * agreement[1]


@pytest.mark.parametrize("blur", [0, 1, 2, 3])
def test_no_threshold_on_gray_values_segments_it(phantom, blur):
    images, labels = phantom
    gray = np.stack([gaussian_filter(image.astype(np.float32), blur) for image in images])
    stretched = np.clip((gray - 60) / 130, 0, 1)  # the eleven thresholds fall on the gray values that occur
    assert metrics.v_rand(labels, stretched).value < 0.85


@pytest.mark.parametrize("shape", [(0, 64, 64), (1, 31, 64), (1, 64, 31)])
def test_a_stack_too_small_is_refused(shape):
    with pytest.raises(InputError, match="too small"):
        make_phantom(*shape, seed=0)


@pytest.mark.parametrize("seed", range(20))
def test_the_smallest_stack_has_dark_membranes(seed):
    images, labels = make_phantom(1, 32, 32, seed=seed)
    assert images.shape == labels.shape == (1, 32, 32)
    membrane = labels == 0
    assert not membrane.any() or images[membrane].mean() < images[~membrane].mean()


def test_a_slice_of_one_cell_has_no_membrane(monkeypatch):
    monkeypatch.setattr("data_scripts.phantom._borders", lambda cells: np.zeros(cells.shape, bool))
    images, labels = make_phantom(2, 32, 32, seed=0)
    assert (labels == 255).all()
    assert images.std(axis=0).max() > 0


def test_the_phantom_script_writes_the_challenges_four_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_phantom.main(["--out", "made", "--slices", "2", "--size", "32", "--seed", "3"]) == 0
    assert sorted(os.listdir("made")) == sorted([*isbi2012.SHA256, isbi2012.OPTIONAL])
    train, test = (read_stack(f"made/{part}-volume.tif") for part in ("train", "test"))
    assert (train.array != test.array).any()
    assert (train.voxel_size, train.unit) == ((50, 4, 4), "nm")
    assert write_phantom.main(["--out", "again", "--slices", "2", "--size", "32", "--seed", "3"]) == 0
    np.testing.assert_array_equal(read_stack("again/train-volume.tif").array, train.array)


@pytest.mark.parametrize("name", [*isbi2012.SHA256, isbi2012.OPTIONAL])
def test_the_phantom_script_replaces_no_stack(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("the challenge's")
    assert f"already holds {name}" in fails(capsys, write_phantom.main, "--out", ".", "--slices", "1", "--size", "32")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the challenge's"]


def test_the_phantom_script_tells_bad_sizes_seeds_and_places(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    for arguments, message in [
        (["--out", "made", "--slices", "0"], "too small"),
        (["--out", "made", "--size", "3"], "too small"),
        (["--out", "made", "--seed", "-1"], "seed -1"),
        (["--out", "a-file", "--size", "32", "--slices", "1"], "cannot make"),
    ]:
        assert message in fails(capsys, write_phantom.main, *arguments)
    assert not Path("made").exists()
