"""The ablations, the learning curve, the sweep and the comparison: what runs, once, and what it leaves."""

import argparse
import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_scripts.phantom import make_phantom
from reproduce import ablations, compare_systems, experiment, records, sweep
from reproduce.systems import build_system, sliding_window, variants
from unet_paper import train as training
from unet_paper.config import AugmentationConfig, ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.errors import InputError
from unet_paper.isbi import IsbiData
from unet_paper.train import NonFiniteLoss

CONFIG = ExperimentConfig(
    network=NetworkConfig(base_channels=1),
    augmentation=AugmentationConfig(sigma=0),
    training=TrainingConfig(input_size=188, steps=2, warmup_steps=0, precision="float32"),
)
CHANGED = {
    "base": {},
    "no-border-weight": {"weight_map.w0": 0.0},
    "border-everywhere": {"weight_map.background_only": False},
    "no-class-balance": {"weight_map.class_weights": (1.0, 1.0)},
    "no-elastic": {"augmentation.sigma": 0.0},
    "shifts-only": {
        "augmentation.sigma": 0.0,
        "augmentation.rotation": 0.0,
        "augmentation.gain": 0.0,
        "augmentation.offset": 0.0,
    },
    "no-dropout": {"network.dropout": 0.0},
    "adam": {"training.optimizer": "adam", "training.learning_rate": 1e-5},
    "adam-1e-4": {"training.optimizer": "adam", "training.learning_rate": 1e-4},
    "linear-up": {"variant": "linear-up"},
    "released": {"variant": "released"},
    "zero-context": {"variant": "zero-context"},
    "padded": {"variant": "padded"},
}


@pytest.fixture(scope="module")
def data():
    images, labels = make_phantom(5, 64, 64, seed=0)
    images = images.astype(np.float32) / 255
    return IsbiData(images, (labels > 0).astype(np.uint8), images[:1], {"train-volume": "phantom"})


def flat(value, path=()):
    if isinstance(value, dict):
        return {k: v for name, item in value.items() for k, v in flat(item, (*path, name)).items()}
    return {".".join(path): value}


def read(out):
    return records.read(out / "records.jsonl")


def test_every_ablation_is_listed_here():
    assert set(CHANGED) == set(ablations.ABLATIONS)


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_an_ablation_changes_its_one_thing(name):
    config = ExperimentConfig()
    base, system = ablations.build("base", config), ablations.build(name, config)
    before, after = flat(base.recipe.identity), flat(system.recipe.identity)
    assert {k: v for k, v in after.items() if k not in before or before[k] != v} == CHANGED[name]
    assert set(before) <= set(after)
    assert (base.recipe.steps, base.recipe.batch, base.recipe.loss, base.recipe.precision) == (
        system.recipe.steps,
        system.recipe.batch,
        system.recipe.loss,
        system.recipe.precision,
    )
    assert (system.predict == base.predict) == (name not in ("padded", "zero-context"))


def test_variants_are_built():
    networks = {name: ablations.build(name, CONFIG).recipe.build() for name in ("padded", "zero-context", "base")}
    assert isinstance(networks["padded"].network, variants.SamePaddingUNet)
    assert type(networks["zero-context"]) is type(networks["base"])


def test_order_of_runs_is_breadth_first():
    runs = ablations.ablations(CONFIG, ["base", "adam"], folds=[0, 1], seeds=[0, 1], n_slices=30)
    order = [(r.seed, r.part.name, r.system.name) for r in runs]
    assert order[:3] == [(0, "fold0", "base"), (0, "fold0", "adam"), (0, "fold1", "base")]
    assert len(order) == len(set(order)) == 8


def test_learning_curve_shares_the_whole_training_set_with_the_base():
    runs = ablations.learning_curve(CONFIG, [1, 6, 24], folds=[0], seeds=[0], n_slices=30)
    assert [len(r.part.train) for r in runs] == [1, 6, 24]
    assert [r.system.name for r in runs] == ["learning-curve-1", "learning-curve-6", "base"]
    base = ablations.build("base", CONFIG).recipe.identity
    assert all(r.system.recipe.identity == base for r in runs)
    assert len({r.part.held_out for r in runs}) == 1
    with pytest.raises(InputError, match="not in 1 to 24"):
        ablations.learning_curve(CONFIG, [25], folds=[0], seeds=[0], n_slices=30)


def how(tmp_path, name="ablations"):
    return {"experiment_name": name, "seed": 0, "device": "cpu", "out": tmp_path, "rotations": ["none"]}


@pytest.mark.parametrize("name", ["no-dropout", "zero-context"])
def test_a_run_is_recorded_once(data, tmp_path, name, capsys):
    system = ablations.build(name, CONFIG)
    part = experiment.parts(5, [0])
    ablations.attempt(system, data, part, **how(tmp_path))
    (record,) = read(tmp_path)
    assert (record.experiment, record.name) == ("ablations", name)
    assert record.conditions["folds"] == ["fold0"]
    assert set(record.scores) == set(records.SCORES)
    assert (tmp_path / record.prediction).exists()
    ablations.attempt(system, data, part, **how(tmp_path))
    assert len(read(tmp_path)) == 1
    assert "recorded already" in capsys.readouterr().out
    ablations.attempt(system, data, experiment.parts(5, [1]), **how(tmp_path))
    assert [r.conditions["folds"] for r in read(tmp_path)] == [["fold0"], ["fold1"]]


def test_a_loss_that_is_not_finite_is_a_record_and_not_tried_again(data, tmp_path, monkeypatch):
    wild = replace(CONFIG, training=replace(CONFIG.training, learning_rate=1e30, warmup_steps=0, steps=5))
    system, part = sweep.build(wild), experiment.parts(5, [0])
    ablations.attempt(system, data, part, conditions=sweep.conditions(wild), **how(tmp_path, "sweep"))
    (record,) = read(tmp_path)
    assert record.scores == {}
    assert "not finite at step" in record.conditions["outcome"]
    assert record.conditions["learning_rate"] == 1e30

    def train(*args, **kwargs):
        raise NonFiniteLoss("again")

    monkeypatch.setattr(experiment, "train", train)
    ablations.attempt(system, data, part, conditions=sweep.conditions(wild), **how(tmp_path, "sweep"))
    assert len(read(tmp_path)) == 1


def test_a_network_that_does_not_fit_is_left_out_and_not_recorded(data, tmp_path, monkeypatch, capsys):
    def train(*args, **kwargs):
        raise torch.OutOfMemoryError("tried to allocate 200 GiB")

    monkeypatch.setattr(experiment, "train", train)
    ablations.attempt(ablations.build("base", CONFIG), data, experiment.parts(5, [0]), **how(tmp_path))
    assert "base, seed 0: left out: tried to allocate 200 GiB" in capsys.readouterr().out
    assert not (tmp_path / "records.jsonl").exists()


def test_conditions_and_measures_reach_the_record(data, tmp_path):
    system = ablations.build("base", CONFIG)
    ablations.attempt(
        system,
        data,
        experiment.parts(5, [0]),
        conditions={"learning_rate": 0.5},
        measures=lambda: {"gflop_per_slice": 2.0},
        **how(tmp_path, "sweep"),
    )
    (record,) = read(tmp_path)
    assert record.conditions["learning_rate"] == 0.5
    assert record.measures["gflop_per_slice"] == 2.0


def test_a_time_budget_ends_training_and_spans_the_schedule(data, tmp_path, monkeypatch):
    ticks = itertools.count(0, 0.05)  # a clock that does not depend on the machine
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    system = build_system("unet", replace(CONFIG, training=replace(CONFIG.training, steps=1000, warmup_steps=0)))
    timed = compare_systems.within(system, 1.5)
    assert timed.name == "unet-1.5s"
    account = experiment.run_training(timed, data, experiment.parts(5, [0])[0], seed=0, device="cpu", out=tmp_path)
    assert 1.5 <= account["seconds"] < 1.7
    curve = np.genfromtxt(tmp_path / "curves" / "unet-1.5s-fold0-seed0.csv", delimiter=",", names=True)
    assert account["steps"] == len(curve) > 5
    rates, peak = curve["learning_rate"], CONFIG.training.learning_rate
    assert (np.diff(rates) < 0).all()
    assert rates[0] > 0.9 * peak
    assert rates[-1] < 0.5 * peak
    with pytest.raises(InputError, match="positive"):
        compare_systems.within(system, 0)


def test_systems_whose_library_is_missing_are_left_out(monkeypatch, capsys):
    def missing(config):
        raise InputError("needs a library")

    monkeypatch.setitem(compare_systems.SYSTEMS, "fcn", missing)
    names = [s.name for s in compare_systems.build(["unet", "fcn", "u2net"], steps=7)]
    assert names == ["unet", "u2net"]
    assert "needs a library" in capsys.readouterr().out
    with pytest.raises(InputError, match="needs a library"):
        compare_systems.build(["fcn"])


def test_cost_of_a_slice():
    config = ExperimentConfig()
    cost = compare_systems.cost(build_system("fcn", config), device="cpu")
    assert cost == {"gflop_per_slice": pytest.approx(408.94, abs=0.01)}
    system = build_system("sliding-window", config)
    small = sliding_window.Speed(10.0, 0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_systems, "measure_speed", lambda network, device: small)
        cost = compare_systems.cost(system, device="cpu")
    assert cost["gflop_per_slice"] == pytest.approx(133.98, abs=0.01)
    assert round(cost["arithmetic_ratio"]) == 475
    assert cost["speed_ratio"] == pytest.approx(100)


def test_systems_of_one_protocol_are_drawn_side_by_side(data, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        compare_systems, "draw_methods_montage", lambda *given, **words: drawn.update(words, maps=given[2])
    )
    assert compare_systems.montage(data, tmp_path) is None
    for folds, names in (([1], ["unet"]), ([0], ["unet", "fcn"])):
        for name in names:
            ablations.attempt(build_system(name, CONFIG), data, experiment.parts(5, folds), **how(tmp_path, "systems"))
    older, *_ = read(tmp_path)
    worst = replace(older, scores=older.scores | {"v_rand": 0.0})  # the newest protocol counts, whatever its scores
    lines = (tmp_path / "records.jsonl").read_text().splitlines()[1:]
    (tmp_path / "records.jsonl").unlink()
    records.append(worst, tmp_path / "records.jsonl")
    with open(tmp_path / "records.jsonl", "a") as file:
        file.write("\n".join(lines) + "\n")
    newest = read(tmp_path)[-1]  # a later experiment has overwritten its map: there is nothing of it to draw
    overwritten = replace(newest, experiment="table1", scores=newest.scores | {"v_rand": 0.5})
    kept = (tmp_path / "records.jsonl").read_bytes()
    records.append(overwritten, tmp_path / "records.jsonl")
    compare_systems.montage(data, tmp_path)
    assert newest.conditions["title"] not in drawn["maps"]
    (tmp_path / "records.jsonl").write_bytes(kept)
    compare_systems.montage(data, tmp_path)
    assert drawn["heading"].startswith("trained for")
    assert drawn["titles"] == ["slice 0"]
    unet, fcn = read(tmp_path)[1:]
    assert set(drawn["maps"]) == {unet.conditions["title"], fcn.conditions["title"]}
    for record in (unet, fcn):
        probability, scores = drawn["maps"][record.conditions["title"]]
        assert scores.v_rand.value == record.scores["v_rand"]
        assert probability.shape == scores.warping_error.merges.shape


@pytest.mark.parametrize("module", [ablations, sweep, compare_systems])
def test_commands_run_what_they_are_asked_to(module, data, tmp_path, monkeypatch):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    words = {
        ablations: "--only adam base --folds 3 --seeds 4 5 --steps 9",
        sweep: "--fold 3 --learning-rates 1e-3 2e-3 --steps 9 --warmup 1",
        compare_systems: "--only unet fcn --folds 3 --seeds 4 --steps 9",
    }[module]
    arguments = parser.parse_args(words.split(), argparse.Namespace(data=None, device="cpu", seed=0, out=tmp_path))
    called = []
    monkeypatch.setattr(module, "load_data", lambda folder: data)
    monkeypatch.setattr(module, "attempt", lambda system, *args, **kwargs: called.append((system, args[1], kwargs)))
    monkeypatch.setattr("reproduce.render.run", lambda arguments: 0)
    assert module.run(arguments) == 0
    assert len(called) == {ablations: 4, sweep: 2, compare_systems: 2}[module]
    assert all(system.recipe.steps == 9 for system, _, _ in called)
    assert all([part.name.removesuffix("-inner") for part in chosen] == ["fold3"] for _, chosen, _ in called)
    assert len({json.dumps([s.recipe.identity, k["seed"]]) for s, _, k in called}) == len(called)
    assert torch.is_grad_enabled()
