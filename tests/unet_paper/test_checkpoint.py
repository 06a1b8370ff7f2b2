"""Weights come back as they were, and a training continues to the same bits or not at all."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_training import small_recipe, small_stack

from unet_paper.checkpoint import (
    CHECKPOINT,
    Curve,
    load_checkpoint,
    load_weights,
    read_weights,
    save_checkpoint,
    save_weights,
)
from unet_paper.errors import InputError, Interrupted
from unet_paper.model import UNet
from unet_paper.train import train

METADATA = {"image_mean": 0.4, "image_std": 0.2}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return UNet(base_channels=2).eval()


def test_weights_come_back_as_they_were(tmp_path, model):
    path = tmp_path / "deep" / "net.safetensors"
    save_weights(path, model, METADATA)
    loaded, metadata = load_weights(path)
    assert metadata == {**METADATA, "network": vars(model.config), "sha256": metadata["sha256"]}
    assert not loaded.training
    for name, want in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], want)
    assert [p.name for p in path.parent.iterdir()] == ["net.safetensors"]


def test_weights_saved_with_the_metadata_of_another_network_are_of_their_own_sizes(tmp_path, model):
    save_weights(tmp_path / "net.safetensors", model, METADATA)
    metadata = load_weights(tmp_path / "net.safetensors")[1]
    save_weights(tmp_path / "wider.safetensors", UNet(base_channels=3), metadata)
    assert load_weights(tmp_path / "wider.safetensors")[0].config.base_channels == 3


def test_a_changed_byte_is_noticed_in_weights_and_in_checkpoints(tmp_path, model):
    path = tmp_path / "net.safetensors"
    save_weights(path, model, METADATA)
    checkpoint = tmp_path / CHECKPOINT
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    save_checkpoint(checkpoint, model, optimizer, {}, Curve([], [], []))
    for file, read in (
        (path, lambda: load_weights(path)),
        (checkpoint, lambda: load_checkpoint(checkpoint, model, optimizer, {})),
    ):
        read()
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"is damaged: the SHA-256"):
            read()


def test_weights_are_read_in_float32_and_counters_stay_whole(tmp_path):
    norm = torch.nn.BatchNorm2d(3)
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in norm.state_dict().items()}
    save_file(tensors, tmp_path / "net.safetensors", {"unet_paper": json.dumps(METADATA)})
    _, tensors = read_weights(tmp_path / "net.safetensors", norm)
    assert {name: t.dtype for name, t in tensors.items()} == {
        name: torch.int64 if name == "num_batches_tracked" else torch.float32 for name in norm.state_dict()
    }


def test_a_loaded_network_does_not_change_with_its_file(tmp_path, model):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save_weights(first, model, METADATA)
    save_weights(second, UNet(base_channels=2), METADATA)
    loaded, _ = load_weights(first)
    shutil.copyfile(second, first)
    for name, want in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], want)


def test_weights_that_are_being_written_are_not_taken_for_abandoned(tmp_path, model, monkeypatch):
    path, replaced = tmp_path / "net.safetensors", []

    def second_writer(source, target, replace=os.replace):
        if not replaced:
            replaced.append(source)
            save_weights(path, model, METADATA)
        replace(source, target)

    monkeypatch.setattr("unet_paper.files.os.replace", second_writer)
    save_weights(path, model, METADATA)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(("change", "message"), [("double", "float64"), ("nan", "NaN or infinity")])
def test_weights_that_could_not_be_read_again_are_not_written(tmp_path, change, message):
    network = UNet(base_channels=2)
    if change == "nan":
        torch.nn.init.constant_(network.score.bias, torch.nan)
    else:
        network.double()
    with pytest.raises(InputError, match=message):
        save_weights(tmp_path / "net.safetensors", network, METADATA)
    assert not list(tmp_path.iterdir())


def test_a_variant_of_the_network_does_not_come_back_as_the_papers(tmp_path):
    class Variant(UNet):
        pass

    save_weights(tmp_path / "net.safetensors", Variant(base_channels=2), METADATA)
    with pytest.raises(InputError, match="does not hold a U-Net"):
        load_weights(tmp_path / "net.safetensors")


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
    with pytest.raises(InputError, match=r"must be in \[0, 1\], the second above 0"):
        load_weights(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [(torch.ones(2, dtype=torch.float64), "b in float64"), (torch.tensor([1, torch.nan]), "NaN or infinity in b")],
)
def test_weights_of_another_type_or_not_finite_are_named(tmp_path, tensor, message):
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.zeros(2), "b": tensor}, path, {"unet_paper": json.dumps(METADATA)})
    with pytest.raises(InputError, match=message):
        load_weights(path)


def test_weights_of_another_shape_name_tensor_and_shapes(tmp_path, model):
    path = tmp_path / "net.safetensors"
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    network = {**vars(model.config), "base_channels": 4}
    save_file(tensors, path, {"unet_paper": json.dumps({**METADATA, "network": network})})
    with pytest.raises(InputError, match=r"contracting\.0\.0\.bias is \[2\], needed: \[4\]"):
        load_weights(path)


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({"base_channels": 128}, r"contracting\.0\.0\.bias is \[2\], needed: \[128\]"),
        ({"in_channels": 10**8}, r"contracting\.0\.0\.weight is \[2, 1, 3, 3\], needed: \[2, 100000000, 3, 3\]"),
        ({"depth": 12}, "does not fit the network"),
        ({"base_channels": 10**40}, "no sizes of one"),
        ({"depth": 10**5}, "no sizes of one"),
        ({"depth": "4"}, "no sizes of one"),
        ({"depth": 0}, "no sizes of one"),
        ({"height": 3}, "no sizes of one"),
    ],
)
def test_sizes_that_are_not_those_of_the_weights_are_named_and_take_no_memory(
    tmp_path, monkeypatch, model, size, sentence
):
    path = tmp_path / "net.safetensors"
    network = {**vars(model.config), **size}
    save_file(model.state_dict(), path, {"unet_paper": json.dumps({**METADATA, "network": network})})
    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", None)  # called for weights that have memory
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=sentence):
        load_weights(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_weights_of_another_kind_of_network_are_named(tmp_path):
    save_weights(tmp_path / "net.safetensors", torch.nn.Linear(1, 1), METADATA)
    with pytest.raises(InputError, match="does not hold a U-Net"):
        load_weights(tmp_path / "net.safetensors")


def trained(**options):
    model, curve = train(small_recipe(), *small_stack(), seed=3, **options)
    return model.state_dict(), curve


@pytest.fixture(scope="module")
def whole():
    """A training of eight steps without a checkpoint: weights and curve."""
    return trained()


def assert_same_bits(weights, whole):
    for name, want in whole[0].items():
        assert torch.equal(weights[name], want), name


def test_a_training_repeats_to_the_same_bits_and_checkpoints_do_not_change_it(tmp_path, whole):
    saved, curve = trained(folder=tmp_path, checkpoint_seconds=0)
    assert_same_bits(saved, whole)
    assert len(curve.loss) == len(curve.seconds) == len(curve.learning_rate) == 8
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
    ended, again = trained(folder=tmp_path, resume=True)
    assert_same_bits(ended, whole)
    assert again == curve


@pytest.mark.parametrize(("optimizer", "stop"), [("sgd", signal.SIGTERM), ("adam", signal.SIGINT)])
def test_a_stopped_training_resumes_to_the_same_bits(tmp_path, optimizer, stop):
    recipe, steps = small_recipe(optimizer=optimizer), []
    whole = train(recipe, *small_stack(), seed=3)[0].state_dict(), None

    def stop_once(step, loss):
        steps.append(step)
        if step == 4:
            signal.raise_signal(stop)

    with pytest.raises(Interrupted, match="stopped after step 5 of 8"):
        train(recipe, *small_stack(), seed=3, folder=tmp_path, report=stop_once)
    rest, curve = train(recipe, *small_stack(), seed=3, folder=tmp_path, resume=True, report=stop_once)
    assert len(curve.loss) == 8
    assert steps == list(range(1, 9))
    assert_same_bits(rest.state_dict(), whole)


def test_a_signal_in_the_last_step_stops_what_would_follow_and_the_training_is_kept(tmp_path, whole):
    stop = lambda step, loss: step == 8 and signal.raise_signal(signal.SIGTERM)  # noqa: E731
    with pytest.raises(Interrupted, match="stopped after step 8 of 8"):
        trained(folder=tmp_path, report=stop)
    steps = []
    ended, _ = trained(folder=tmp_path, resume=True, report=lambda step, loss: steps.append(step))
    assert steps == []
    assert_same_bits(ended, whole)


def test_a_report_can_stop_a_training_which_is_kept(tmp_path, whole):
    def report(step, loss):
        if step == 3:
            raise Interrupted("nobody waits")

    with pytest.raises(Interrupted, match="stopped after step 3 of 8"):
        trained(folder=tmp_path, report=report)
    ended, _ = trained(folder=tmp_path, resume=True)
    assert_same_bits(ended, whole)


def test_a_curve_of_millions_of_steps_is_kept(tmp_path):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    curve = Curve(*([value] * 2_000_000 for value in (0.123456789012345678, 1 / 3, 2 / 3)))
    save_checkpoint(tmp_path / CHECKPOINT, model, optimizer, {}, curve)
    assert load_checkpoint(tmp_path / CHECKPOINT, model, optimizer, {}) == curve


def test_without_resume_a_training_begins_anew(tmp_path, whole):
    with pytest.raises(Interrupted):
        trained(folder=tmp_path, report=lambda step, loss: signal.raise_signal(signal.SIGTERM))
    steps = []
    again, _ = trained(folder=tmp_path, report=lambda step, loss: steps.append(step))
    assert steps == list(range(1, 9))
    assert_same_bits(again, whole)


KILLED = """
import os, signal, sys
from small_training import small_recipe, small_stack
from pathlib import Path
from unet_paper.train import train

write, steps = Path.write_bytes, []

def write_bytes(path, content):
    write(path, content[: 1000 if len(steps) == 5 else None])
    if len(steps) == 5:
        os.kill(os.getpid(), signal.SIGKILL)

Path.write_bytes = write_bytes
report = lambda step, loss: steps.append(step)
train(small_recipe(), *small_stack(), seed=3, folder=sys.argv[1], checkpoint_seconds=0, report=report)
"""


def test_killed_while_it_writes_a_training_still_ends_in_the_same_bits(tmp_path, whole):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2  # the checkpoint of step 4 and a part of that of step 5
    steps = []
    ended, _ = trained(folder=tmp_path, resume=True, report=lambda step, loss: steps.append(step))
    assert steps == [5, 6, 7, 8]
    assert_same_bits(ended, whole)
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


class TwoNames(UNet):
    """One layer under two names, as libraries have it: safetensors refuses to write shared memory."""

    def __init__(self, **network):
        super().__init__(**network)
        self.last = self.score


def test_a_network_with_a_layer_of_two_names_is_kept_and_resumed(tmp_path):
    recipe = replace(small_recipe(), network=lambda: TwoNames(base_channels=4))
    whole, _ = train(recipe, *small_stack(), seed=3)
    stop = lambda step, loss: step == 3 and signal.raise_signal(signal.SIGTERM)  # noqa: E731
    with pytest.raises(Interrupted):
        train(recipe, *small_stack(), seed=3, folder=tmp_path, report=stop)
    resumed, _ = train(recipe, *small_stack(), seed=3, folder=tmp_path, resume=True)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    save_weights(tmp_path / "net.safetensors", whole, METADATA)
    _, tensors = read_weights(tmp_path / "net.safetensors", TwoNames(base_channels=4))
    assert torch.equal(tensors["last.weight"], whole.score.weight)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The checkpoint of a finished training."""
    folder = tmp_path_factory.mktemp("kept")
    trained(folder=folder)
    return folder / CHECKPOINT


def changed(array):
    array = array.copy()
    array[1, 5, 7] = 1 - array[1, 5, 7]
    return array


IMAGES, LABELS = small_stack()


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ({}, {"seed": 4}, "seed 3, not 4"),
        ({"learning_rate": 0.5}, {}, r"optimizer.lr 0.004, not 0.5, schedule.peak 0.004, not 0.5"),
        ({}, {"images": changed(IMAGES)}, r"data \w{64}, not \w{64}"),
        ({}, {"labels": changed(LABELS)}, r"data \w{64}, not \w{64}"),
        ({}, {"weights": UNet(base_channels=4).state_dict()}, r"weights None, not \w{64}"),
    ],
)
def test_a_checkpoint_of_other_settings_or_data_is_refused_and_kept(kept, recipe, options, message):
    before = kept.read_bytes()
    run = {"images": IMAGES, "labels": LABELS, "seed": 3} | options
    with pytest.raises(InputError, match=f"was trained with {message}; use the same settings"):
        train(small_recipe(**recipe), **run, folder=kept.parent, resume=True)
    assert kept.read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(b"not a safetensors file")
    with pytest.raises(InputError, match="is not a checkpoint of this program"):
        trained(folder=tmp_path, resume=True)


@pytest.mark.parametrize("damage", ["a curve that is cut", "a velocity that is missing", "no velocity at all"])
def test_an_incomplete_checkpoint_is_refused(tmp_path, kept, damage):
    tensors = load_file(kept)
    with safe_open(kept, "pt") as file:
        state = json.loads(file.metadata()["state"])
    velocities = sorted(name for name in tensors if name.endswith("velocity"))
    if damage == "a curve that is cut":
        tensors["curve.loss"] = tensors["curve.loss"][:-1].clone()
    for name in {"a velocity that is missing": velocities[:1], "no velocity at all": velocities}.get(damage, []):
        del tensors[name]
    save_file(tensors, tmp_path / CHECKPOINT, {"state": json.dumps(state)})
    with pytest.raises(InputError, match="is damaged: the SHA-256 of its tensors"):
        trained(folder=tmp_path, resume=True)


def test_a_full_disk_is_told_in_one_sentence_and_the_last_checkpoint_stays(tmp_path, kept, monkeypatch):
    before = kept.read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(before)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot write .*checkpoint\.safetensors: .*No space left on device"):
        trained(folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]
    assert (tmp_path / CHECKPOINT).read_bytes() == before
