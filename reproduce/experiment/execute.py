"""Runs, one after the other: what has been recorded is not done again."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from reproduce import records
from reproduce.experiment.run import Run
from reproduce.experiment.scoring import conditions_of, failure, measure
from reproduce.experiment.training import train_split
from reproduce.experiment.workers import Failures, key, train_on_workers
from unet_paper.errors import InputError, NonFiniteLoss, is_out_of_memory


def execute(
    runs: list[Run], data, *, device: str, out: Path, resume: bool = True, connect: Callable = nullcontext
) -> list[records.Record]:
    """Train, predict, score and record what has not been recorded; returns the records of `runs` that are new.

    A loss that is not finite is recorded too. A run that does not fit in memory is named and left out. Workers
    only train; all else is done here, one run after the other, so the records are those without workers.

    Parameters
    ----------
    runs : list of Run
    data : IsbiData
    device : {"cpu", "cuda"}
    out : Path
        The folder for trainings, curves, maps and records.jsonl.
    resume : bool
        Continue trainings that were stopped, rather than start them anew.
    connect : callable
        Returns a context that yields a client for `unet_paper.engine.run_tasks`, or None.

    Returns
    -------
    list of Record

    Raises
    ------
    InputError
        If records.jsonl or a training in `out` is damaged or of other data, or, when all else has been
        done, if a run was left out.
    """
    path = Path(out) / "records.jsonl"
    known, made, left_out = records.read(path), [], []
    wanted = [run for run in runs if missing_rotations(run, data, known)]
    failures = train_on_workers(connect, wanted, data, device=device, out=out, resume=resume)
    for number, run in enumerate(runs, 1):
        where = ", ".join(split.name for split in run.splits)
        heading = f"{run.method.title}, {where}, seed {', '.join(map(str, run.seeds))}"
        missing = missing_rotations(run, data, known + made)
        print(f"[{number}/{len(runs)}] {heading}{'' if missing else ': recorded already'}", flush=True)
        if not missing:
            continue
        try:
            run = replace(run, rotations=missing)
            for record in results(run, data, device=device, out=out, resume=resume, failures=failures):
                records.append(record, path)
                made.append(record)
                print(summary(record), flush=True)
        except (MemoryError, RuntimeError, ValueError) as error:
            if not is_out_of_memory(error):
                raise
            print(f"left out: {error}")
            left_out.append(heading)
    if left_out:
        raise InputError(f"{len(left_out)} of {len(runs)} runs did not fit in memory: {'; '.join(left_out)}")
    return made


def recorded(runs: list[Run], data, out: Path) -> list[records.Record]:
    """The records of `runs` whose maps lie in `out`, in the order of the runs and of their rotations."""
    known = [record for record in records.read(Path(out) / "records.jsonl") if record.prediction]
    return [
        record
        for run in runs
        for rotations in run.rotations
        for record in known
        if is_of(record, run, data) and record.conditions["rotations"] == rotations
        if (Path(out) / record.prediction).exists()
    ]


def missing_rotations(run: Run, data, known: list[records.Record]) -> tuple[str, ...]:
    """The rotations of `run` that are not recorded; none if it is recorded as failed."""
    done = [record.conditions for record in known if is_of(record, run, data)]
    failed = any("outcome" in conditions for conditions in done)
    recorded = {conditions.get("rotations") for conditions in done}
    return tuple(rotations for rotations in dict.fromkeys(run.rotations) if not failed and rotations not in recorded)


def results(run: Run, data, *, device: str, out: Path, resume: bool, failures: Failures) -> Iterator[records.Record]:
    """Train the networks of a run that are missing; yields the record of each rotation, or of the failure."""
    try:
        for split, seed in run.trainings:
            if error := failures.get(key(run.method, split, seed)):
                raise error
            train_split(run.method, split, data, seed=seed, device=device, out=out, resume=resume)
        yield from measure(run, data, device=device, out=out)
    except NonFiniteLoss as error:
        yield failure(run, data, device, str(error))


def is_of(record: records.Record, run: Run, data) -> bool:
    """Whether a record, perhaps of a failure, is of `run` under the same configuration, conditions and data."""
    left = ("title", "rotations", "steps", "outcome")
    known, asked = (
        {name: value for name, value in conditions.items() if name not in left}
        for conditions in (record.conditions, conditions_of(run, data))
    )
    return (
        (record.experiment, record.name) == (run.experiment, run.method.name)
        and run.is_configured_as(record.provenance["config"])
        and record.provenance["data"] == data.sha256
        and known == asked
    )


def summary(record: records.Record) -> str:
    """One line for a person at the terminal."""
    scores = "  ".join(f"{name} {value:.5f}" for name, value in record.scores.items())
    outcome, rotations = record.conditions.get("outcome"), record.conditions.get("rotations")
    about = ", ".join([*record.conditions["folds"], f"rotations {rotations}" if rotations else "failed"])
    return f"{record.name} ({about}): {outcome or scores or record.prediction}"
