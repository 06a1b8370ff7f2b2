"""Overlap-tile: every pixel comes back, and tiles equal one pass of the network."""

import tracemalloc

import numpy as np
import pytest
import torch

from unet_paper.errors import InputError
from unet_paper.model import UNet
from unet_paper.overlap_tile import check_tile, mirrored, predict_overlap_tile


def centre(x):
    """A predictor that returns what lies under its output."""
    return x[..., 92:-92, 92:-92]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = UNet(base_channels=2, dropout=0.0).double().eval()
    return lambda x: model(x.double())


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 400), (388, 388), (389, 387), (512, 512), (385, 773), (91, 93)]
)
@pytest.mark.parametrize(("tile", "stride"), [(388, 384), (388, 388), (36, 20)])
def test_an_identity_predictor_returns_every_image_unchanged(shape, tile, stride):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    assert np.array_equal(predict_overlap_tile(centre, image, tile=tile, stride=stride), image[None])
    tensor = predict_overlap_tile(centre, torch.tensor(image), tile=tile, stride=stride)
    assert torch.equal(tensor, torch.tensor(image)[None])


def test_a_stride_of_one_pixel_returns_the_image_too():
    image = np.random.default_rng(0).random((25, 31)).astype(np.float32)
    assert np.array_equal(predict_overlap_tile(centre, image, tile=20, stride=1), image[None])


def test_channels_in_and_out():
    image = np.random.default_rng(0).random((3, 50, 60)).astype(np.float32)
    assert np.array_equal(predict_overlap_tile(centre, image, tile=36, stride=36), image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 40), (100, 30)])
def test_the_surroundings_are_numpys_reflection(shape):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    seen = []

    def look(x):
        seen.append(x[0, 0])
        return centre(x)

    predict_overlap_tile(look, image, tile=100, stride=100)
    side = 100 + 184
    expected = np.pad(image, ((92, side), (92, side)), mode="reflect")[:side, :side]
    assert np.array_equal(seen[0], expected)


def test_zero_padding_is_zero_outside_and_the_image_inside():
    image = np.ones((30, 50), np.float32)
    seen = []

    def look(x):
        seen.append(x[0, 0])
        return centre(x)

    predict_overlap_tile(look, image, tile=20, stride=20, padding="zero")
    expected = np.pad(image, 184)
    for number, piece in enumerate(seen):
        top, left = (20 * i + 92 for i in divmod(number, 3))
        assert np.array_equal(piece, expected[top : top + 204, left : left + 204])


@pytest.mark.parametrize("options", [{}, {"tile": 388, "stride": 384}])
def test_tiles_equal_one_pass_at_stride_384_and_by_default(network, options):
    image = torch.randn(420, 800, dtype=torch.float64)
    whole = predict_overlap_tile(network, image, tile=804, stride=804)
    torch.testing.assert_close(predict_overlap_tile(network, image, **options), whole, atol=1e-9, rtol=0)


@pytest.mark.parametrize("stride", [16, 32])
def test_tiles_equal_one_pass_at_any_multiple_of_16(network, stride):
    image = torch.randn(60, 70, dtype=torch.float64)
    whole = predict_overlap_tile(network, image, tile=84, stride=84)
    torch.testing.assert_close(
        predict_overlap_tile(network, image, tile=36, stride=stride), whole, atol=1e-9, rtol=0
    )  # fmt: skip


def test_abutting_388_tiles_differ_from_one_pass(network):
    image = torch.randn(100, 500, dtype=torch.float64)
    whole = predict_overlap_tile(network, image, tile=500, stride=500)
    abutting = predict_overlap_tile(network, image, tile=388, stride=388)
    torch.testing.assert_close(abutting[..., :388], whole[..., :388], atol=1e-9, rtol=0)
    assert (abutting - whole)[..., 388:].abs().max() > 1e-3


def test_one_700_tile_covers_a_slice(network):
    image = torch.randn(512, 512, dtype=torch.float64)
    padded = np.pad(image.numpy(), ((92, 96), (92, 96)), mode="reflect")
    with torch.no_grad():
        direct = network(torch.tensor(padded, dtype=torch.float32)[None, None])[0, :, :512, :512]
    calls = []

    def counted(x):
        calls.append(x.shape)
        return network(x)

    assert torch.equal(predict_overlap_tile(counted, image, tile=516, stride=512), direct)
    assert calls == [(1, 1, 700, 700)]


def test_memory_is_bounded_by_the_tile():
    image = np.zeros((4096, 4096), np.uint8)
    tracemalloc.start()
    result = predict_overlap_tile(centre, image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result.nbytes + 30 * 572 * 572 * 4
    assert peak < result.nbytes + image.nbytes * 4  # less than one padded float32 copy of the image


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 512}, r"tile side 512 is not .* nearest legal output sides: 500, 516"),
        ({"stride": 389}, "stride 389 is not in 1 to 388"),
        ({"stride": 0}, "stride 0 is not in 1 to 388"),
        ({"padding": "wrap"}, "padding 'wrap' is not one of reflect, zero"),
        ({"margin": -1}, "margin -1"),
    ],
)
def test_illegal_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        predict_overlap_tile(centre, np.zeros((5, 5)), **options)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5)), "not empty"),
        (np.zeros((2, 2, 2, 2)), "it must be \\(H, W\\)"),
        (np.full((3, 3), np.nan), "NaN or infinite"),
        (np.array([[1.0, np.inf]]), "NaN or infinite"),
        ([[1.0]], "it must be a NumPy array or a torch tensor"),
    ],
)
def test_illegal_images_are_named(image, message):
    with pytest.raises(InputError, match=message):
        predict_overlap_tile(centre, image)


@pytest.mark.parametrize("wrong", [lambda x: x, lambda x: x[..., 92:-91, 92:-92], lambda x: centre(x)[0]])
def test_a_predictor_of_another_shape_is_named(wrong):
    with pytest.raises(InputError, match="predict returned shape"):
        predict_overlap_tile(wrong, np.zeros((5, 5)))


def test_a_predictor_that_changes_the_kind_or_the_number_of_channels_is_named():
    with pytest.raises(InputError, match="predict returned a Tensor for a ndarray"):
        predict_overlap_tile(lambda x: torch.tensor(centre(x)), np.zeros((5, 5)))
    channels = iter([1, 2])
    with pytest.raises(InputError, match=r"predict returned shape \(1, 2, 20, 20\) instead of \(1, 1, 20, 20\)"):
        predict_overlap_tile(
            lambda x: np.repeat(centre(x), next(channels), axis=1), np.zeros((5, 40)), tile=20, stride=20
        )


def test_check_tile_knows_the_legal_sides():
    for side in (4, 20, 388, 516):
        check_tile(side)
    with pytest.raises(InputError, match=r"nearest legal output sides: 4$"):
        check_tile(1)


def test_mirrored_is_numpys_reflect():
    for size in (1, 2, 3, 10):
        want = np.pad(np.arange(size), 25, mode="reflect")
        assert np.array_equal(mirrored(np.arange(-25, size + 25), size), want)
