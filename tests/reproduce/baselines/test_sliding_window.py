"""N4: its numbers, the exactness and the saving of the dense form, and its windows."""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reproduce.baselines import sliding_window
from reproduce.baselines.sliding_window import MARGIN, WINDOW, PatchSampler, SlidingWindow, measure_speed
from reproduce.benchmark.timing import Bench, count_operations
from unet_paper.errors import InputError


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SlidingWindow()


def every_window(image):
    """The windows of all pixels that have one, (n, 1, 95, 95), of an image (1, 1, h, w)."""
    return image[0, 0].unfold(0, WINDOW, 1).unfold(1, WINDOW, 1).reshape(-1, 1, WINDOW, WINDOW)


def test_layers_and_map_sizes_are_those_of_the_paper(network):
    sides = []
    hooks = [m.register_forward_hook(lambda m, i, o: sides.append(o.shape[-1])) for m in network.convolutions]
    network.patchwise(torch.zeros(1, 1, WINDOW, WINDOW))
    for hook in hooks:
        hook.remove()
    assert sides == [92, 42, 18, 6]
    assert [m.out_channels for m in network.convolutions] == [48] * 4
    assert (network.hidden.out_channels, network.score.out_channels) == (200, 2)


def test_patchwise_is_the_classifier_of_the_paper():
    torch.manual_seed(0)
    network = SlidingWindow(maps=3, hidden=4)
    layers = []
    for convolution in network.convolutions:
        layers += [convolution, torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    hidden, score = torch.nn.Linear(3 * 3 * 3, 4), torch.nn.Linear(4, 2)
    for linear, convolution in ((hidden, network.hidden), (score, network.score)):
        linear.load_state_dict({k: v.flatten(1) if v.ndim > 1 else v for k, v in convolution.state_dict().items()})
    classifier = torch.nn.Sequential(*layers, torch.nn.Flatten(), hidden, torch.nn.ReLU(), score)
    windows = torch.randn(4, 1, WINDOW, WINDOW)
    torch.testing.assert_close(network.train()(windows)[..., 0, 0], classifier(windows))


def test_the_dense_form_equals_window_by_window():
    torch.manual_seed(1)
    network = SlidingWindow(maps=4, hidden=6)
    image = torch.randn(1, 1, WINDOW + 17, WINDOW + 4)
    with torch.no_grad():
        dense = network.eval()(image)
        one_by_one = network.train()(every_window(image))
    assert dense.shape == (1, 2, 18, 5)
    assert dense.std() > 0.01
    torch.testing.assert_close(dense[0].flatten(1).T, one_by_one[..., 0, 0], rtol=1e-4, atol=1e-5)


def test_the_dense_form_saves_nearly_all_multiply_adds_of_a_slice():
    with torch.device("meta"):
        network = SlidingWindow()
        dense, window = (
            count_operations(lambda form=form, side=side: form(torch.empty(1, 1, side, side))) // 2
            for form, side in ((network.dense, 512 + 94), (network.patchwise, WINDOW))
        )
    assert window == 121_464_592
    assert round(dense / 1e9, 2) == 66.99
    assert round(window * 512**2 / 1e12, 2) == 31.84
    assert round(window * 512**2 / dense) == 475


def test_speed_is_the_shortest_time_of_each_form_for_a_whole_slice(monkeypatch):
    ticks = itertools.accumulate([0, 7, 0, 3, 0, 5, 0, 9, 0, 2, 0, 4])  # starts and ends: 7 and 9 warm up
    monkeypatch.setattr(sliding_window, "Bench", partial(Bench, clock=lambda: next(ticks)))
    shapes = []
    network = SimpleNamespace(
        to=lambda device: network,
        patchwise=lambda x: shapes.append(tuple(x.shape)) or x,
        dense=lambda x: shapes.append(tuple(x.shape)) or x,
    )
    assert measure_speed(network, side=64, windows=8, repeats=2) == (3 * 64**2 / 8, 2)
    assert shapes == [(8, 1, 95, 95)] * 3 + [(1, 1, 64 + 94, 64 + 94)] * 3


def test_illegal_sizes_are_named(network):
    with pytest.raises(InputError, match="input side 94 must be at least 95"):
        network.eval()(torch.zeros(1, 1, 94, 200))
    with pytest.raises(InputError, match=r"\(96, 96\) pixels; they must be \(95, 95\)"):
        network.train()(torch.zeros(1, 1, 96, 96))


def test_windows_are_balanced_and_centred_on_their_pixel():
    rng = np.random.default_rng(0)
    labels = (rng.random((2, 40, 50)) < 0.9).astype(np.uint8)  # one membrane pixel in ten
    images = np.arange(labels.size, dtype=np.float32).reshape(labels.shape)  # each pixel tells where it is
    sampler = PatchSampler(images, labels, "cpu")
    drawn = sampler.draw(rng, 400)
    tile = sampler(drawn)
    assert tile.image.shape == (400, 1, WINDOW, WINDOW)
    assert tile.labels.sum() == 200
    assert (tile.weights == 1).all()
    centres = tile.image[:, 0, MARGIN, MARGIN].long()
    assert torch.equal(torch.as_tensor(labels.ravel())[centres].long(), tile.labels.ravel())
    assert len(set(drawn[:, 2])) == 8
    z, y, x = np.unravel_index(drawn[:, 1], labels.shape)
    assert set(z) == {0, 1}
    assert (y.min(), x.min()) < (4, 5)
    assert (y.max(), x.max()) > (35, 44)


def test_the_eight_symmetries_are_those_of_the_square():
    rng = np.random.default_rng(0)
    images = rng.random((1, 120, 130)).astype(np.float32)
    labels = np.ones(images.shape, np.uint8)
    labels[0, 60, 60] = 0  # far enough from the border to see no mirror
    patch = images[0, 60 - MARGIN : 61 + MARGIN, 60 - MARGIN : 61 + MARGIN]
    drawn = np.array([[0, 60 * 130 + 60, k] for k in range(8)])
    made = {t.numpy().tobytes() for t in PatchSampler(images, labels, "cpu")(drawn).image[:, 0]}
    expected = {np.ascontiguousarray(np.rot90(p, k)).tobytes() for p in (patch, patch.T) for k in range(4)}
    assert made == expected


def test_windows_at_the_border_see_the_mirrored_slice():
    images = np.random.default_rng(0).random((1, 60, 70)).astype(np.float32)
    labels = np.indices(images.shape)[2].astype(np.uint8) % 2
    corner = PatchSampler(images, labels, "cpu")(np.array([[0, 0, 0]])).image[0, 0]
    expected = np.pad(images[0], MARGIN, "reflect")[:WINDOW, :WINDOW]
    assert np.array_equal(corner.numpy(), expected)


def test_training_labels_of_one_class_are_refused():
    with pytest.raises(InputError, match="one class only"):
        PatchSampler(np.zeros((1, 60, 60), np.float32), np.ones((1, 60, 60)), "cpu")
