"""The network in the package: whole, known, and refused where it is damaged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_scripts.phantom import make_phantom
from unet_paper import trained
from unet_paper.errors import InputError
from unet_paper.predict import predict_stack
from unet_paper.trained import checked_weights, pretrained, pretrained_metadata, voxel_size_note

CROP = Path(__file__).with_name("pretrained_crop.npy")
KNOWN = ("title", "command", "commit", "date", "device", "seconds", "data", "recipe", "seed", "voxel_nm", "held_out")


@pytest.fixture
def copied(monkeypatch, tmp_path):
    """The weights of the package and their sum, in a folder of the test."""
    for suffix in (".safetensors", ".sha256"):
        (tmp_path / f"pretrained{suffix}").write_bytes(trained.WEIGHTS.with_suffix(suffix).read_bytes())
    monkeypatch.setattr(trained, "WEIGHTS", tmp_path / "pretrained.safetensors")
    return trained.WEIGHTS


def crop():
    """A synthetic slice, so that no data of the challenge is needed; `CROP` is its map by the network.

    Of a new network: ``np.save(CROP, predict_stack(model, crop(), precision="float32", **statistics).astype("f2"))``.
    """
    images, _ = make_phantom(1, 96, 80, seed=7)
    return images.astype(np.float32) / 255


def test_the_network_in_the_package_predicts_what_it_did_when_it_was_put_there():
    model, metadata = pretrained()
    statistics = {"mean": metadata["image_mean"], "std": metadata["image_std"]}
    found = predict_stack(model, crop(), precision="float32", **statistics)
    assert np.ptp(found) > 0.5
    np.testing.assert_allclose(found, np.load(CROP).astype(np.float32), atol=2e-3)


def test_what_is_known_of_it_is_whole():
    _, metadata = pretrained()
    assert metadata == pretrained_metadata()
    assert {*KNOWN} <= metadata.keys()
    assert set(metadata["data"]) == {"train-volume", "train-labels"}
    held_out = metadata["held_out"]
    assert 0 < held_out["thresholds"]["v_rand"] < 1
    assert held_out["scores"]["v_rand"] > 0.8
    assert len(held_out["slices"]) + held_out["train_slices"] == 30


def test_what_is_known_of_it_is_read_without_torch():
    code = "import sys; from unet_paper.trained import pretrained_metadata as m; m(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("place", [20, -1])
def test_a_flipped_byte_is_refused_with_the_expected_sum(copied, place):
    content = bytearray(copied.read_bytes())
    content[place] ^= 1
    copied.write_bytes(content)
    expected = copied.with_suffix(".sha256").read_text().split()[0]
    for read in (pretrained, pretrained_metadata):
        with pytest.raises(InputError, match=f"is damaged: its SHA-256 must be {expected}"):
            read()


@pytest.mark.parametrize("suffix", [".safetensors", ".sha256"])
def test_a_missing_file_is_one_sentence(copied, suffix):
    copied.with_suffix(suffix).unlink()
    with pytest.raises(InputError, match="the package lacks its trained network"):
        checked_weights()


def test_the_sum_is_in_the_form_of_sha256sum(copied):
    subprocess.run(["sha256sum", "-c", "pretrained.sha256"], cwd=copied.parent, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("size", "unit", "far"),
    [
        ((50, 4, 4), "nm", None),
        ((50, 5.9, 2.7), "nm", None),
        ((50, 6.1, 4), "nm", "6.1 x 4"),
        ((50, 4, 2.6), "nm", "4 x 2.6"),
        ((0.05, 0.004, 0.004), "µm", None),
        ((0.05, 0.01, 0.01), "micrometer", "10 x 10"),
        ((500, 40, 40), "Å", None),
        ((50, 0, 4), "nm", None),
        ((50, float("inf"), 4), "nm", None),
        ((1, 1, 1), "pixel", None),
        ((1, 1, 1), None, None),
        (None, None, None),
    ],
)
def test_pixels_of_another_size_are_told_with_both_sizes(size, unit, far):
    sentence = voxel_size_note("stack.tif", size, unit, {"voxel_nm": [50, 4, 4]})
    assert (sentence is None) == (far is None)
    assert far is None or f"pixels of stack.tif are {far} nm, but the network was trained on 4 x 4 nm" in sentence


def test_weights_that_do_not_say_their_pixel_size_are_compared_with_nothing():
    for unknown in ({}, {"voxel_nm": None}, {"voxel_nm": [0, 0, 0]}):
        assert voxel_size_note("stack.tif", (1, 1, 1), "mm", unknown) is None
