"""Ablations: each changes one thing and has the effect it is for; what runs, in which order, and what is shared."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from reproduce import ablations, records
from reproduce.baselines import variants
from reproduce.experiment import training
from reproduce.experiment.run import splits
from unet_paper.config import ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.errors import InputError
from unet_paper.predict import predict_stack
from unet_paper.recipe import weight_maps
from unet_paper.train import Descent
from unet_paper.weight_map import balanced_class_weights

CONFIG = ExperimentConfig(
    network=NetworkConfig(base_channels=2),
    training=TrainingConfig(input_size=252, steps=2, warmup_steps=0, precision="float32"),
)
CHANGED = {  # entries of the configuration; those that go are None
    "base": {},
    "no-border-weight": {"sampler.weight_map.w0": 0.0},
    "border-everywhere": {"sampler.weight_map.background_only": False},
    "no-class-balance": {"sampler.weight_map.class_weights": [1.0, 1.0]},
    "no-elastic": {"sampler.augmentation.sigma": 0.0},
    "shifts-only": {f"sampler.augmentation.{name}": 0.0 for name in ("sigma", "rotation", "gain", "offset")},
    "no-dropout": {"network.dropout": 0.0},
    "adam": {"optimizer.name": "Adam", "optimizer.momentum": None, "optimizer.lr": 1e-5, "schedule.peak": 1e-5},
    "adam-1e-4": {"optimizer.name": "Adam", "optimizer.momentum": None, "optimizer.lr": 1e-4, "schedule.peak": 1e-4},
    "linear-up": {"network.name": "LinearUpUNet"},
    "released": {"network.name": "ReleasedUNet"},
    "zero-context": {"sampler.name": "zero_padded_sampler"},
    "padded": {
        "network.name": "padded_unet",
        "network.margin": 128,
        "sampler.input_size": 512,
        "sampler.output_size": 512,
    },
}


@pytest.fixture
def command(run_command):
    return partial(run_command, "ablations")


def flat(value, path=()):
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flat(item, (*path, name)).items()}
    return {".".join(path): value}


def configuration(name):
    return flat(json.loads(json.dumps(ablations.build(name, CONFIG).recipe.configuration)))


def sampler_of(name, data):
    return ablations.build(name, CONFIG).recipe.sampler(data.images - data.images.mean(), data.labels, "cpu")


def still(*centre):
    """A draw of slice 0 about `centre` that changes nothing else."""
    drawn = np.zeros((1, 24), np.float32)
    drawn[0, :6] = 0, *centre, 0, 1, 0
    return drawn


def weights_of(name, data):
    return sampler_of(name, data).weights[:, 0].numpy()


def test_every_ablation_is_listed_here():
    assert set(CHANGED) == set(ablations.ABLATIONS)


@pytest.mark.parametrize("name", CHANGED)
def test_an_ablation_changes_these_entries_of_the_configuration(name):
    before, after = configuration("base"), configuration(name)
    assert {k: after.get(k) for k in before.keys() | after.keys() if before.get(k) != after.get(k)} == CHANGED[name]
    predict = {"padded": {"tile": 512, "margin": 128}, "zero-context": {"padding": "zero"}}.get(name, {})
    assert ablations.build(name, CONFIG).predict == {"depth": 4} | predict


def test_without_border_weight_a_class_has_one_weight(data):
    base, flat_ones, membrane = weights_of("base", data), weights_of("no-border-weight", data), data.labels == 0
    expected = np.where(membrane, *balanced_class_weights(data.labels)).astype(np.float32)
    np.testing.assert_allclose(flat_ones, expected, rtol=1e-6)
    assert np.array_equal(base[~membrane], flat_ones[~membrane])
    assert (base - flat_ones)[membrane].max() > 5


def test_a_border_weight_everywhere_reaches_into_cells(data):
    base, everywhere, membrane = weights_of("base", data), weights_of("border-everywhere", data), data.labels == 0
    assert np.array_equal(base[membrane], everywhere[membrane])
    assert (everywhere - base)[~membrane].min() >= 0
    assert (everywhere - base)[~membrane].max() > 1


def test_without_class_balance_both_classes_weigh_one_beside_the_border(data):
    base, equal = weights_of("base", data), weights_of("no-class-balance", data)
    excess = np.where(data.labels == 0, *balanced_class_weights(data.labels)) - 1
    np.testing.assert_allclose(base - equal, excess, atol=1e-5)
    assert (equal[data.labels == 1] == 1).all()


def test_without_elastic_deformation_tiles_are_rotated_alone(data):
    base, rigid = (sampler_of(name, data).draw(np.random.default_rng(1), 4) for name in ("base", "no-elastic"))
    assert np.array_equal(base[:, :6], rigid[:, :6])
    assert (np.abs(base[:, 6:]) > 0).all()
    assert not rigid[:, 6:].any()


def test_shifts_alone_leave_a_window_of_the_mirrored_slice(data):
    base, sampler = sampler_of("base", data), sampler_of("shifts-only", data)
    drawn = sampler.draw(np.random.default_rng(1), 4)
    assert np.array_equal(drawn[:, :3], base.draw(np.random.default_rng(1), 4)[:, :3])
    tile = sampler(drawn)
    for (z, y, x), image, labels, weights in zip(drawn[:, :3].astype(int), tile.image[:, 0], tile.labels, tile.weights):
        for made, stack, side in (
            (image, sampler.images, 252),
            (labels, data.labels, 68),
            (weights, sampler.weights, 68),
        ):
            plane = np.asarray(stack).reshape(5, 64, 64)[z]
            top, left = y + 128 - side // 2 + 1, x + 128 - side // 2 + 1
            expected = np.pad(plane, 128, "reflect")[top : top + side, left : left + side]
            np.testing.assert_allclose(made, expected, atol=1e-3)


def test_without_dropout_training_repeats_itself():
    torch.manual_seed(0)
    image = torch.randn(1, 1, 188, 188)
    for name, repeats in (("base", False), ("no-dropout", True)):
        network = ablations.build(name, CONFIG).recipe.network().train()
        assert torch.equal(network(image), network(image)) == repeats


@pytest.mark.parametrize(("name", "rate"), [("adam", 1e-5), ("adam-1e-4", 1e-4)])
def test_adams_first_step_moves_every_weight_by_its_rate(name, rate, data):
    descent = Descent(ablations.build(name, CONFIG).recipe, data.images, data.labels, seed=0)
    before = [p.detach().clone() for p in descent.model.parameters()]
    descent(0)
    moved = torch.cat([(b - p.detach()).abs().ravel() for b, p in zip(before, descent.model.parameters())])
    assert float(moved.max()) == pytest.approx(rate, rel=0.02)
    assert float(moved[moved > 0].median()) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("name", ["base", "linear-up", "released"])
def test_what_leaves_the_last_up_convolution(name):
    torch.manual_seed(0)
    network = ablations.build(name, CONFIG).recipe.network()
    left = []
    network.up_convolutions[0].register_forward_hook(lambda module, given, output: left.append(output.detach()))
    assert network(torch.randn(1, 1, 188, 188)).shape == (1, 2, 4, 4)
    assert (left[0].min() < 0) == (name == "linear-up")
    assert left[0].shape[1] == (4 if name == "released" else 2)


class Seen(torch.nn.Module):
    """Remembers its input; its output is as large as a U-Net's, or as a padded network's."""

    def __init__(self, margin):
        super().__init__()
        self.margin, self.inputs = margin, []

    def forward(self, x):
        self.inputs.append(x[0, 0].clone())
        m = self.margin
        return x[..., m : x.shape[-2] - m, m : x.shape[-1] - m].repeat(1, 2, 1, 1)


def test_with_zero_context_a_tile_is_the_slice_in_zeros(data):
    centre = still(31.5, 31.5)
    for name in ("base", "zero-context"):
        sampler = sampler_of(name, data)
        tile = sampler(centre)
        plane = torch.as_tensor(data.images[0] - data.images.mean())
        weights = torch.as_tensor(weight_maps(data.labels, CONFIG.weight_map)[0])
        padding = {"base": {"mode": "reflect"}, "zero-context": {}}[name]
        if name == "zero-context":
            torch.testing.assert_close(tile.image[0, 0], F.pad(plane, [94] * 4), atol=1e-3, rtol=0)
        else:
            assert (tile.image[0, 0] != 0).float().mean() > 0.99
        torch.testing.assert_close(tile.weights[0], F.pad(weights[None], [2] * 4, **padding)[0], atol=1e-2, rtol=0)


def test_with_zero_context_prediction_sees_zeros_beyond_the_slice(data):
    mean, std = 0.5, 0.25
    plane = torch.as_tensor((data.images[0] - mean) / std)
    for name in ("base", "zero-context"):
        network = Seen(margin=92)
        predict = ablations.build(name, CONFIG).predict
        predict_stack(network, data.images[:1], mean=mean, std=std, rotations="none", precision="float32", **predict)
        (piece,) = network.inputs
        assert piece.shape == (700, 700)
        torch.testing.assert_close(piece[92:156, 92:156], plane)
        beyond = torch.ones_like(piece, dtype=torch.bool)
        beyond[92:156, 92:156] = False
        if name == "zero-context":
            assert not piece[beyond].any()
        else:
            assert torch.equal(piece[91, 92:156], plane[1])
            assert (piece[beyond] != 0).float().mean() > 0.99


def test_padded_tiles_are_512_in_and_out_with_the_weight_map(data):
    recipe = ablations.build("padded", CONFIG).recipe
    sampler = recipe.sampler(data.images, data.labels, "cpu")
    tile = sampler(sampler.draw(np.random.default_rng(0)))
    assert [tuple(part.shape) for part in tile] == [(1, 1, 512, 512), (1, 512, 512), (1, 512, 512)]
    assert (tile.weights > 0).all()
    centred = sampler(still(31.5, 31.5))
    within = slice(256 - 32, 256 + 32)
    expected = data.images[0], data.labels[0], weight_maps(data.labels, CONFIG.weight_map)[0]
    for made, plane in zip(centred, expected):
        np.testing.assert_allclose(made.squeeze()[within, within], plane, atol=2e-2)
    descent = Descent(recipe, data.images, data.labels, seed=0)
    assert isinstance(descent.model.network, variants.SamePaddingUNet)
    assert np.isfinite(float(descent(0)))


def test_the_padded_network_predicts_512_of_768_mirrored_pixels():
    network, predict = Seen(margin=128), ablations.build("padded", CONFIG).predict
    images = np.random.default_rng(0).random((1, 512, 512)).astype(np.float32)
    predict_stack(network, images, mean=0.0, std=1.0, rotations="none", precision="float32", **predict)
    (piece,) = network.inputs
    assert np.array_equal(piece, np.pad(images[0], 128, "reflect"))


def listed(runs):
    return [(run.seeds[0], run.splits[0].name, run.method.name) for run in runs]


def runs_of(names, sizes=None, folds=(0,), seeds=(0,)):
    given = {"folds": folds, "seeds": seeds, "sizes": sizes, "n_slices": 30, "rotations": ("none",)}
    return ablations.runs_of(CONFIG, names, **given)


def test_the_first_fold_and_seed_of_all_comes_before_the_second_of_any():
    runs = runs_of(["base", "adam"], folds=[1, 0, 1], seeds=[5, 2])
    assert listed(runs) == [
        (seed, fold, name) for seed in (5, 2) for fold in ("fold0", "fold1") for name in ("base", "adam")
    ]
    assert {run.experiment for run in runs} == {"ablations"}
    assert {run.rotations for run in runs} == {("none",)}
    assert [run.splits for run in runs[:4:2]] == [splits(30, [0]), splits(30, [1])]


def test_conditions_tell_variants_of_one_recipe_apart_by_their_names():
    base, adam = runs_of(["base", "adam"])
    assert (base.conditions.pop("variant"), adam.conditions.pop("variant")) == ("base", "adam")
    settings = {"base_channels": 2, "optimizer": "sgd", "learning_rate": 4e-3, "warmup_steps": 0}
    assert base.conditions == adam.conditions == settings  # of the recipe that is changed


def test_a_change_that_the_settings_make_already_is_left_out(capsys):
    training = replace(CONFIG.training, optimizer="adam", learning_rate=1e-4)
    given = {"folds": [0], "seeds": [0], "sizes": None, "n_slices": 30, "rotations": ("none",)}
    runs = ablations.runs_of(replace(CONFIG, training=training), ["base", "adam", "adam-1e-4"], **given)
    assert [run.method.name for run in runs] == ["base", "adam"]
    assert "left out: adam-1e-4, the unchanged recipe by these settings" in capsys.readouterr().out


def test_the_learning_curve_trains_on_ever_more_slices_of_one_fold():
    runs = runs_of(["base", "no-elastic"], sizes=[1, 6, 24])
    assert listed(runs) == [
        (0, split, name) for split in ("fold0-1slices", "fold0-6slices", "fold0") for name in ("base", "no-elastic")
    ]
    assert [len(run.splits[0].train) for run in runs] == [1, 1, 6, 6, 24, 24]
    assert {run.experiment for run in runs} == {"learning-curve"}
    assert {run.splits[0].held_out for run in runs} == {tuple(range(6))}
    assert all(not set(run.splits[0].train) & set(range(6)) for run in runs)
    with pytest.raises(InputError, match="25 training slices cannot be taken; it must be 1 to 24"):
        runs_of(["base"], sizes=[25])


def test_on_all_slices_the_learning_curve_names_the_trainings_of_the_ablations():
    def trainings(runs):
        return [(run.method.label, run.splits[0], run.seeds[0]) for run in runs]

    names = ["base", "no-elastic"]
    assert trainings(runs_of(names, sizes=[24])) == trainings(runs_of(names))
    assert not set(trainings(runs_of(names, sizes=[1, 6]))) & set(trainings(runs_of(names)))


def test_the_command_runs_what_it_is_asked_to(command, data, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "reproduce.experiment.execute.execute", lambda runs, *given, **words: asked.append((runs, given, words))
    )
    assert command("--only adam base --folds 3 --seeds 4 5 --steps 9 --rotations none seven") == 0
    assert command("") == 0
    assert command("--learning-curve 1 4 --folds 0 --seeds 2") == 0
    (some, given, _), (default, _, words), (curve, _, _) = asked
    assert given[0].sha256 == data.sha256
    assert (words["device"], words["out"].is_dir()) == ("cpu", True)
    assert listed(some) == [(seed, "fold3", name) for seed in (4, 5) for name in ("adam", "base")]
    assert {(run.method.recipe.steps, run.rotations) for run in some} == {(9, ("none", "seven"))}
    assert listed(default) == [
        (seed, fold, name) for seed in (0, 1) for fold in ("fold0", "fold1") for name in ablations.ABLATIONS
    ]
    assert {(run.method.recipe.steps, run.rotations) for run in default} == {(10_000, ("eight",))}
    names = ("base", "no-elastic", "shifts-only")
    assert listed(curve) == [(2, split, name) for split in ("fold0-1slices", "fold0") for name in names]


def test_the_learning_curve_is_recorded_once_and_shares_its_last_training(command, tmp_path, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(
        training, "train", lambda *a, real=training.train, **k: trained.append(len(a[1])) or real(*a, **k)
    )
    how = "--only base --folds 0 --seeds 0 --steps 1 --base-channels 1 --rotations none"
    assert command(f"{how} --learning-curve 1 4") == 0
    assert trained == [1, 4]
    assert command(f"{how} --learning-curve 1 4") == 0
    assert capsys.readouterr().out.count("recorded already") == 2
    assert command(how) == 0
    assert trained == [1, 4]
    one, curve, base = records.read(tmp_path / "records.jsonl")
    assert [
        (r.experiment, r.name, r.conditions["train_slices"], r.conditions["variant"]) for r in (one, curve, base)
    ] == [
        ("learning-curve", "base", 1, "base"),
        ("learning-curve", "base", 4, "base"),
        ("ablations", "base", 4, "base"),
    ]
    assert (base.scores, base.prediction) == (curve.scores, curve.prediction)
    assert set(base.scores) == set(records.SCORES)
    assert one.prediction != curve.prediction
    assert {r.conditions["slices"][0] for r in (one, curve, base)} == {0}
    assert replace(base, experiment=curve.experiment).provenance["config"] == curve.provenance["config"]
