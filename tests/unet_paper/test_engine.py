"""The engine: every task is done once, whatever worker it was on, here or on a cluster."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from distributed import Client
from distributed.versions import get_package_info

from unet_paper import engine
from unet_paper.__main__ import main
from unet_paper.checkpoint import save_weights
from unet_paper.engine import check_workers, cluster, run_tasks
from unet_paper.errors import InputError, MissingExtra
from unet_paper.model import UNet
from unet_paper.predict import predict_stack
from unet_paper.tiff import write_stack
from unet_paper.volume import predict_volume

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sockets that a killed worker had


@pytest.fixture(scope="module")
def client():
    """Two local workers, on a machine that has two GPUs as it were."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "visible_gpus", lambda: ["4", "7"])
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # other counts round differently
        with cluster(workers=2) as client:
            client.wait_for_workers(2)
            yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights, a stack, and what is expected of it in blocks of 32 pixels."""
    folder = tmp_path_factory.mktemp("volume")
    torch.manual_seed(0)
    model = UNet(base_channels=2).eval()
    save_weights(folder / "net.safetensors", model, {"image_mean": 0.4, "image_std": 0.2})
    images = np.random.default_rng(1).integers(0, 256, (2, 100, 110), np.uint8)
    write_stack(folder / "images.tif", images)
    how = {"mean": 0.4, "std": 0.2, "rotations": "none", "precision": "float32", "tile": 36, "stride": 32}
    expected = predict_stack(model, images / np.float32(255), **how)
    np.save(folder / "expected.npy", np.rint(expected * 255).astype(np.uint8))
    return folder


def test_a_worker_computes_with_the_threads_it_is_given(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with cluster(workers=1) as client:
        assert set(client.run(torch.get_num_threads).values()) == {min(2, os.cpu_count())}


def test_a_cluster_leaves_environment_and_logging_as_they_were(monkeypatch):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    logger = logging.getLogger("distributed.client")
    before = dict(os.environ), logger.level
    with cluster(workers=1):
        pass
    assert (dict(os.environ), logger.level) == before


def test_without_workers_tasks_run_here_in_their_order():
    with cluster() as client:
        assert list(run_tasks(client, lambda task: (task, os.getpid()), range(3))) == [
            (n, os.getpid()) for n in range(3)
        ]


def test_workers_have_one_task_at_a_time_no_limit_of_memory_and_the_gpus_go_round(client):
    assert {worker["memory_limit"] for worker in client.scheduler_info()["workers"].values()} == {0}
    assert sorted(client.nthreads().values()) == [1, 1]
    assert sorted(client.run(os.getenv, "CUDA_VISIBLE_DEVICES").values()) == ["4", "7"]


def test_the_task_of_a_worker_that_dies_is_given_to_another(client, tmp_path):
    def task(number):
        marker = tmp_path / f"{number}"
        if number % 4 == 0 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    assert sorted(run_tasks(client, task, range(12))) == list(range(12))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_task_that_kills_every_worker_is_one_sentence(client):
    with pytest.raises(InputError, match="4 workers died of one task"):
        list(run_tasks(client, lambda task: os.kill(os.getpid(), signal.SIGKILL), [0]))


def test_what_a_task_raises_comes_back(client):
    def task(number):
        raise InputError("once")

    with pytest.raises(InputError, match="once"):
        list(run_tasks(client, task, [0]))


def test_a_worker_that_joined_late_is_checked_by_its_first_task(client):
    here = get_package_info(engine.EQUAL)
    assert client.submit(engine.checked, abs, -1, here).result() == 1
    with pytest.raises(InputError, match=r"tcp://.* has torch .*; it must be 0\.1 as here"):
        client.submit(engine.checked, abs, -1, here | {"torch": "0.1"}).result()
    with (
        Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as threaded,
        pytest.raises(InputError, match="has 2 threads; it must have one"),
    ):
        list(run_tasks(threaded, abs, [-1]))


def test_a_dashboard_with_a_link_for_a_browser_alone_stops_nothing(monkeypatch):
    monkeypatch.setattr(Client, "dashboard_link", "/user/me/proxy/8787/status")
    with cluster(workers=1) as client:
        assert list(run_tasks(client, abs, [-1])) == [1]


def test_an_extra_that_a_worker_lacks_is_named(client):
    def task(number):
        raise MissingExtra("HDF5 needs h5py")

    with pytest.raises(MissingExtra, match=r"^HDF5 needs h5py$"):
        list(run_tasks(client, task, [0]))


def test_a_module_that_workers_lack_is_named(client):
    def task(number):
        import colours  # noqa: F401

    with pytest.raises(InputError, match="a worker cannot import colours; PYTHONPATH must"):
        list(run_tasks(client, task, [0]))

    def fail(number):
        raise RuntimeError("sizes differ")

    with pytest.raises(RuntimeError, match="sizes differ"):
        list(run_tasks(client, fail, [0]))


def test_a_function_that_the_scheduler_cannot_import_is_one_sentence(scheduler, tmp_path, monkeypatch):
    (tmp_path / "colours.py").write_text("def task(number):\n    return number\n")
    monkeypatch.syspath_prepend(tmp_path)
    from colours import task

    with (
        cluster(scheduler=scheduler) as client,
        pytest.raises(InputError, match="the Dask scheduler or a worker cannot import colours"),
    ):
        list(run_tasks(client, task, [0]))


def test_more_tasks_than_the_scheduler_is_told_of_at_a_time(client, monkeypatch):
    monkeypatch.setattr(engine, "IN_FLIGHT", 3)
    assert sorted(run_tasks(client, abs, iter(range(-20, 0)))) == list(range(1, 21))


def test_a_volume_made_by_workers_is_that_of_one_process(client, folder, tmp_path):
    how = {"rotations": "none", "precision": "float32", "block": 32, "connect": partial(nullcontext, client)}
    predict_volume(folder / "images.tif", tmp_path / "out.zarr", folder / "net.safetensors", **how)
    written = zarr.open_array(tmp_path / "out.zarr" / "0", mode="r")[:]
    np.testing.assert_array_equal(written, np.load(folder / "expected.npy"))


def test_a_chunk_that_no_worker_can_read_is_one_sentence(client, folder, tmp_path):
    images = np.zeros((2, 200, 200), np.uint8)
    zarr.create_array(tmp_path / "in.zarr", data=images, chunks=(1, 16, 16), config={"write_empty_chunks": True})
    (tmp_path / "in.zarr" / "c/1/8/8").write_bytes(b"no chunk")
    how = {"rotations": "none", "precision": "float32", "block": 32, "connect": partial(nullcontext, client)}
    with pytest.raises(InputError, match=r"cannot read .*in\.zarr, slice 1"):
        predict_volume(tmp_path / "in.zarr", tmp_path / "out.zarr", folder / "net.safetensors", **how)


def fake_client(threads=1, **versions):
    same = dict.fromkeys(engine.EQUAL, "1")
    place = {"packages": same}
    answer = {"client": place, "scheduler": place, "workers": {"tcp://w": {"packages": same | versions}}}
    return SimpleNamespace(nthreads=lambda: {"tcp://w": threads}, get_versions=lambda packages: answer)


def test_workers_that_could_give_other_results_are_refused():
    check_workers(fake_client())
    with pytest.raises(InputError, match=r"tcp://w has unet_paper 0\.9; it must be 1 as here"):
        check_workers(fake_client(unet_paper="0.9"))
    with pytest.raises(InputError, match="tcp://w has 8 threads; it must have one"):
        check_workers(fake_client(threads=8))


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtra, match=r"unet-paper\[cluster\]") as told, cluster(workers=2):
        pass
    assert isinstance(told.value, InputError)
    assert isinstance(told.value, ImportError)  # by which other programs know it


# --- a cluster that was started elsewhere


def start(command, **options):
    environment = os.environ | {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "MKL_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    arguments = [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]]
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.DEVNULL, **options)


@pytest.fixture
def scheduler(tmp_path):
    """Address of a scheduler with two workers, each a process started for itself."""
    found = tmp_path / "scheduler.json"
    processes = [
        start(["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", found])
    ]
    for _ in range(2):
        processes.append(start(["worker", "--scheduler-file", found, "--nthreads", "1", "--no-dashboard"]))
    from distributed import Client

    with Client(scheduler_file=str(found), timeout="60s") as client:
        client.wait_for_workers(2)
        address = client.scheduler.address
    yield address
    for process in processes:
        process.terminate()
        process.wait()


def test_a_volume_made_by_a_cluster_that_was_started_elsewhere(scheduler, folder, tmp_path, monkeypatch):
    shutil.copy(folder / "images.tif", tmp_path)
    monkeypatch.chdir(tmp_path)  # which the workers do not share: paths must be absolute
    how = ["--weights", str(folder / "net.safetensors"), "--device", "cpu", "--rotations", "none"]
    assert main(["predict", "images.tif", "out.zarr", *how, "--scheduler", scheduler]) == 0
    assert main(["predict", "images.tif", "here.zarr", *how]) == 0
    there, here = (zarr.open_array(tmp_path / name / "0", mode="r")[:] for name in ("out.zarr", "here.zarr"))
    np.testing.assert_array_equal(there, here)


# --- killed with everything it started


def running(group):
    """Processes of a group that have not ended."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in map(str.split, listed.splitlines()) if line[0] == str(group) and line[2][0] != "Z"]


def test_after_a_kill_of_the_client_or_of_all_nobody_writes_and_the_command_continues(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # other counts round differently
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(2).integers(0, 256, (40, 30, 20), np.uint8)  # a block a slice
    write_stack(tmp_path / "images.tif", images)
    weights, out = str(folder / "net.safetensors"), tmp_path / "out.zarr"
    words = ["predict", "images.tif", "out.zarr", "--weights", weights, "--device", "cpu", "--rotations", "none"]
    command = [sys.executable, "-m", "unet_paper", *words, "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def finished():
        return sorted(path for path in out.glob("0/c/*/*/*") if path.name.isdecimal())

    for kill in (os.kill, os.killpg):
        before = len(finished())
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        while len(finished()) <= before and process.poll() is None:
            time.sleep(0.01)
        kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        while running(process.pid):  # workers whose client is gone end by themselves
            time.sleep(0.01)
        assert before < len(finished()) < len(images)
    assert main([*words, "--workers", "2"]) == 0
    assert main(["predict", "images.tif", "here.zarr", *words[3:]]) == 0
    there, here = (zarr.open_array(tmp_path / name / "0", mode="r")[:] for name in ("out.zarr", "here.zarr"))
    np.testing.assert_array_equal(there, here)
