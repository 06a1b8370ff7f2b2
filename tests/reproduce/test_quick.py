"""The main job in minutes: what it trains on and with, what it leaves, and that it can be given again."""

from pathlib import Path

import numpy as np
import pytest
from small_experiment import PAPER, numbers

from reproduce import __main__ as commands
from reproduce import quick, records
from reproduce.data import load_data
from unet_paper.errors import NonFiniteLoss
from unet_paper.recipe import paper_recipe
from unet_paper.tiff import read_stack


@pytest.fixture
def out(tmp_path):
    return tmp_path / "quick"


@pytest.fixture
def drawn(monkeypatch):
    """The records of which a montage was drawn, in the order of the command's last steps, and "rendered"."""
    made = []

    def render(out):
        made.append("rendered")
        (out / "TABLES.md").write_text("the tables")

    monkeypatch.setattr("reproduce.report.render.render", render)
    monkeypatch.setattr(
        "reproduce.figures.montage.montage_of_record", lambda record, data, out: made.append(record) or "montage.png"
    )
    return made


@pytest.fixture
def run(monkeypatch, tiny, drawn, tmp_path):
    """Run the command with a tiny network on a small stack."""
    monkeypatch.setattr(quick, "SLICES", 4)
    monkeypatch.setattr(quick, "SIDE", 64)
    monkeypatch.setattr(quick, "BASE_CHANNELS", 2)
    monkeypatch.setattr(quick, "INPUT_SIZE", 188)
    return lambda *more: commands.main(["quick", "--out", str(tmp_path), "--device", "cpu", "--steps", "2", *more])


@pytest.fixture
def recorded(out):
    return lambda: records.read(out / "records.jsonl")


def test_it_differs_from_the_paper_in_width_tile_and_schedule_alone():
    config = quick.config("cpu")
    assert (config.augmentation, config.weight_map) == (PAPER.augmentation, PAPER.weight_map)
    assert {n for n, v in vars(config.network).items() if v != getattr(PAPER.network, n)} == {"base_channels"}
    changed = {n for n, v in vars(config.training).items() if v != getattr(PAPER.training, n)}
    assert changed - {"precision", "learning_rate"} == {"input_size", "optimizer", "steps", "warmup_steps"}


@pytest.mark.parametrize("steps", [1, 2, 30, quick.STEPS])
def test_the_learning_rate_rises_to_its_peak_and_falls(steps):
    recipe = paper_recipe(quick.config("cpu", steps))
    rates = [recipe.schedule(step, recipe.steps) for step in range(recipe.steps)]
    assert max(rates) == quick.LEARNING_RATE
    assert rates.index(max(rates)) <= quick.WARMUP_STEPS
    assert steps < 30 or rates[-1] < 0.01 * quick.LEARNING_RATE


def test_the_slices_that_are_scored_are_not_trained_on(run, work, out, recorded):
    assert run("--seed", "3") == 0
    data = load_data(out / "data")
    for trained, call in zip(work.trained, work.predicted, strict=True):
        assert numbers(trained.images, data.images) == numbers(trained.labels, data.labels) == [0, 1]
        assert numbers(call.images, data.images) == [2, 3]
        assert trained.seed == 3
        assert call.precision == "float32"
    assert [record.conditions["slices"] for record in recorded()] == [[2, 3], [2, 3]]
    assert [record.conditions["train_slices"] for record in recorded()] == [2, 2]


def test_the_trained_network_stands_beside_the_untrained_one(run, work, recorded, drawn, capsys):
    assert run() == 0
    assert [trained.recipe.steps for trained in work.trained] == [0, 2]
    assert [record.name for record in recorded()] == ["untrained", "quick"]
    assert drawn == [recorded()[1], "rendered"]
    printed = capsys.readouterr().out
    assert "the tables" in printed
    assert "figure: montage.png" in printed


def test_without_spies_it_trains_and_the_printed_commands_segment_a_stack(run, out, tmp_path, capsys, recorded):
    from unet_paper.__main__ import main

    assert run() == 0
    untrained, trained = recorded()
    assert untrained.scores != trained.scores
    files = {name: str(tmp_path / name) for name in ("PROBABILITY.tif", "CELLS.tif")}
    files["STACK.tif"] = str(out / "data" / "test-volume.tif")
    for command in capsys.readouterr().out.splitlines()[-2:]:
        python, _, program, *words = command.split()
        assert (python, program) == ("python", "unet_paper")
        assert main([files.get(word, word) for word in words]) == 0
    assert read_stack(files["CELLS.tif"]).array.shape == (4, 64, 64)


def test_given_again_it_trains_and_records_nothing(run, work, recorded, drawn, capsys):
    assert run() == 0
    assert run() == 0
    assert capsys.readouterr().out.count("recorded already") == 2
    assert (len(work.trained), len(recorded())) == (2, 2)
    assert drawn == [recorded()[1], "rendered"] * 2


def test_other_steps_are_a_training_of_their_own(run, work, recorded):
    assert run() == 0
    assert run("--steps", "1") == 0
    assert [trained.recipe.steps for trained in work.trained] == [0, 2, 1]


def test_a_training_that_fails_is_told_and_the_tables_are_made(run, work, recorded, drawn, capsys):
    work.failing[1] = NonFiniteLoss("the loss is not finite at step 1")
    assert run() == 0
    assert drawn == ["rendered"]
    printed = capsys.readouterr().out
    assert "the loss is not finite at step 1" in printed


def test_a_stack_that_was_not_written_whole_is_written_again(run, work, out):
    (out / "data").mkdir(parents=True)
    (out / "data" / "train-volume.tif").write_bytes(b"cut off")
    assert run() == 0
    whole = read_stack(out / "data" / "train-volume.tif").array
    assert run("--seed", "1") == 0
    np.testing.assert_array_equal(read_stack(out / "data" / "train-volume.tif").array, whole)


@pytest.mark.parametrize("more", [["--data", "anywhere"], ["--folds", "0"], ["--steps", "0"]])
def test_options_that_it_does_not_have_are_refused(run, work, more, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(*more)
    assert stopped.value.code == 2
    assert more[0] in capsys.readouterr().err
    assert not work.trained


def test_a_damaged_account_is_one_sentence(run, work, out, capsys):
    assert run() == 0
    for path in (out / "trainings").rglob("run.json"):
        path.write_bytes(path.read_bytes()[:40])
    (out / "records.jsonl").unlink()
    assert run() == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "run.json is damaged" in line
    assert Path(out).name in line
