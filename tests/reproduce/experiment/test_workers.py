"""Workers train; records and networks are those of one process, whatever happens to a worker."""

import os
import pickle
import signal
import threading
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from distributed import Client, WorkerPlugin
from small_experiment import tiny_config

from reproduce import ablations, records
from reproduce.__main__ import main
from reproduce.baselines import METHODS, build_method
from reproduce.baselines.unet import build
from reproduce.data import load_data
from reproduce.experiment import workers
from reproduce.experiment.execute import execute
from reproduce.experiment.run import Run, splits
from reproduce.experiment.training import train_split, training_folder
from reproduce.experiment.workers import check_checkout, key, train_task
from unet_paper.checkpoint import CHECKPOINT, read_weights
from unet_paper.engine import cluster
from unet_paper.errors import InputError, NonFiniteLoss
from unet_paper.files import locked, make_folder

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets that a killed worker had


@pytest.fixture(scope="module")
def client():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # other counts round differently
        patch.setenv("REPRODUCE_COMMIT", "commit")
        with cluster(workers=2) as client:
            client.wait_for_workers(2)
            yield client


@pytest.fixture
def connect(client):
    return partial(nullcontext, client)


@pytest.fixture(scope="module")
def runs():
    """Two runs with three trainings of four steps, one of which they share."""
    method = build(tiny_config())
    method = replace(method, recipe=replace(method.recipe, steps=4))
    return [
        Run("table1", method, splits(5, [1, 2]), (0,), ("none",)),
        Run("ablations", method, splits(5, [1]), (0, 1), ("none",)),
    ]


def executed(runs, data, out, **options):
    return execute(runs, data, device="cpu", out=out, **options)


def compared(record):
    """A record without what every run of it changes."""
    entries = pickle.loads(pickle.dumps(record))
    for name in ("date", "wall_seconds", "peak_bytes"):
        del entries.provenance[name]
    for name in ("train_seconds", "predict_seconds_per_slice"):
        entries.measures.pop(name, None)
    return entries


def networks(out):
    return {path.parent.name: read_weights(path) for path in sorted(out.rglob("weights.safetensors"))}


def assert_equal(first, second):
    """Weights and records of two folders."""
    assert networks(first).keys() == networks(second).keys()
    for (_, here), (_, there) in zip(networks(first).values(), networks(second).values()):
        assert all(torch.equal(here[name], there[name]) for name in here)
    made = [[compared(record) for record in records.read(out / "records.jsonl")] for out in (first, second)]
    assert made[0] == made[1] != []


@pytest.fixture(scope="module")
def serial(runs, phantom, client, tmp_path_factory):
    """The folder of the same runs in one process."""
    out = tmp_path_factory.mktemp("serial")
    executed(runs, load_data(phantom), out)
    return out


def on_every_worker(client, function):
    """Run `function` on the workers, and on those that take the place of dead ones."""

    class Plugin(WorkerPlugin):
        name = "test"

        def setup(self, worker):
            function()

    client.register_plugin(Plugin())


def test_two_workers_leave_the_records_and_the_networks_of_one_process(
    runs, data, connect, serial, tmp_path, monkeypatch
):
    trained = []
    monkeypatch.setattr("reproduce.experiment.training.train", lambda *_, **__: trained.append(1))
    assert len(executed(runs, data, tmp_path / "workers", connect=connect)) == 2
    assert not trained  # here
    assert_equal(serial, tmp_path / "workers")
    assert len(networks(tmp_path / "workers")) == 3


def test_the_command_in_the_record_is_that_of_the_client(runs, data, connect, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["reproduce", "table1", "--workers", "2"])
    (made,) = executed(runs[:1], data, tmp_path, connect=connect)
    assert made.provenance["command"] == "python -m reproduce table1 --workers 2"


def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(runs, data, client, connect, serial, tmp_path):
    victim = training_folder(runs[0].method, runs[0].splits[0], seed=0, out=tmp_path)

    def checkpoint_every_step():
        from reproduce.experiment import training
        from unet_paper.train import train

        def noted(*arguments, report, folder, **options):
            def note(step, loss):
                with open(folder / "steps.txt", "a") as file:
                    file.write(f"{step}\n")
                if folder == victim and step == 3 and not (folder / "killed").exists():
                    (folder / "killed").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                report(step, loss)

            return train(*arguments, report=note, folder=folder, checkpoint_seconds=0, **options)

        training.train = noted

    on_every_worker(client, checkpoint_every_step)
    executed(runs, data, tmp_path, connect=connect, resume=False)  # what it began itself is continued all the same
    client.unregister_worker_plugin("test")
    assert (victim / "killed").exists()
    assert (victim / "steps.txt").read_text().split() == ["1", "2", "3", "3", "4"]
    assert_equal(serial, tmp_path)


def test_without_resume_what_was_begun_is_forgotten_before_workers_train(runs, data, connect, tmp_path):
    folder = training_folder(runs[0].method, runs[0].splits[0], seed=0, out=tmp_path)
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match="is not a checkpoint of this program"):
        executed(runs[:1], data, tmp_path, connect=connect)
    assert len(executed(runs[:1], data, tmp_path, connect=connect, resume=False)) == 1


def test_a_loss_that_is_not_finite_is_recorded_as_in_one_process(runs, data, connect, tmp_path):
    recipe = runs[0].method.recipe
    steep = replace(recipe, schedule=partial(recipe.schedule.func, peak=1e30))
    failing = replace(runs[0], method=replace(runs[0].method, recipe=steep))
    for name, options in {"serial": {}, "workers": {"connect": connect}}.items():
        failed, made = executed([failing, runs[0]], data, tmp_path / name, **options)
        assert "is not finite" in failed.conditions["outcome"]
        assert made.scores
    assert_equal(tmp_path / "serial", tmp_path / "workers")
    begun = list((tmp_path / "workers").rglob(f"trainings/{failing.method.label}/*/parts.jsonl"))
    assert [len(path.read_text().splitlines()) for path in begun] == [1, 1]  # and not here once more


@pytest.mark.parametrize("error", [MemoryError("Unable to"), NonFiniteLoss("at step 2")])
def test_what_a_run_is_left_out_or_recorded_for_does_not_end_the_others(method, data, tmp_path, monkeypatch, error):
    raised = [error, RuntimeError("sizes differ")]
    monkeypatch.setattr(workers, "train_split", lambda *_, **__: (_ for _ in ()).throw(raised.pop(0)))
    task, how = (method, splits(5, [1])[0], 0), task_options(data, tmp_path)
    training_folder(*task[:2], seed=0, out=tmp_path).mkdir(parents=True)
    assert train_task(task, **how) == (key(*task), error)
    with pytest.raises(RuntimeError, match="sizes differ"):
        train_task(task, **how)


def task_options(data, out):
    return {"folder": data.folder, "sha256": data.training_sha256, "device": "cpu", "out": out, "command": "python"}


def test_folders_that_a_worker_does_not_share_are_named(method, data, tmp_path):
    task, how = (method, splits(5, [1])[0], 0), task_options(data, tmp_path)
    with pytest.raises(InputError, match=r"fold1-seed0 is not there for the worker on .*; its folder must be shared"):
        train_task(task, **how)
    training_folder(*task[:2], seed=0, out=tmp_path).mkdir(parents=True)
    with pytest.raises(InputError, match="holds other data for the worker on"):
        train_task(task, **{**how, "sha256": dict.fromkeys(how["sha256"], "other")})


@pytest.mark.parametrize("answer", [None, ModuleNotFoundError("No module named 'reproduce'")])
def test_a_worker_without_the_checkout_is_named(answer):
    client = SimpleNamespace(run=lambda *_, **__: {"tcp://w": answer})
    with pytest.raises(InputError, match="the worker tcp://w cannot import reproduce"):
        check_checkout(client)


def test_workers_are_asked_for_only_if_a_training_is_missing(runs, data, tmp_path):
    asked = []

    def connect():
        asked.append(1)
        return nullcontext()

    executed(runs[:1], data, tmp_path, connect=connect)
    executed([replace(runs[0], rotations=("eight",))], data, tmp_path, connect=connect)
    assert asked == [1]


def test_a_training_ends_when_its_client_is_gone(method, data, client, tmp_path):
    endless = replace(method, recipe=replace(method.recipe, steps=10**6))
    task = endless, splits(5, [1])[0], 0
    folder = make_folder(training_folder(*task[:2], seed=0, out=tmp_path))
    with Client(client.scheduler.address) as other:
        training = other.submit(partial(train_task, **task_options(data, tmp_path)), task, pure=False)
        while not (folder / "parts.jsonl").exists():
            assert training.status == "pending"
            time.sleep(0.05)
    with locked(folder, patience=60):
        assert not (folder / "run.json").exists()
        assert (folder / CHECKPOINT).exists()


def test_a_worker_waits_for_the_folder_of_one_that_ends(method, data, tmp_path):
    folder = training_folder(method, splits(5, [1])[0], seed=0, out=tmp_path)
    folder.mkdir(parents=True)
    held = locked(folder)
    held.__enter__()
    timer = threading.Timer(0.5, held.__exit__, (None, None, None))
    timer.start()
    how = {"seed": 0, "device": "cpu", "out": tmp_path}
    with pytest.raises(InputError, match="another process works in"):
        train_split(method, splits(5, [1])[0], data, **how)
    with pytest.raises(ValueError, match="No worker found"):  # not before it has the folder
        train_split(method, splits(5, [1])[0], data, **how, worker_of="python")
    timer.join()


@pytest.mark.parametrize("name", [*METHODS, *ablations.ABLATIONS])
def test_every_method_can_be_sent_to_a_worker(name):
    make = build_method if name in METHODS else ablations.build
    recipe = make(name, tiny_config()).recipe
    assert pickle.loads(pickle.dumps(recipe)).configuration == recipe.configuration


# --- the commands

COMMANDS = {"table1": [], "ablations": ["--only", "base", "--seeds", "0"], "systems": ["--only", "unet"], "sweep": []}


@pytest.fixture
def command(phantom, tmp_path):
    def run(name, *words):
        about = ["--data", str(phantom), "--out", str(tmp_path), "--device", "cpu"]
        return main([name, *about, *COMMANDS[name], *words])

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_workers_and_scheduler_of_a_command_reach_execute(name, command, monkeypatch):
    asked = []
    monkeypatch.setattr("reproduce.experiment.execute.execute", lambda *_, connect, **__: asked.append(connect) or [])
    for words in ([], ["--workers", "3"], ["--scheduler", "tcp://there:8786"]):
        assert command(name, *words) == 0
    assert {connect.func for connect in asked} == {cluster}
    assert [(connect.keywords["workers"], connect.keywords["scheduler"]) for connect in asked] == [
        (None, None),
        (3, None),
        (None, "tcp://there:8786"),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["table1", "--scheduler", "nowhere"], "no Dask scheduler answers at nowhere"),
        (["systems", "--seconds", "9", "--workers", "2"], "--workers and --scheduler must be left out"),
        (["table1", "--workers", "2", "--scheduler", "there"], "not allowed with"),
        (["table1", "--workers", "0"], "must be at least 1"),
    ],
)
def test_bad_workers_are_one_sentence_and_nothing_is_trained(words, sentence, command, tmp_path, capsys):
    try:
        status = command(*words)
    except SystemExit as stopped:  # from argparse
        status = stopped.code
    assert status == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert sentence in line
    assert not list(Path(tmp_path).iterdir())


def test_without_dask_the_extra_is_named(command, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    assert command("table1", "--workers", "2") == 2
    assert "unet-paper[cluster]" in capsys.readouterr().err
