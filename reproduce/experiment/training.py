"""One training of a method on a split: done once, resumed after a stop, with an account of itself.

It leaves ``weights.safetensors`` and ``run.json`` in ``<out>/trainings/<method>-<digits>/<split>-seed<n>``, where
the digits are those of its recipe, so that a second recipe never meets the first one's files.
"""

import csv
import json
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from reproduce import records
from reproduce.experiment.run import Method, Split
from unet_paper.checkpoint import CHECKPOINT, save_weights
from unet_paper.engine import abandoned
from unet_paper.errors import InputError, Interrupted
from unet_paper.files import atomic_write, locked, make_folder
from unet_paper.train import gray_statistics, train

PARTS = "parts.jsonl"  # a line for every run with a part in this training: one may resume another's
PATIENCE = 120.0  # seconds: a worker that was cut off ends after its step, and a network's folders give up its lock


def training_folder(method: Method, split: Split, *, seed: int, out: Path) -> Path:
    """Where the training of one split with one seed is kept."""
    return Path(out) / "trainings" / method.label / f"{split.name}-seed{seed}"


def train_split(
    method: Method,
    split: Split,
    data,
    *,
    seed: int,
    device: str,
    out: Path,
    resume: bool = True,
    worker_of: str | None = None,
) -> dict:
    """Train on the slices of `split` unless that has been done; returns the account of the training.

    Parameters
    ----------
    method : Method
    split : Split
    data : IsbiData
    seed : int
    device : {"cpu", "cuda"}
    out : Path
        The folder of `training_folder`.
    resume : bool
        Continue from a checkpoint rather than start anew; what is finished is not trained again.
    worker_of : str, optional
        The command that this is a task of: there is no progress bar, the folder is waited for, and the
        training ends when nobody waits for it.

    Returns
    -------
    dict
        seconds, steps, parameters and provenance.

    Raises
    ------
    InputError
        If the folder holds a training of other data or is damaged, or another process is at work in it.
    NonFiniteLoss, Interrupted
        As `unet_paper.train.train`.
    """
    folder = make_folder(training_folder(method, split, seed=seed, out=out))
    with locked(folder, patience=PATIENCE if worker_of else 0.0):
        account = read_account(folder)
        if account is None:
            if not resume:
                forget(folder)
            return _train_split(method, split, data, folder, seed, device, out, worker_of)
    trained = account["provenance"]
    if (trained["config"], trained["data"]) != (configuration(method, split, seed), data.training_sha256):
        raise InputError(f"{folder} holds a training on other data; name another --out, or remove that folder")
    return account


def forget(folder: Path) -> None:
    """Remove what a training that was stopped has left."""
    for name in (CHECKPOINT, PARTS):
        (folder / name).unlink(missing_ok=True)


def configuration(method: Method, split: Split, seed: int) -> dict:
    """Everything that, with the data, determines a network; as JSON gives it back."""
    about = {"recipe": method.recipe.configuration, "train_slices": split.train, "seed": seed}
    return json.loads(json.dumps(about))


def read_account(folder: Path) -> dict | None:
    """The account that a finished training has left in `folder`, or None."""
    path = folder / "run.json"
    if not path.exists():
        return None
    try:
        account = json.loads(path.read_text(encoding="utf-8"))
        _ = [account[name] for name in ("seconds", "steps", "parameters", "parts")]
        _ = [account["provenance"][name] for name in records.PROVENANCE]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); remove the folder {folder} to train again") from error
    return account


def _train_split(method, split, data, folder, seed, device, out, worker_of):
    images, labels = data.images[list(split.train)], data.labels[list(split.train)]
    if not (folder / CHECKPOINT).exists():
        (folder / PARTS).unlink(missing_ok=True)  # of runs that left nothing
    part = {"commit": records.commit_id(), "device": records.device_name(device), "device_kind": device}
    parts = read_parts(folder)
    known = len(parts)
    records.reset_peak_memory(device)
    total = None if method.recipe.seconds else method.recipe.steps
    title = f"train {method.name} {split.name} seed {seed}"
    with progress_bar(total=total, desc=title, disable=worker_of is not None) as bar:

        def report(step, loss):
            if worker_of and abandoned():
                raise Interrupted(f"stopped after step {step}: nobody waits for this training")
            if len(parts) == known:
                parts.append(part)
                with open(folder / PARTS, "a", encoding="utf-8") as file:
                    file.write(json.dumps(part) + "\n")
            if bar.n == 0:
                bar.n = bar.initial = step - 1  # steps of an earlier run do not count for the time left
            bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
            bar.update(step - bar.n)

        with torch.backends.cudnn.flags(enabled=True, benchmark=device == "cuda"):  # every tile has the same size
            model, curve = train(
                method.recipe, images, labels, seed=seed, device=device, folder=folder, resume=True, report=report
            )
    seconds = curve.seconds[-1] if curve.seconds else 0.0
    provenance = records.provenance(
        config=configuration(method, split, seed),
        seed=seed,
        data=data.training_sha256,
        device=device,
        wall_seconds=seconds,
        command=worker_of,
    )
    parts = parts or [part]  # of a training without a step
    provenance |= of_parts(parts)
    about = {name: provenance[name] for name in ("command", "commit", "date", "device", "data")} | provenance["config"]
    metadata = gray_statistics(images) | {"title": method.title, "seconds": seconds} | about
    save_weights(folder / "weights.safetensors", model, metadata)
    if curve.loss:
        write_curve(Path(out) / "curves" / f"{method.label}-{split.name}-seed{seed}.csv", curve)
    account = {
        "seconds": seconds,
        "steps": len(curve.loss),
        "parameters": sum(p.numel() for p in model.parameters()),
        "provenance": provenance,
        "parts": parts,
    }
    with atomic_write(folder / "run.json") as temporary:
        Path(temporary).write_text(json.dumps(account, indent=1), encoding="utf-8")
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return account


def read_parts(folder: Path) -> list[dict]:
    """Commit and device of every run so far with a part in the training of `folder`."""
    path = folder / PARTS
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise InputError(f"{path} is damaged; remove the folder {folder} to train again") from error


def of_parts(parts: list[dict]) -> dict:
    """Commits, devices and their kinds of several runs, for a record."""
    return {name: together(part[name] for part in parts) for name in ("commit", "device", "device_kind")}


def progress_bar(**options) -> tqdm:
    """A bar that is drawn anew every second on a terminal, every minute in a log."""
    seconds = 1.0 if sys.stderr.isatty() else 60.0
    return tqdm(mininterval=seconds, maxinterval=seconds, **options)


def write_curve(path: Path, curve) -> None:
    """Write step, loss, learning rate and seconds as CSV, a line a step."""
    make_folder(path.parent)
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "learning_rate", "seconds"])
        for step, (loss, rate, seconds) in enumerate(zip(*curve), 1):
            writer.writerow([step, f"{loss:.5f}", f"{rate:.4e}", f"{seconds:.2f}"])


def together(names) -> str:
    """Distinct names in their order: of the commands and commits that trained and scored, of the devices.

    Examples
    --------
    >>> together(["a", "a", "b"])
    'a, b'
    """
    return ", ".join(dict.fromkeys(names))
