"""Systems: which methods run with which budget, what a slice costs them, and a training bounded by time."""

import itertools
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reproduce import records, systems
from reproduce.baselines import METHODS, build_method, common
from reproduce.experiment.run import splits
from unet_paper import train as training
from unet_paper.config import ExperimentConfig

pytestmark = pytest.mark.filterwarnings("default")  # MONAI's


@pytest.fixture
def command(run_command):
    return partial(run_command, "systems")


@pytest.fixture
def asked(monkeypatch):
    """The runs of each call of `execute`, which does nothing."""
    calls = []
    monkeypatch.setattr("reproduce.experiment.execute.execute", lambda runs, data, **words: calls.append(runs) or [])
    return calls


def test_by_default_every_method_runs_on_all_folds_for_the_same_steps(command, asked):
    assert command("--seeds 3 --steps 30") == 0
    (runs,) = asked
    assert [(run.method.name, run.seeds[0]) for run in runs] == [(name, 3) for name in METHODS]
    assert all(run.splits == splits(5) for run in runs)
    assert all(run.conditions == {"budget": {"steps": 30}} for run in runs)  # also of the sliding window
    assert all((run.experiment, run.rotations) == ("systems", ("eight",)) for run in runs)
    steps = {run.method.name: run.method.recipe.steps for run in runs}
    assert steps == dict.fromkeys(METHODS, 30) | {"sliding-window": 290}
    assert {run.method.recipe.seconds for run in runs} == {None}


def test_one_method_in_a_given_time(command, asked):
    assert command("--only fcn --seconds 5 --folds 4 1 --seeds 2 0 --rotations none seven") == 0
    assert command("--only fcn --folds 4 1 --seeds 2 0") == 0
    timed, stepped = asked
    assert [(run.method.name, run.seeds[0]) for run in timed] == [("fcn", 2), ("fcn", 0)]
    for run in timed:
        assert run.conditions == {"budget": {"seconds": 5.0}}
        assert run.method.recipe.seconds == 5.0
        assert [split.name for split in run.splits] == ["fold1", "fold4"]
        assert run.rotations == ("none", "seven")
    assert stepped[0].conditions == {"budget": {"steps": ExperimentConfig().training.steps}}
    assert timed[0].method.label != stepped[0].method.label  # of their files


def test_the_width_and_rate_of_a_command_reach_the_unet(command, asked):
    assert command("--only unet --base-channels 4 --learning-rate 0.5 --warmup 3 --steps 9") == 0
    configuration = asked[0][0].method.recipe.configuration
    assert configuration["network"]["base_channels"] == 4
    assert configuration["schedule"] == {"name": "warmup_cosine", "peak": 0.5, "warmup": 3}


def test_a_unet_that_departs_from_the_papers_has_a_name_of_its_own(command, asked):
    assert command("--only unet fcn --base-channels 4 --optimizer adam --steps 9") == 0
    ours, other = (run.method for run in asked[0])
    assert (ours.name, ours.title) == ("unet-4-base-channels-adam", "U-Net (this reproduction), 4 base channels, Adam")
    assert (other.name, other.title) == (
        "fcn-4-base-channels-adam",
        "U-Net with added skips (FCN style), 4 base channels, Adam",
    )
    assert asked[0][1].conditions == {"budget": {"steps": 9}, "base_channels": 4}  # not compared with the paper's


def test_with_adam_the_unet_and_that_with_adam_are_one(command, asked):
    assert command("--only unet-adam unet --optimizer adam") == command("--only unet-adam --base-channels 4") == 0
    assert [[run.method.name for run in runs] for runs in asked] == [["unet-adam"], ["unet-4-base-channels-adam"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps 9 --seconds 5", "--steps and --seconds are two budgets; it must be one of them"),
        ("--only unet u2net --steps 9 --warmup 9", "the warm-up is 9 steps; it must be 0 to 8"),
        ("--only unet-adam --learning-rate 1e-3", "--learning-rate and --warmup are of unet and fcn; one of them must"),
        ("--only u2net modern --optimizer adam", "--optimizer, --learning-rate and --warmup are of unet and fcn"),
        ("--only u2net modern --base-channels 4", "--base-channels is of unet, unet-adam and fcn"),
    ],
)
def test_illegal_arguments_are_told_before_anything_runs(words, message, command, asked, capsys):
    assert command(words) == 2
    assert message in capsys.readouterr().err
    assert not asked


@pytest.mark.parametrize("seconds", ["0", "-1", "inf", "nan"])
def test_a_time_budget_must_be_positive(seconds, command, asked, capsys):
    with pytest.raises(SystemExit, match="2"):
        command(f"--only fcn --seconds {seconds}")
    assert "must be finite and above 0" in capsys.readouterr().err


def test_a_method_whose_library_is_missing_is_left_out_unless_it_is_the_only_one(monkeypatch, capsys):
    def missing(config):
        raise common.MissingLibrary("needs a library")

    monkeypatch.setattr("reproduce.baselines.fcn.build", missing)
    names = [method.name for method in systems.build(["unet", "fcn", "u2net"], ExperimentConfig())]
    assert names == ["unet", "u2net"]
    assert "left out: needs a library" in capsys.readouterr().out
    with pytest.raises(common.MissingLibrary, match="needs a library"):
        systems.build(["fcn"], ExperimentConfig())


def test_the_montage_shows_methods_that_were_recorded_before_too(command, work, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "reproduce.figures.montage.montage_of_methods", lambda made, data, out: drawn.append([r.name for r in made])
    )
    monkeypatch.setattr("reproduce.systems.cost", lambda method, device: {})
    words = "--base-channels 2 --folds 0 --steps 2 --only"
    assert command(f"{words} unet") == command(f"{words} unet keras-unet") == 0
    assert drawn == [["unet-2-base-channels"], ["unet-2-base-channels", "keras-unet"]]


GFLOP = {  # of predicting one slice
    "unet": 493.27,
    "fcn": 408.94,
    "sliding-window": 133.98,
    "keras-unet": 216.60,
    "mmsegmentation": 909.22,
    "u2net": 673.69,
    "modern": 268.24,
}


@pytest.mark.parametrize("name", GFLOP)
def test_the_work_of_a_slice_is_that_of_its_one_tile(name, monkeypatch):
    monkeypatch.setattr("reproduce.baselines.sliding_window.measure_speed", lambda network, device: (10.0, 0.1))
    cost = systems.cost(build_method(name, ExperimentConfig()), device="cpu")
    assert cost["gflop_per_slice"] == pytest.approx(GFLOP[name], rel=1e-4)
    if name != "sliding-window":
        assert cost.keys() == {"gflop_per_slice"}
        return
    assert (cost["patchwise_seconds_per_slice"], cost["dense_seconds_per_slice"]) == (10.0, 0.1)
    assert cost["speed_ratio"] == pytest.approx(100)
    assert round(cost["arithmetic_ratio"]) == 475


def test_a_training_in_a_given_time_compresses_its_schedule_to_it(command, tmp_path, monkeypatch):
    ticks = itertools.count(0, 0.125)  # a clock that does not depend on the machine
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert command("--only fcn --seconds 1.5 --folds 0 --base-channels 1 --warmup 0 --rotations none") == 0
    (record,) = records.read(tmp_path / "records.jsonl")
    assert (record.experiment, record.name) == ("systems", "fcn-1-base-channels")
    assert record.conditions["budget"] == {"seconds": 1.5}
    assert 1.5 <= record.measures["train_seconds"] < 2
    assert record.measures["gflop_per_slice"] > 0
    (path,) = (tmp_path / "curves").glob(f"{record.name}-{record.conditions['recipe']}-fold0-seed0.csv")
    curve = np.genfromtxt(path, delimiter=",", names=True)
    assert record.conditions["steps"] == len(curve) > 3
    place = np.concatenate([[0], curve["seconds"][:-1]]) / 1.5
    expected = 4e-3 * 0.5 * (1 + np.cos(np.pi * place))
    np.testing.assert_allclose(curve["learning_rate"], expected, atol=6e-4)
    assert (np.diff(curve["learning_rate"]) < 0).all()
    assert torch.is_grad_enabled()
