"""The training loop: it learns, it stops cleanly, and it resumes to the same bits after any kill."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from data_scripts.phantom import make_phantom
from unet_paper import checkpoint as checkpoints
from unet_paper import train as training
from unet_paper.checkpoint import CHECKPOINT, read_weights, save_weights
from unet_paper.config import ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.errors import InputError, Interrupted, NonFiniteLoss
from unet_paper.model import UNet
from unet_paper.optimizer import MomentumSGD
from unet_paper.recipe import paper_recipe, warmup_cosine
from unet_paper.train import train


def small_config(**changes):
    small = {"input_size": 252, "steps": 12, "warmup_steps": 2, "precision": "float32"}
    return ExperimentConfig(network=NetworkConfig(base_channels=4), training=TrainingConfig(**small | changes))


def small_data():
    images, labels = make_phantom(2, 128, 128, seed=0)
    return images.astype(np.float32) / 255, (labels > 0).astype(np.uint8)


def final_weights(**options):
    model, curve = train(paper_recipe(small_config()), *small_data(), seed=3, **options)
    return {name: value.clone() for name, value in model.state_dict().items()}, curve


def test_the_learning_rate_rises_and_follows_half_a_cosine():
    rates = [warmup_cosine(s, 1000, peak=2.0, warmup=100) for s in range(1000)]
    assert rates[0] == 2.0 / 100
    assert rates[99] == rates[100] == 2.0
    assert rates[550] == pytest.approx(1.0)
    assert 0 < rates[-1] < 1e-4
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_the_recipe_is_the_papers():
    recipe = paper_recipe(ExperimentConfig())
    optimizer = recipe.optimizer([torch.zeros(1, requires_grad=True)])
    assert isinstance(optimizer, MomentumSGD)
    assert optimizer.defaults["momentum"] == 0.99
    assert recipe.batch == 1
    assert recipe.precision == "bfloat16"


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", torch.bfloat16), ("float32", torch.float32)])
def test_the_network_computes_in_the_precision_of_the_recipe(precision, dtype):
    seen = []

    def build():
        model = UNet(base_channels=2)
        model.score.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        return model

    recipe = replace(paper_recipe(small_config(steps=1, warmup_steps=0, precision=precision)), network=build)
    model, _ = train(recipe, *small_data(), seed=0)
    assert seen == [dtype]
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("warmup", "steps", "most"), [(12, 12, 11), (-1, 12, 11), (1, 1, 0), (1, 0, 0)])
def test_a_warm_up_that_never_ends_is_refused(warmup, steps, most):
    with pytest.raises(InputError, match=f"warm-up is {warmup} steps; it must be 0 to {most}"):
        paper_recipe(small_config(warmup_steps=warmup, steps=steps))


@pytest.mark.parametrize("changes", [{"optimizer": "lion"}, {"precision": "float16"}])
def test_an_unknown_optimiser_or_precision_is_named_before_anything_runs(changes):
    with pytest.raises(InputError, match="must be one of"):
        paper_recipe(small_config(**changes))


def test_a_network_overfits_one_slice():
    config = small_config(optimizer="adam", learning_rate=1e-3, steps=150)
    config = replace(config, augmentation=replace(config.augmentation, sigma=0.0, rotation=0.0))
    images, labels = small_data()
    _, curve = train(paper_recipe(config), images[:1], labels[:1], seed=0)
    assert np.mean(curve.loss[-20:]) < 0.6 * np.mean(curve.loss[:5])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, curve = final_weights()
    again, _ = final_weights()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other, other_curve = train(paper_recipe(small_config()), *small_data(), seed=4)
    assert curve.loss != other_curve.loss
    assert not torch.equal(first["score.weight"], other.state_dict()["score.weight"])


def test_checkpoints_do_not_change_the_training(tmp_path):
    plain, _ = final_weights()
    saved, curve = final_weights(folder=tmp_path, checkpoint_seconds=0)
    assert all(torch.equal(plain[name], saved[name]) for name in plain)
    assert len(curve.loss) == len(curve.seconds) == len(curve.learning_rate) == 12
    assert sorted(p.name for p in tmp_path.iterdir()) == [CHECKPOINT]


class TwoNames(UNet):
    """One layer under two names, as libraries have it: safetensors refuses to write shared memory."""

    def __init__(self, **network):
        super().__init__(**network)
        self.last = self.score


def test_a_network_with_a_layer_of_two_names_is_kept_and_resumed(tmp_path):
    recipe = replace(paper_recipe(small_config()), network=lambda: TwoNames(base_channels=4))
    whole, _ = train(recipe, *small_data(), seed=3, folder=tmp_path / "whole")
    stop = lambda step, loss: step == 5 and os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    with pytest.raises(Interrupted):
        train(recipe, *small_data(), seed=3, folder=tmp_path, report=stop)
    resumed, _ = train(recipe, *small_data(), seed=3, folder=tmp_path, resume=True)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    save_weights(tmp_path / "net.safetensors", whole, {"image_mean": 0.5, "image_std": 0.2})
    _, tensors = read_weights(tmp_path / "net.safetensors", TwoNames(base_channels=4))
    assert torch.equal(tensors["last.weight"], whole.score.weight)


@pytest.mark.parametrize(
    ("optimizer", "stop"), [("sgd", signal.SIGTERM), ("sgd", signal.SIGINT), ("adam", signal.SIGTERM)]
)
def test_a_stopped_run_resumes_to_the_same_bits(tmp_path, optimizer, stop):
    recipe = paper_recipe(small_config(optimizer=optimizer))
    whole, _ = train(recipe, *small_data(), seed=3)
    steps = []

    def stop_once(step, loss):
        steps.append(step)
        if step == 5:
            os.kill(os.getpid(), stop)

    with pytest.raises(Interrupted, match=r"stopped after step [56] of 12"):
        train(recipe, *small_data(), seed=3, folder=tmp_path, report=stop_once)
    rest, curve = train(recipe, *small_data(), seed=3, folder=tmp_path, resume=True, report=stop_once)
    assert len(curve.loss) == 12
    assert steps == list(range(1, 13))
    for (name, want), got in zip(whole.state_dict().items(), rest.state_dict().values()):
        assert torch.equal(want, got), name


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[2])
from test_train import final_weights
print("ready", flush=True)
weights, curve = final_weights(folder=sys.argv[1], resume=True, checkpoint_seconds=0)
"""


def steps_in(checkpoint):
    with safe_open(checkpoint, "pt") as file:
        return len(json.loads(file.metadata()["state"])["curve"]["loss"])


def test_killed_at_several_points_a_run_still_ends_in_the_same_bits(tmp_path):
    whole, _ = final_weights(folder=tmp_path / "whole")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "killed"), os.path.dirname(__file__)]
    checkpoint = tmp_path / "killed" / CHECKPOINT
    finished = []
    for wait in (0.0, 0.21, 0.4):  # after the first checkpoint, so that kills land in steps and in writes
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                    break
                time.sleep(0.002)
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
        finished.append(steps_in(checkpoint))
    assert finished == sorted(finished)
    assert 0 < finished[0] < 12  # of the kills at least the first came before the end
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ended = load_file(checkpoint)
    for name, want in whole.items():
        assert torch.equal(ended[f"model.{name}"], want), name


def test_a_checkpoint_of_other_settings_is_refused_and_kept(tmp_path):
    final_weights(folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(InputError, match="trained with seed 3, not 4"):
        train(paper_recipe(small_config()), *small_data(), seed=4, folder=tmp_path, resume=True)
    with pytest.raises(InputError, match=r"schedule.peak 0.002, not 0.5"):
        train(paper_recipe(small_config(learning_rate=0.5)), *small_data(), seed=3, folder=tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a safetensors file")
    with pytest.raises(InputError, match="is not a checkpoint of this program"):
        final_weights(folder=tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_with_step_and_seed():
    recipe = paper_recipe(small_config(learning_rate=1e6, warmup_steps=0))
    with pytest.raises(NonFiniteLoss, match=r"not finite at step \d+ of the run with seed 8"):
        train(recipe, *small_data(), seed=8)


def test_constant_images_are_refused():
    images, labels = small_data()
    with pytest.raises(InputError, match="all pixels of the training images are equal"):
        train(paper_recipe(small_config()), np.zeros_like(images), labels, seed=0)


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with training.stop_signals():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_step_moves_nothing_between_host_and_device(monkeypatch):
    """What a CUDA graph demands; "meta" stands for the device, so that any transfer is an error or is seen."""
    recipe = paper_recipe(small_config(input_size=188))
    images, labels = small_data()
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


def test_a_full_disk_is_told_in_one_sentence_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    final_weights(folder=tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(*_):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(InputError, match=r"cannot write .*checkpoint\.safetensors: .*No space left on device"):
        final_weights(folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
    assert (tmp_path / CHECKPOINT).read_bytes() == before
