"""Prediction: one pass, averages over rotations, precision, and what is refused."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from unet_paper import predict as prediction
from unet_paper.checkpoint import save_weights
from unet_paper.errors import InputError
from unet_paper.model import UNet
from unet_paper.predict import average_of_eight, average_of_seven, canvas, predict_stack, rotate
from unet_paper.tiff import write_stack


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


@pytest.mark.parametrize(("padding", "numpys"), [("reflect", "reflect"), ("zero", "constant")])
def test_without_rotations_it_is_the_softmax_of_one_pass(model, images, padding, numpys):
    padded = np.pad((images[0] - 0.4) / 0.2, ((92, 96), (92, 110)), mode=numpys)
    with torch.no_grad():
        logits = model(torch.tensor(padded)[None, None])[0, :, :64, :50]
    result = predict(model, images, rotations="none", padding=padding)
    np.testing.assert_allclose(result[0], logits.softmax(0)[1], atol=1e-5)


class Watched(torch.nn.Module):
    """A network of one convolution, without a margin or with that of the U-Net, that keeps what it was called with."""

    def __init__(self, margin=0):
        super().__init__()
        self.convolution, self.margin, self.sides, self.dtypes = torch.nn.Conv2d(1, 2, 1), margin, [], []

    def forward(self, x):
        m = self.margin
        output = self.convolution(x[..., m : x.shape[-2] - m, m : x.shape[-1] - m])
        self.sides.append(tuple(x.shape))
        self.dtypes.append(output.dtype)
        return output


@pytest.mark.parametrize(("rotations", "calls"), [("none", 1), ("eight", 8)])
def test_by_default_a_slice_of_512_px_is_one_call_of_700_px(rotations, calls):
    network = Watched(margin=92)
    predict_stack(network, np.zeros((1, 512, 512), np.float32), mean=0.0, std=1.0, rotations=rotations)
    assert network.sides == calls * [(1, 1, 700, 700)]


@pytest.mark.parametrize("fast_there", ["bfloat16", "float32"])
@pytest.mark.parametrize("asked", ["bfloat16", "float32", None])
def test_the_network_computes_in_the_precision_asked_for_or_fast_on_the_device(monkeypatch, asked, fast_there):
    monkeypatch.setattr(prediction, "choose_precision", lambda device: fast_there)
    network, image = Watched(), np.ones((1, 4, 4), np.float32)
    result = predict_stack(network, image, mean=0.0, std=1.0, precision=asked, margin=0, tile=4, stride=4)
    assert set(network.dtypes) == {getattr(torch, asked or fast_there)}
    assert network.convolution.weight.dtype == torch.float32
    assert result.dtype == np.float32


def test_a_network_in_training_mode_is_set_to_evaluation(model, images):
    want = predict(model, images, rotations="none")
    np.testing.assert_array_equal(predict(model.train(), images, rotations="none"), want)
    assert not any(module.training for module in model.modules())


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


def test_the_seven_rotations_interpolate_by_cubic_convolution():
    noise, seen = torch.rand(40, 30), []
    average_of_seven(lambda turned: seen.append(turned) or turned, noise)
    for k, turned in enumerate(seen):
        angle = 2 * np.pi * k / 7
        assert turned.shape == canvas(noise.shape, angle)
        torch.testing.assert_close(turned, rotate(noise, angle, canvas(noise.shape, angle), "cubic"), atol=1e-4, rtol=0)


def test_a_rotation_agrees_with_scipy():
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((61, 61)), 3)
    ours = rotate(torch.tensor(image, dtype=torch.float32), np.deg2rad(30), (61, 61), "cubic")
    want = ndimage.rotate(image, -30, reshape=False, order=3, mode="mirror")
    assert np.abs(ours.numpy() - want).max() < 0.002


def test_bfloat16_is_close_to_float32(model, images):
    exact, fast = (predict(model, images[:1], rotations="none", precision=p) for p in ("float32", "bfloat16"))
    assert 0 < np.abs(exact - fast).max() < 0.03


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
        ({"std": 0}, r"mean and std are 0.4 and 0; they must be in \[0, 1\] as the images, the second above 0"),
        ({"mean": math.nan}, "mean and std are nan and 0.2; they must be"),
        ({"mean": 126.2, "std": 44.0}, "mean and std are 126.2 and 44.0; they must be"),
        ({"tile": 512}, "tile side 512 is not .* nearest legal output sides: 500, 516"),
        ({"stride": 0}, "stride 0 is not in 1 to 68"),
        ({"padding": "wrap"}, "padding 'wrap' is not one of reflect, zero"),
    ],
)
def test_illegal_options_are_named(model, images, options, message):
    with pytest.raises(InputError, match=message):
        predict(model, images, **options)


def test_a_prediction_does_without_the_compiler_of_torch_which_takes_seconds_to_import(tmp_path, model):
    save_weights(tmp_path / "net.safetensors", model, {"image_mean": 0.4, "image_std": 0.2})
    write_stack(tmp_path / "in.tif", np.zeros((1, 20, 20), np.uint8))
    words = ["predict", "in.tif", "out.tif", "--weights", "net.safetensors", "--device", "cpu"]
    check = f"import sys, unet_paper.__main__ as m; sys.exit(m.main({words}) or 'torch._dynamo' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", check], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "out.tif").exists()


def test_images_of_another_dimension_are_named(model):
    with pytest.raises(InputError, match=r"must be \(Z, H, W\)"):
        predict(model, np.zeros((5, 5), np.float32))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((1, 5, 5), 128, np.uint8), "the images are uint8; they must be float in .0, 1., 8-bit"),
        (np.full((1, 5, 5), 128, np.float32), "the images span 128 to 128; every gray value must lie in .0, 1."),
        (np.array([[[0.5, np.nan]]]), "the images span nan to nan"),
    ],
)
def test_what_is_no_gray_value_is_named(model, pixels, message):
    with pytest.raises(InputError, match=message):
        predict(model, pixels)


@pytest.mark.parametrize("n_classes", [1, 3])
def test_a_network_of_other_classes_is_named(images, n_classes):
    with pytest.raises(InputError, match=f"the network has {n_classes} classes; it must have 2, membrane and cell"):
        predict(UNet(base_channels=1, n_classes=n_classes), images)
