"""Prediction: averages over rotations, weights files, and what is refused."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import ndimage

from unet_paper.checkpoint import load_weights, save_weights
from unet_paper.device import choose_device
from unet_paper.errors import InputError
from unet_paper.model import UNet
from unet_paper.predict import average_of_eight, average_of_seven, predict_stack, rotate

METADATA = {"image_mean": 0.4, "image_std": 0.2}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return UNet(base_channels=2).eval()


def predict(model, images, **options):
    how = {"mean": 0.4, "std": 0.2, "precision": "float32", "tile": 68, "stride": 64}
    return predict_stack(model, images, **{**how, **options})


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((2, 64, 50)).astype(np.float32)


def test_without_rotations_it_is_the_softmax_of_one_pass(model, images):
    padded = np.pad((images[0] - 0.4) / 0.2, ((92, 96), (92, 110)), mode="reflect")
    with torch.no_grad():
        logits = model(torch.tensor(padded)[None, None])[0, :, :64, :50]
    np.testing.assert_allclose(predict(model, images, rotations="none")[0], logits.softmax(0)[1], atol=1e-5)


def test_the_eight_symmetries_are_averaged(model, images):
    want = np.zeros((64, 50))
    for turns in range(4):
        for flip in (False, True):
            seen = np.rot90(images[0], turns)
            seen = seen[:, ::-1] if flip else seen
            back = predict(model, seen[None].copy(), rotations="none")[0]
            want += np.rot90(back[:, ::-1] if flip else back, -turns) / 8
    np.testing.assert_allclose(predict(model, images)[0], want, atol=1e-5)


def test_the_average_of_eight_is_equivariant(model, images):
    whole = predict(model, images)
    turned = predict(model, np.rot90(images, axes=(1, 2)).copy())
    np.testing.assert_allclose(np.rot90(whole, axes=(1, 2)), turned, atol=1e-5)


def test_eight_different_versions_are_seen():
    seen = []

    def look(x):
        seen.append(tuple(x.ravel().tolist()))
        return x

    average_of_eight(look, torch.arange(9.0).view(3, 3))
    assert len(set(seen)) == 8


def test_the_seven_rotations_see_the_angles_and_come_back():
    y, x = np.mgrid[:80, :60]
    image = torch.tensor(np.sin(x / 9) + np.cos(y / 11), dtype=torch.float32)
    seen = []

    def look(turned):
        seen.append(turned.numpy())
        return turned

    mean = average_of_seven(look, image)
    assert len(seen) == 7
    for k, turned in enumerate(seen):
        want = ndimage.rotate(image.numpy(), -360 * k / 7, reshape=True, order=3, mode="mirror")
        middles = (
            plane[tuple(slice(side // 2 - 20, side // 2 + 20) for side in plane.shape)] for plane in (turned, want)
        )
        ours, scipys = (ndimage.gaussian_filter(middle, 1) for middle in middles)
        assert np.abs(ours - scipys).max() < 0.1, k  # the centres of the canvases differ by up to a pixel
    torch.testing.assert_close(mean, image, atol=0.05, rtol=0)  # at the border the mirrored image has kinks
    torch.testing.assert_close(mean[4:-4, 4:-4], image[4:-4, 4:-4], atol=0.005, rtol=0)


def test_a_rotation_agrees_with_scipy():
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((61, 61)), 3)
    ours = rotate(torch.tensor(image, dtype=torch.float32), np.deg2rad(30), (61, 61), "cubic")
    want = ndimage.rotate(image, -30, reshape=False, order=3, mode="mirror")
    assert np.abs(ours.numpy() - want).max() < 0.002


def test_bfloat16_is_close_to_float32(model, images):
    exact, fast = predict(model, images), predict(model, images, precision="bfloat16")
    assert np.abs(exact - fast).max() < 0.03
    assert exact.dtype == fast.dtype == np.float32


@pytest.mark.parametrize("rotations", ["none", "eight", "seven"])
def test_probabilities_are_in_range_and_progress_counts_every_tile(model, images, rotations):
    seen = []
    result = predict(model, images, rotations=rotations, progress=lambda done, total: seen.append((done, total)))
    assert result.shape == images.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert seen == [(i + 1, len(seen)) for i in range(len(seen))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "half"}, "precision is 'half'; it must be one of bfloat16, float32"),
        ({"rotations": "six"}, "rotations is 'six'; it must be one of none, eight, seven"),
        ({"std": 0}, "std is 0; it must be positive"),
    ],
)
def test_illegal_options_are_named(model, images, options, message):
    with pytest.raises(InputError, match=message):
        predict(model, images, **options)


def test_images_of_another_dimension_are_named(model):
    with pytest.raises(InputError, match=r"must be \(Z, H, W\)"):
        predict(model, np.zeros((5, 5), np.float32))


def test_weights_come_back_as_they_were(tmp_path, model, images):
    path = tmp_path / "deep" / "net.safetensors"
    save_weights(path, model, METADATA)
    loaded, metadata = load_weights(path)
    assert metadata == {**METADATA, "network": vars(model.config)}
    assert not loaded.training
    for name, want in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], want)
    assert np.array_equal(predict(loaded, images), predict(model, images))
    assert [p.name for p in path.parent.iterdir()] == ["net.safetensors"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_weights(tmp_path / "none.safetensors")


def test_a_file_that_is_no_safetensors_is_named(tmp_path):
    path = tmp_path / "pickle.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="is not a safetensors file"):
        load_weights(path)


@pytest.mark.parametrize(
    "metadata", [None, {"unet_paper": "{"}, {"unet_paper": "{}"}, {"unet_paper": json.dumps({"image_mean": "x"})}]
)
def test_missing_metadata_are_named(tmp_path, metadata):
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.zeros(2)}, path, metadata)
    with pytest.raises(InputError, match="lacks the metadata"):
        load_weights(path)


def test_a_standard_deviation_of_zero_is_named(tmp_path, model):
    save_weights(tmp_path / "net.safetensors", model, {"image_mean": 0.5, "image_std": 0.0})
    with pytest.raises(InputError, match="the second positive"):
        load_weights(tmp_path / "net.safetensors")


def test_weights_of_another_shape_name_tensor_and_shapes(tmp_path, model):
    path = tmp_path / "net.safetensors"
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    network = {**vars(model.config), "base_channels": 4}
    save_file(tensors, path, {"unet_paper": json.dumps({**METADATA, "network": network})})
    with pytest.raises(InputError, match=r"contracting\.0\.0\.bias is \[2\], needed: \[4\]"):
        load_weights(path)


def test_weights_of_another_kind_of_network_are_named(tmp_path):
    save_weights(tmp_path / "net.safetensors", torch.nn.Linear(1, 1), METADATA)
    with pytest.raises(InputError, match="does not hold a U-Net"):
        load_weights(tmp_path / "net.safetensors")


def test_devices():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") in ("cpu", "cuda")
    with pytest.raises(InputError, match="must be one of auto, cpu, cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="PyTorch finds none here"):
            choose_device("cuda")
