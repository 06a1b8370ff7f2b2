"""Runs, one after the other: what has been recorded is not done again."""

from dataclasses import replace
from pathlib import Path

import torch

from reproduce import records
from reproduce.experiment.run import Run
from reproduce.experiment.scoring import failure, is_of, measure, summary
from reproduce.experiment.training import train_split
from unet_paper.errors import NonFiniteLoss


def execute(runs: list[Run], data, *, device: str, out: Path, resume: bool = True) -> list[records.Record]:
    """Train, predict, score and record what has not been recorded; returns the records of `runs` that are new.

    A loss that is not finite is recorded too. A network that does not fit the device's memory is named and left out.

    Parameters
    ----------
    runs : list of Run
    data : IsbiData
    device : {"cpu", "cuda"}
    out : Path
        The folder for trainings, curves, maps and records.jsonl.
    resume : bool
        Continue trainings that were stopped, rather than start them anew.
    """
    path = Path(out) / "records.jsonl"
    known, made = records.read(path), []
    for number, run in enumerate(runs, 1):
        where = ", ".join(split.name for split in run.splits)
        heading = f"[{number}/{len(runs)}] {run.method.title}, {where}, seed {run.seed}"
        done = {record.conditions["rotations"] for record in known if is_of(record, run, data)}
        missing = tuple(rotation for rotation in run.rotations if rotation not in done and "failed" not in done)
        if not missing:
            print(f"{heading}: recorded already")
            continue
        print(heading, flush=True)
        try:
            for split in run.splits:
                train_split(run.method, split, data, seed=run.seed, device=device, out=out, resume=resume)
            new = measure(replace(run, rotations=missing), data, device=device, out=out)
        except torch.OutOfMemoryError as error:
            print(f"left out: {error}")
            continue
        except NonFiniteLoss as error:
            print(f"failed: {error}")
            new = [failure(run, data, device, str(error))]
        for record in new:
            records.append(record, path)
            print(summary(record), flush=True)
        made += new
    return made
