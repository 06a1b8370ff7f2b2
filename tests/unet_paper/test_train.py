"""Training against the formulas of section 3, step by step, and how a training ends."""

import signal
import threading
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_training import small_config, small_recipe, small_stack

from unet_paper import train as training
from unet_paper.config import WeightMapConfig
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss
from unet_paper.model import UNet
from unet_paper.recipe import paper_recipe
from unet_paper.sampler import TileSampler
from unet_paper.train import Descent, gray_statistics, train
from unet_paper.weight_map import cells_from_membranes, unet_weight_map


def test_a_training_is_the_formulas_of_section_3():
    """Tiles, weight maps, Equation 1, dropout, rates and momentum written out, from the seed to the last weight."""
    steps, warmup, peak, momentum, decay, seed = 6, 2, 0.05, 0.9, 0.01, 3
    config = small_config(steps=steps, warmup_steps=warmup, learning_rate=peak, momentum=momentum, weight_decay=decay)
    config = replace(config, weight_map=WeightMapConfig(w0=40.0, sigma=3.0))
    images, labels = small_stack()
    model, curve = train(paper_recipe(config), images, labels, seed=seed)

    torch.manual_seed(seed)
    layout = torch.channels_last  # in which dropout counts the elements
    network = UNet(base_channels=4).to(memory_format=layout)
    pair = [labels.size / (2 * (labels == k).sum()) for k in (0, 1)]
    planes = [cells_from_membranes(plane) for plane in labels]
    maps = np.stack([unet_weight_map(plane, w0=40.0, sigma=3.0, class_weights=pair) for plane in planes])
    sampler = TileSampler((images - images.mean()) / images.std(), labels, maps, input_size=220, output_size=36)
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(w) for w in parameters]
    for step in range(steps):
        generator = np.random.default_rng([seed, step])
        torch.manual_seed(int(generator.integers(2**63)))
        image, truth, weights = sampler(sampler.draw(generator))
        p = network(image.contiguous(memory_format=layout)).softmax(1).gather(1, truth[:, None])[:, 0]
        energy = -(weights * p.log()).sum() / weights.sum()
        gradients = torch.autograd.grad(energy, parameters)
        rate = peak * (step + 1) / warmup
        if step >= warmup:
            rate = peak * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup))) / 2
        with torch.no_grad():
            for w, v, gradient in zip(parameters, velocities, gradients):
                v.copy_(momentum * v + rate * (gradient + decay * w))
                w -= v
        assert curve.loss[step] == pytest.approx(energy.item(), rel=1e-4)
        assert curve.learning_rate[step] == pytest.approx(rate)
    for (name, want), got in zip(network.state_dict().items(), model.state_dict().values()):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5, msg=name)


def with_rates_kept(recipe, rates):
    """The recipe with an optimiser that tells the learning rate of each of its steps."""

    def optimizer(parameters):
        made = recipe.optimizer(parameters)
        made.register_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
        return made

    return replace(recipe, optimizer=optimizer)


@cache
def watched(seed):
    """What was seen in a training of four steps."""
    recipe, seen = small_recipe(steps=4), SimpleNamespace(tiles=[], rates=[], masks=[])
    build, sample = recipe.network, recipe.sampler

    def network():
        model = build()
        seen.weights = model.score.weight.detach().clone()
        model.dropout.register_forward_pre_hook(lambda module, inputs: torch.ones_like(inputs[0]))
        model.dropout.register_forward_hook(lambda module, inputs, output: seen.masks.append(output == 0))
        model.register_forward_hook(lambda module, inputs, output: seen.tiles.append(inputs[0].clone()))
        return model

    def sampler(images, labels, device):
        seen.images = images
        return sample(images, labels, device)

    recipe = replace(with_rates_kept(recipe, seen.rates), network=network, sampler=sampler)
    train(recipe, *small_stack(), seed=seed)
    return seen


def all_differ(tensors):
    return not any(torch.equal(a, b) for i, a in enumerate(tensors) for b in tensors[:i])


def test_tiles_come_from_images_of_mean_0_and_standard_deviation_1():
    assert abs(watched(0).images.mean()) < 1e-5
    assert abs(watched(0).images.std() - 1) < 1e-5


def test_every_step_has_its_learning_rate_its_tile_and_its_dropout():
    seen, schedule = watched(0), small_recipe(steps=4).schedule
    assert seen.rates == [schedule(step, 4) for step in range(4)]
    assert len(seen.tiles) == 4
    assert all_differ(seen.tiles)
    assert len(seen.masks) == 8
    assert all_differ(seen.masks[::2])
    assert all_differ(seen.masks[1::2])


def test_another_seed_has_other_first_weights_and_other_tiles():
    assert all_differ([watched(0).weights, watched(1).weights])
    assert all_differ([*watched(0).tiles, *watched(1).tiles])


class OnePixel(torch.nn.Conv2d):
    """A network of one 1x1 convolution, with the margin of the U-Net, that keeps the type of its output."""

    def __init__(self):
        super().__init__(1, 2, 1)

    def forward(self, image):
        self.output = super().forward(image[..., 92:-92, 92:-92])
        return self.output


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_the_network_computes_in_the_precision_of_the_recipe(precision, dtype):
    recipe = replace(small_recipe(steps=1, warmup_steps=0, precision=precision), network=OnePixel)
    model, _ = train(recipe, *small_stack(), seed=0)
    assert model.output.dtype == dtype
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert not model.training


def test_a_training_begins_from_the_weights_it_is_given():
    untrained = small_recipe(steps=0, warmup_steps=0)
    other, _ = train(untrained, *small_stack(), seed=1)
    begun, curve = train(untrained, *small_stack(), seed=0, weights=other.state_dict())
    assert curve.loss == []
    assert torch.equal(begun.score.weight, other.score.weight)
    assert train(untrained, *small_stack(), seed=0, weights=dict(other.bfloat16().named_parameters()))[1] == curve
    assert not torch.equal(begun.score.weight, train(untrained, *small_stack(), seed=0)[0].score.weight)


def test_weights_of_another_network_are_refused():
    recipe = small_recipe(steps=0, warmup_steps=0)
    with pytest.raises(InputError, match=r"weights does not fit the network: contracting.0.0.bias is .2., needed: .4."):
        train(recipe, *small_stack(), seed=0, weights=dict(UNet(base_channels=2).bfloat16().named_parameters()))


class Clock:
    """A clock that stands still unless it is told."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(training.time, "perf_counter", lambda: self.now)

    def slow(self, recipe, seconds):
        """The recipe with steps that take as long."""

        def loss(*tile):
            self.now += seconds
            return recipe.loss(*tile)

        return replace(recipe, loss=loss)


def test_a_time_budget_sets_the_end_and_the_place_in_the_schedule(tmp_path, monkeypatch):
    recipe, clock, rates = replace(small_recipe(steps=100), seconds=5.0), Clock(monkeypatch), []
    whole, curve = train(clock.slow(with_rates_kept(recipe, rates), 1.0), *small_stack(), seed=0)
    assert curve.seconds == [1, 2, 3, 4, 5]
    assert rates == curve.learning_rate == [recipe.schedule(place, 100) for place in (0, 20, 40, 60, 80)]

    stop = lambda step, loss: step == 2 and signal.raise_signal(signal.SIGTERM)  # noqa: E731
    with pytest.raises(Interrupted, match="stopped after step 3 of 5 seconds of training"):
        train(clock.slow(recipe, 1.0), *small_stack(), seed=0, folder=tmp_path, report=stop)
    clock.now += 1000  # what passes between two sessions does not count
    rest, resumed = train(clock.slow(recipe, 1.0), *small_stack(), seed=0, folder=tmp_path, resume=True)
    assert resumed == curve
    assert torch.equal(rest.score.weight, whole.score.weight)


def test_checkpoints_are_as_far_apart_as_asked(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(training, "save_checkpoint", lambda *arguments: kept.append(len(arguments[-1].loss)))
    recipe = Clock(monkeypatch).slow(small_recipe(), 2.0)
    train(recipe, *small_stack(), seed=0, folder=tmp_path, checkpoint_seconds=5.0)
    assert kept == [3, 6, 8]


def test_losses_may_be_read_every_few_steps(monkeypatch):
    _, plain = train(small_recipe(), *small_stack(), seed=0)
    monkeypatch.setitem(training.READ_EVERY, "cpu", 3)
    reported = []
    _, curve = train(small_recipe(), *small_stack(), seed=0, report=lambda step, loss: reported.append((step, loss)))
    assert curve.loss == plain.loss
    assert reported == [(step, plain.loss[step - 1]) for step in (3, 6, 8)]


@pytest.mark.parametrize("read_every", [1, 50])
def test_a_loss_that_is_not_finite_stops_with_step_and_seed(monkeypatch, read_every):
    monkeypatch.setitem(training.READ_EVERY, "cpu", read_every)
    recipe, calls = small_recipe(), []

    def loss(*tile):
        calls.append(tile)
        return recipe.loss(*tile) * (torch.nan if len(calls) == 6 else 1)

    with pytest.raises(NonFiniteLoss, match="loss is not finite at step 5 of the run with seed 8"):
        train(replace(recipe, loss=loss), *small_stack(), seed=8)


def test_weights_that_are_not_finite_after_the_last_step_are_no_result():
    with pytest.raises(NonFiniteLoss, match="weights are not finite after step 1 of the run with seed 8"):
        train(small_recipe(steps=1, warmup_steps=0, learning_rate=1e300), *small_stack(), seed=8)


def test_gray_statistics_are_of_all_slices_in_double_precision():
    images = np.stack([np.full((300, 300), 0.1, np.float32), np.full((300, 300), 0.3, np.float32)])
    assert gray_statistics(images) == pytest.approx({"image_mean": 0.2, "image_std": 0.1}, rel=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 128, 128), np.float32)}, "all pixels of the training images are equal"),
        ({"images": np.zeros((128, 128), np.float32)}, r"images are \(128, 128\) and labels .* must be \(Z, H, W\)"),
        ({"labels": np.zeros((1, 128, 128), np.uint8)}, r"labels \(1, 128, 128\); both must be .* the same shape"),
        ({"images": np.full((2, 128, 128), np.nan, np.float32)}, "the training images span nan to nan; every gray"),
        ({"images": np.full((2, 128, 128), 1.5, np.float32)}, r"span 1.5 to 1.5; .* must lie in \[0, 1\]"),
        ({"images": np.zeros((2, 128, 128), np.uint8)}, "the training images are uint8; they must be float"),
        ({"labels": np.full((2, 128, 128), 255, np.uint8)}, "other numbers than 0 .membrane. and 1 .cell."),
        ({"seed": -1}, "the seed is -1; it must be 0 to"),
        ({"seed": 2**63}, "it must be 0 to"),
    ],
)
def test_illegal_data_and_seeds_are_named(change, message):
    images, labels = small_stack()
    data = {"images": images, "labels": labels, "seed": 0} | change
    with pytest.raises(InputError, match=message):
        Descent(small_recipe(), **data)


def test_signals_are_given_back_and_left_alone_outside_the_main_thread():
    before, during = signal.getsignal(signal.SIGTERM), []

    def handler():
        with training.stop_signals():
            during.append(signal.getsignal(signal.SIGTERM))

    handler()
    assert during[0] is not before
    assert signal.getsignal(signal.SIGTERM) is before
    thread = threading.Thread(target=handler)
    thread.start()
    thread.join()
    assert during[1] is before


def test_a_step_moves_nothing_between_host_and_device(monkeypatch):
    """What a CUDA graph demands; "meta" stands for the device, so that any transfer is an error or is seen."""
    recipe = small_recipe(input_size=188)
    images, labels = small_stack()
    sampler = recipe.sampler(images, labels, "meta")
    drawn = torch.as_tensor(sampler.draw(np.random.default_rng(0), 2)).to("meta")
    model = recipe.network().to("meta")

    def forbidden(*_, **__):
        raise AssertionError("a value of the host is sent to the device")

    for name in ("tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, forbidden)
    tile = sampler(drawn)  # reading a value of a meta tensor, as .item() does, is an error by itself
    loss = recipe.loss(model(tile.image), tile.labels, tile.weights)
    loss.backward()
    assert loss.device.type == "meta"
