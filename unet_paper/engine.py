"""Many tasks on many processes, GPUs or machines, by Dask.

A task is a function of one argument. The same loop runs tasks here, on workers that are started for it,
and on those of any cluster that has a Dask scheduler. Each worker has one task at a time; Dask gives the
task of a worker that died to another, and starts a local worker anew.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from itertools import islice
from urllib.request import urlopen

from unet_paper.errors import InputError, MissingExtra

IN_FLIGHT = 1000  # tasks the scheduler knows of at a time: its memory grows with them
EQUAL = ("unet_paper", "torch", "numpy", "zarr", "dask", "distributed")  # or results may differ, or nothing works


@contextmanager
def cluster(
    *, workers: int | None = None, scheduler: str | None = None, note: Callable[[str], None] | None = None
) -> Iterator[object]:
    """Workers to run tasks on, while the context lasts.

    Parameters
    ----------
    workers : int, optional
        Processes to start on this machine, which share its cores; the GPUs, if there are any, go round.
    scheduler : str, optional
        Address of a Dask scheduler that runs already, for example "tcp://10.0.0.1:8786". Its workers must
        have one thread each and see the same folders as this process.
    note : callable, optional
        Told, in a sentence, the address of the dashboard and that workers are awaited.

    Yields
    ------
    distributed.Client or None
        For `run_tasks`; None, which means this process, if neither `workers` nor `scheduler` is given.

    Raises
    ------
    InputError
        If Dask is not installed, no scheduler answers, or its workers cannot do the work of this process.
    """
    if workers is None and scheduler is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingExtra(
            "workers need Dask: the extra unet-paper[cluster], python -m pip install -e '.[cluster]' in a checkout"
        ) from error
    note = note or (lambda text: None)
    logger = logging.getLogger("distributed.client")
    with ExitStack() as stack:
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)  # what it reports is told in one sentence
        stack.enter_context(restored_environment())
        try:
            client = stack.enter_context(Client(scheduler or stack.enter_context(local_cluster(workers))))
        except (OSError, ValueError) as error:
            raise InputError(f"no Dask scheduler answers at {scheduler or 'this machine'}: {error}") from error
        with suppress(Exception):  # no dashboard, none that answers from here, or a link for a browser alone
            if find_spec("bokeh") and urlopen(client.dashboard_link, timeout=2):
                note(f"dashboard: {client.dashboard_link}")
        if not client.nthreads():
            note("waiting for the first worker")
        client.wait_for_workers(1)
        check_workers(client)
        yield client


@contextmanager
def restored_environment() -> Iterator[None]:
    """Remove the variables that are set meanwhile: Dask sets threads of its workers in the environment of this process.

    What it computes later, or starts, would take them for its own and round differently.
    """
    before = set(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - before:
            del os.environ[name]


def local_cluster(workers: int) -> object:
    """`workers` processes on this machine: one task at a time each, an equal share of the cores, one of the GPUs."""
    from distributed import LocalCluster

    class Local(LocalCluster):
        def new_worker_spec(self):  # as in dask-cuda's LocalCUDACluster
            ((name, spec),) = super().new_worker_spec().items()
            visible = {"CUDA_VISIBLE_DEVICES": gpus[name % len(gpus)]} if gpus else {}
            return {name: {**spec, "options": {**spec["options"], "env": environment | visible}}}

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", max(cores // workers, 1))
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)  # PyTorch takes the second
    gpus = visible_gpus()
    local = Local(
        n_workers=0,
        threads_per_worker=1,
        memory_limit=0,  # by default a core's share, beyond which Dask kills a worker
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
    )
    local.scale(workers)
    return local


def visible_gpus() -> list[str]:
    """Names of the GPUs of this process, as CUDA_VISIBLE_DEVICES lists them."""
    import torch

    count = [str(number) for number in range(torch.cuda.device_count())]
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return listed.split(",")[: len(count)] if listed else count


def check_workers(client: object) -> None:
    """Raise `InputError` unless scheduler and workers have the versions of this process, and one thread each."""
    for address, count in client.nthreads().items():
        check_threads(address, count)
    versions = client.get_versions(packages=EQUAL)
    for place, there in {"the scheduler": versions["scheduler"], **versions["workers"]}.items():
        check_versions(place, there["packages"], versions["client"]["packages"])


def check_threads(address: str, count: int) -> None:
    """Raise `InputError` unless a worker has one thread."""
    if count > 1:
        raise InputError(
            f"the worker {address} has {count} threads; it must have one (--nthreads 1; OMP_NUM_THREADS "
            "and MKL_NUM_THREADS set PyTorch's)"
        )


def check_versions(place: str, there: dict, here: dict) -> None:
    """Raise `InputError` unless the packages that must be `EQUAL` are."""
    for name in EQUAL:
        if there[name] != here[name]:
            raise InputError(f"{place} has {name} {there[name]}; it must be {here[name]} as here")


def checked(function: Callable, task: object, versions: dict) -> object:
    """``function(task)``, on a worker that may have come after `check_workers`."""
    from distributed import get_worker
    from distributed.versions import get_package_info

    worker = get_worker()
    check_threads(worker.address, worker.state.nthreads)
    check_versions(worker.address, get_package_info(EQUAL), versions)
    return function(task)


def run_tasks(client: object, function: Callable, tasks: Iterable) -> Iterator:
    """Yield ``function(task)`` of every task, as they are completed.

    Parameters
    ----------
    client : distributed.Client or None
        Of `cluster`; with None the tasks run in this process, in their order.
    function : callable
        A function of a module, if there is a client.
    tasks : iterable
        Arguments, taken as they are needed. A task whose worker died is given to another.

    Raises
    ------
    InputError
        If the workers died of one task again and again, cannot import `function` or do the work of this process, or
        the scheduler is gone.
    Exception
        What `function` raised. Tasks that have not begun are dropped.

    Examples
    --------
    >>> list(run_tasks(None, abs, [-1, 2]))
    [1, 2]
    """
    if client is None:
        yield from map(function, tasks)
        return
    from concurrent.futures import CancelledError

    from distributed import KilledWorker, as_completed
    from distributed.comm import CommClosedError
    from distributed.versions import get_package_info

    tasks, versions = iter(tasks), get_package_info(EQUAL)

    def submit(count):
        return [client.submit(checked, function, task, versions, pure=False) for task in islice(tasks, count)]

    try:
        running = as_completed(submit(IN_FLIGHT))
        for future in running:
            yield future.result()
            running.update(submit(1))
    except KilledWorker as error:
        raise InputError(
            f"{error.allowed_failures + 1} workers died of one task; do they have enough memory, and of dask worker "
            "--memory-limit 0?"
        ) from error
    except InputError:  # of which one is an ImportError
        raise
    except (ImportError, RuntimeError) as error:
        missing = error if isinstance(error, ImportError) else error.__cause__  # there, or at the scheduler
        if not isinstance(missing, ImportError):
            raise
        raise InputError(
            f"the Dask scheduler or a worker cannot import {missing.name}; PYTHONPATH must name the same checkout"
        ) from error
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise InputError("the Dask scheduler is gone; the same command continues where it stopped") from error


def abandoned() -> bool:
    """Whether nobody waits for the task of the worker that asks: a long one, which Dask cannot stop, should end."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled" or worker.status in (Status.closing, Status.closed)
