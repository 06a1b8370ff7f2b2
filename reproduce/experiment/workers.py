"""The trainings of runs as tasks of Dask workers, which leave the files of a training that ran here.

Data and trainings lie in folders that the workers see under the same names. A training whose worker died is
given to another and continues from its checkpoint.
"""

import platform
from collections.abc import Callable
from functools import lru_cache, partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from reproduce import records
from reproduce.experiment.run import Method, Run, Split
from reproduce.experiment.training import PATIENCE, forget, progress_bar, read_account, train_split, training_folder
from unet_paper.device import choose_device
from unet_paper.engine import run_tasks
from unet_paper.errors import InputError, NonFiniteLoss, is_out_of_memory
from unet_paper.files import locked, make_folder
from unet_paper.isbi import IsbiData, load_isbi

Key = tuple[str, str, int]
Failures = dict[Key, Exception]
loaded = lru_cache(maxsize=1)(load_isbi)  # the data of a folder, read once a process


def key(method: Method, split: Split, seed: int) -> Key:
    """What tells trainings apart."""
    return method.label, split.name, seed


def train_on_workers(
    connect: Callable, runs: list[Run], data: IsbiData, *, device: str, out: Path, resume: bool = True
) -> Failures:
    """Train the networks of `runs` that are missing, if `connect` gives workers; returns what they failed of.

    Parameters
    ----------
    connect : callable
        Returns a context that yields a client for `unet_paper.engine.run_tasks`, or None; called only if
        something is missing.
    runs, data, device, out, resume
        As in `reproduce.experiment.execute.execute`.

    Returns
    -------
    dict
        The `NonFiniteLoss` or lack of memory of each training that ended without a network.

    Raises
    ------
    InputError
        If workers are missing, see other folders, or cannot import this package.
    """
    out, tasks = Path(out).absolute(), {}
    for run in runs:
        for split, seed in run.trainings:
            folder = training_folder(run.method, split, seed=seed, out=out)
            if read_account(folder) is None:
                tasks[folder] = (run.method, split, seed)
    if not tasks:
        return {}
    with connect() as client:
        if client is None:
            return {}
        check_checkout(client)
        for folder in map(make_folder, tasks):
            if not resume:
                with locked(folder, patience=PATIENCE):
                    forget(folder)
        train = partial(
            train_task,
            folder=data.folder,
            sha256=data.training_sha256,
            device=device,
            out=out,
            command=records.command_line(),
        )
        results = run_tasks(client, train, tasks.values())
        outcomes = dict(progress_bar(iterable=results, total=len(tasks), desc="train", unit="training"))
    return {name: error for name, error in outcomes.items() if error}


def check_checkout(client) -> None:
    """Raise `InputError` unless every worker can import this module; at the first task it would end without a word."""
    for address, found in client.run(find_spec, __name__, on_error="return").items():
        if not isinstance(found, ModuleSpec):
            raise InputError(f"the worker {address} cannot import {__name__}; PYTHONPATH must name the same checkout")


def train_task(
    task: tuple[Method, Split, int], *, folder: Path, sha256: dict, device: str, out: Path, command: str
) -> tuple[Key, Exception | None]:
    """Train one network on a worker; returns its key, and what it failed of."""
    method, split, seed = task
    needed = training_folder(method, split, seed=seed, out=out)
    if not needed.is_dir():
        raise InputError(f"{needed} is not there for the worker on {platform.node()}; its folder must be shared")
    data = loaded(folder)
    if data.training_sha256 != sha256:
        raise InputError(f"{folder} holds other data for the worker on {platform.node()}; it must be shared")
    try:
        train_split(method, split, data, seed=seed, device=choose_device(device), out=out, worker_of=command)
    except (NonFiniteLoss, MemoryError, RuntimeError, ValueError) as error:
        if isinstance(error, NonFiniteLoss) or is_out_of_memory(error):
            return key(*task), error
        raise
    return key(*task), None
