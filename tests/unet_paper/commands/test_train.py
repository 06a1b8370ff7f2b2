"""``unet-paper train``: what reaches the training, what is held out, and how a stopped one goes on."""

import numpy as np
import pytest
from small_commands import network_file

from data_scripts.phantom import make_phantom
from unet_paper import __main__ as commands
from unet_paper import metrics
from unet_paper import train as training
from unet_paper.checkpoint import load_weights
from unet_paper.config import NetworkConfig, TrainingConfig
from unet_paper.errors import Interrupted
from unet_paper.files import locked
from unet_paper.predict import predict_stack
from unet_paper.tiff import write_stack

SMALL = ("--base-channels", "2", "--steps", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def stacks():
    return make_phantom(3, 40, 48, seed=0)


@pytest.fixture
def train(stacks, tmp_path, monkeypatch):
    """The command on three slices of 40 x 48, with its output for paths as they are given."""
    for name, stack in zip(("images", "labels"), stacks):
        write_stack(tmp_path / f"{name}.tif", stack)
    monkeypatch.chdir(tmp_path)
    return lambda *options, out="net.safetensors": commands.main(["train", "images.tif", "labels.tif", out, *options])


@pytest.fixture
def asked(monkeypatch):
    """What reaches `unet_paper.train.train`."""
    calls, original = [], training.train

    def spy(*arguments, **options):
        calls.append((arguments, options))
        return original(*arguments, **options)

    monkeypatch.setattr(training, "train", spy)
    return calls


def test_the_network_learns_from_all_slices_but_those_held_out_and_is_scored_on_these(train, asked, stacks, capsys):
    assert train(*SMALL, "--hold-out", "1", "--seed", "7") == 0
    (((recipe, images, labels), options),) = asked
    np.testing.assert_array_equal(images, (stacks[0][:2] / 255).astype(np.float32))
    np.testing.assert_array_equal(labels, stacks[1][:2] > 0)
    assert (recipe.steps, options["seed"], options["weights"]) == (2, 7, None)
    printed = capsys.readouterr().out
    assert "trained on 2 slices" in printed
    assert "on the 1 slices held out" in printed
    model, metadata = load_weights("net.safetensors")
    mean, std, held_out = (metadata[name] for name in ("image_mean", "image_std", "held_out"))
    assert (mean, std) == pytest.approx((stacks[0][:2].mean() / 255, stacks[0][:2].std() / 255))
    assert (held_out["slices"], held_out["train_slices"], held_out["rotations"]) == ([2], 2, "eight")
    probability = predict_stack(model, (stacks[0][2:] / 255).astype(np.float32), mean=mean, std=std)
    scores = metrics.score(stacks[1][2:] > 0, probability)
    assert held_out["scores"]["pixel_error"] == pytest.approx(scores.pixel_error.value)
    assert held_out["scores"]["v_rand"] == pytest.approx(scores.v_rand.value)
    assert f"V_Rand         {held_out['scores']['v_rand']:.6f}" in printed
    assert held_out["thresholds"]["v_rand"] in [None, *metrics.THRESHOLDS]


@pytest.mark.parametrize(("size", "unit", "kept"), [((50, 8, 8), "nm", [50, 8, 8]), (None, None, None)])
def test_the_weights_know_the_size_of_the_pixels_if_the_images_do(train, stacks, size, unit, kept):
    write_stack("images.tif", stacks[0], voxel_size=size, unit=unit)
    assert train(*SMALL) == 0
    assert load_weights("net.safetensors")[1].get("voxel_nm") == kept


def test_the_weights_are_kept_with_what_they_need_and_nothing_else_is_left(train, stacks, tmp_path):
    assert train(*SMALL) == 0
    model, metadata = load_weights("net.safetensors")
    assert model.config.base_channels == 2
    assert metadata["image_mean"] == pytest.approx(stacks[0].mean() / 255)
    assert metadata["recipe"]["steps"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.tif", "labels.tif", "net.safetensors"]


def test_by_default_the_recipe_is_the_papers(train, monkeypatch):
    class Seen(Exception):
        pass

    def stop(recipe, *_, **__):
        raise Seen(recipe.configuration)

    monkeypatch.setattr(training, "train", stop)
    with pytest.raises(Seen) as seen:
        train("--device", "cpu")
    (configuration,) = seen.value.args
    assert configuration["steps"] == TrainingConfig.steps
    assert configuration["network"]["base_channels"] == NetworkConfig.base_channels
    assert configuration["optimizer"]["name"] == "MomentumSGD"


def test_other_weights_are_gone_on_from(train, asked):
    assert train(*SMALL) == 0
    assert train("--init", "net.safetensors", *SMALL[2:], "--optimizer", "adam", out="next.safetensors") == 0
    begun = load_weights("net.safetensors")[0].state_dict()
    recipe, given = asked[1][0][0], asked[1][1]["weights"]
    assert recipe.configuration["network"]["base_channels"] == 2
    assert recipe.configuration["optimizer"]["name"] == "Adam"
    assert all((given[name] == value).all() for name, value in begun.items())
    past = load_weights("net.safetensors")[1]
    assert load_weights("next.safetensors")[1]["init"] == past


def test_the_learning_rate_is_that_of_the_optimizer_unless_it_is_named(train, asked):
    for options in ((), ("--optimizer", "adam"), ("--optimizer", "adam", "--learning-rate", "1e-3")):
        assert train(*SMALL, *options) == 0
    assert [recipe.configuration["schedule"]["peak"] for (recipe, *_), _ in asked] == [4e-3, 3e-4, 1e-3]


def test_a_training_that_another_process_does_is_left_to_it(train, tmp_path, capsys):
    folder = tmp_path / ".net-training"
    folder.mkdir()
    with locked(folder):
        assert train(*SMALL) == 2
        assert folder.exists()
    assert "another process works in" in capsys.readouterr().err


def test_a_training_that_was_stopped_while_it_was_scored_is_not_repeated(train, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("unet_paper.commands.train._held_out_scores", stop)
        assert train(*SMALL, "--hold-out", "1") == 130
    assert load_weights("net.safetensors")[0].config.base_channels == 2
    monkeypatch.setattr(training.Descent, "__call__", lambda *_: pytest.fail("a step was taken again"))
    assert train(*SMALL, "--hold-out", "1") == 0
    assert "held_out" in load_weights("net.safetensors")[1]


def test_a_training_that_was_stopped_goes_on_with_the_same_command(train, monkeypatch, tmp_path):
    original = training.train

    def stopped(*arguments, **options):
        original(*arguments, **options)
        raise Interrupted("stopped after step 2 of 2")

    monkeypatch.setattr(training, "train", stopped)
    assert train(*SMALL) == 130
    assert (tmp_path / ".net-training" / training.CHECKPOINT).exists()
    assert not (tmp_path / "net.safetensors").exists()
    monkeypatch.setattr(training, "train", original)
    monkeypatch.setattr(training.Descent, "__call__", lambda *_: pytest.fail("a step was taken again"))
    assert train(*SMALL) == 0
    assert load_weights("net.safetensors")[0].config.base_channels == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--hold-out", "3"), "leaves no slice"),
        (("--seed", "-1"), "the seed is -1"),
        (("--init", "images.tif"), "is not a safetensors file"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_writes_nothing(train, tmp_path, capsys, options, words):
    assert train(*SMALL, *options) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.tif", "labels.tif"]


@pytest.mark.parametrize(("value", "lacks"), [(0, "cell"), (2, "membrane")])
def test_labels_without_membrane_or_without_cells_are_refused(train, stacks, tmp_path, capsys, value, lacks):
    labels = stacks[1].copy()
    labels[:2] = value
    write_stack("labels.tif", labels)
    assert train(*SMALL, "--hold-out", "1") == 2
    assert f"labels.tif has no {lacks} in the slices to train on; it must be 0 in" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.tif", "labels.tif"]


def test_cells_that_touch_are_told(train, stacks, capsys):
    assert train(*SMALL) == 0
    assert "touch" not in capsys.readouterr().err
    for axis in (1, 2):
        labels = stacks[1].astype(np.uint16)
        labels[(slice(None),) * axis + (slice(20, None),)] *= 2
        write_stack("labels.tif", labels)
        assert train(*SMALL) == 0
        assert "cells of labels.tif touch without 0 between them" in capsys.readouterr().err


def test_files_of_others_beside_the_checkpoint_stay(train, tmp_path):
    folder = tmp_path / ".net-training"
    (folder / "sub").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / ".checkpoint-01234567.safetensors").write_text("of a training that was killed")
    assert train(*SMALL) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "sub"]


def test_the_weights_that_a_training_goes_on_from_are_not_overwritten(train, tmp_path, capsys):
    assert train(*SMALL) == 0
    before = (tmp_path / "net.safetensors").read_bytes()
    assert train(*SMALL, "--init", "net.safetensors") == 2
    assert "it is net.safetensors, which is read" in capsys.readouterr().err
    assert (tmp_path / "net.safetensors").read_bytes() == before


def test_weights_of_another_depth_are_not_gone_on_from(train, tmp_path, capsys):
    network_file(tmp_path / "shallow.safetensors", 2, depth=2)
    assert train("--init", "shallow.safetensors", out="next.safetensors") == 2
    assert "depth=2" in (told := capsys.readouterr().err)
    assert "it must be the paper's but for width and dropout" in told


def test_weights_of_another_width_and_other_names_are_refused(train, capsys):
    assert train(*SMALL) == 0
    assert train("--init", "net.safetensors", "--base-channels", "4", out="next.safetensors") == 2
    assert train(*SMALL, out="net.pt") == 2
    told = capsys.readouterr().err
    assert "has 2 base channels" in told
    assert "must end" in told
