"""Queries on records: which count, which belong together, and one face for old and new ones.

A `Row` is a record whose conditions are fields. Records of the first form said slices, budget and device in
words ("test 0-29", "fcn-720s", "AMD EPYC, 2 cores"); `as_row` translates them, and nothing else knows of it.
"""

import json
import statistics
from dataclasses import dataclass, field
from typing import NamedTuple

from reproduce import records
from reproduce.records import RESULTS, SCORES

BASE = "base"  # name of the unchanged recipe among variants


@dataclass(frozen=True)
class Row:
    """A record with its conditions as fields.

    Attributes
    ----------
    experiment, name, title : str
    folds : tuple of str
    slices : tuple of int
        What was scored, from 0.
    volume : str
        "train": held-out slices of the training stack; or "test".
    train_slices, steps : int or None
    seeds : tuple of int
        Several if their maps were averaged.
    rotations : str or None
    budget : tuple
        What bounded the training: ("seconds", s), or ("steps", n) in steps of the U-Net.
    settings : dict
        All other conditions.
    scores, measures, details : dict
        As in the record.
    prediction : str or None
    device, device_kind : str
        In words, and "cpu" or "cuda".
    peak_bytes : int or None
    """

    experiment: str
    name: str
    title: str
    folds: tuple = ()
    slices: tuple = ()
    volume: str = "train"
    train_slices: int | None = None
    seeds: tuple = ()
    rotations: str | None = None
    steps: int | None = None
    budget: tuple = ("steps", None)
    settings: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)
    measures: dict = field(default_factory=dict)
    details: dict = field(default_factory=dict)
    prediction: str | None = None
    device: str = ""
    device_kind: str = "cpu"
    peak_bytes: int | None = None

    @property
    def averaged(self):
        """Whether the mean of the maps of several seeds was scored."""
        return len(self.seeds) > 1

    @property
    def network_seconds(self):
        """Training time of one network, of a record that may hold one for each fold and each averaged seed."""
        seconds = self.measures.get("train_seconds")
        return None if seconds is None else seconds / (len(self.folds or [0]) * len(self.seeds or [0]))

    @property
    def outcome(self):
        """Why a training has no scores, or None."""
        return self.settings.get("outcome")

    @property
    def protocol(self):
        """What is equal in all rows of one comparison of methods: budget, slices, rotations, device."""
        return self.budget, self.volume, self.slices, self.rotations, self.device


def as_row(record):
    """The `Row` of a record of either form.

    Examples
    --------
    >>> from reproduce.records import Record
    >>> row = as_row(Record("systems", "fcn-300s", {"slices": "test 0-1+24-25", "seconds": 300.0}))
    >>> row.name, row.slices, row.volume, row.budget
    ('fcn', (0, 1, 24, 25), 'test', ('seconds', 300.0))
    """
    device = record.provenance.get("device") or ""
    common = {
        "experiment": record.experiment,
        "name": record.name,
        "title": record.conditions.get("title", record.name),
        "scores": record.scores,
        "measures": record.measures,
        "prediction": record.prediction,
        "device": device,
        "device_kind": record.provenance.get("device_kind") or ("cpu" if device.endswith("cores") else "cuda"),
        "peak_bytes": record.provenance.get("peak_bytes"),
    }
    left = {name: value for name, value in record.conditions.items() if name != "title"}
    if record.experiment == "benchmark":
        return Row(**common, settings=left)
    slices, volume = left.pop("slices", ()), left.pop("volume", "train")
    if isinstance(slices, str):
        volume = "test" if slices.startswith("test") else "train"
        runs = [run.split("-") for run in slices.split()[-1].split("+")]
        slices = [z for first, last in runs for z in range(int(first), int(last) + 1)]
    steps = left.pop("steps", None)
    budget = left.pop("budget", {"steps": left.pop("budget_steps", steps)})
    if "seconds" in left:
        budget = {"seconds": left.pop("seconds")}
        common["name"] = record.name.removesuffix(f"-{budget['seconds']:g}s")
    return Row(
        **common,
        folds=tuple(left.pop("folds", ())),
        slices=tuple(slices),
        volume=volume,
        train_slices=left.pop("train_slices", None),
        seeds=tuple(left.pop("seeds", ())),
        rotations=left.pop("rotations", None),
        steps=steps,
        budget=next(iter(budget.items())),
        settings=left,
    )


def read(path):
    """The rows that count of the records at `path`, in order."""
    return latest([as_row(record) for record in records.read(path)])


def read_numbers(path=RESULTS / "paper.json"):
    """The published numbers, a list of dictionaries."""
    return json.loads(path.read_text(encoding="utf-8"))["numbers"]


def frozen(value):
    """A hashable equal of a JSON value.

    Examples
    --------
    >>> frozen({"seeds": [0, 1]})
    (('seeds', (0, 1)),)
    """
    if isinstance(value, dict):
        return tuple(sorted((key, frozen(item)) for key, item in value.items()))
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


TOLD_APART = (
    "experiment",
    "name",
    "folds",
    "slices",
    "volume",
    "train_slices",
    "seeds",
    "rotations",
    "steps",
    "budget",
)


def key(row, without=()):
    """What tells a row from others: experiment, name and conditions, but for those in `without`; hashable."""
    fields = {name: getattr(row, name) for name in TOLD_APART} | row.settings
    return frozen({name: value for name, value in fields.items() if name not in without})


def latest(rows):
    """The last row of each map, or of each key and device: what is repeated replaces the earlier one."""
    newest = {}
    for row in rows:
        newest[(row.experiment, row.prediction) if row.prediction else (key(row), row.device)] = row
    return list(newest.values())


def of(rows, experiment):
    """The rows of one experiment, in order."""
    return [row for row in rows if row.experiment == experiment]


def grouped(items, by):
    """Lists of items with equal ``by(item)``, in order of first appearance."""
    groups = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return list(groups.values())


def by_seed(rows):
    """Groups of rows that differ in their seed alone, averaged maps apart; in a given time, steps differ too."""

    def alike(row):
        return key(row, ("seeds", *(["steps"] if row.budget[0] == "seconds" else []))), row.averaged, row.device

    return grouped(rows, alike)


class Spread(NamedTuple):
    """Mean and sample standard deviation (None for a single value) of `count` values."""

    mean: float
    deviation: float | None
    count: int


def spread(values):
    """The `Spread` of some numbers.

    Examples
    --------
    >>> spread([1.0, 3.0])
    Spread(mean=2.0, deviation=1.4142135623730951, count=2)
    >>> spread([1.0]).deviation is None
    True
    """
    values = list(values)
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def scores(rows, metric):
    """The values of a metric in those rows that have it."""
    return [row.scores[metric] for row in rows if metric in row.scores]


def paired_differences(rows, base, metric):
    """Values of `metric` minus those of the `base` rows made under equal conditions.

    Returns a list, in the order of `rows`; those without a partner are left out.
    """
    told = ("experiment", "name", "variant", "recipe")
    partners = {key(row, told): row.scores[metric] for row in base if metric in row.scores}
    return [
        row.scores[metric] - partners[key(row, told)]
        for row in rows
        if metric in row.scores and key(row, told) in partners
    ]


def varying(rows):
    """Names of steps and settings that are not the same in all rows, in alphabetical order."""
    flat = [{"steps": row.steps, **row.settings} for row in rows]
    names = sorted({name for one in flat for name in one})
    return [name for name in names if len({frozen(one.get(name)) for one in flat}) > 1]


def published(numbers, names=None):
    """Published numbers that are scores, grouped by who published them."""
    scores = [n for n in numbers if n["metric"] in SCORES and (names is None or n["name"] in names)]
    return grouped(scores, lambda n: n["name"])


def ablations(rows):
    """The base rows of the ablations, and a list of rows for each variant, failed runs among them."""
    ours = of(rows, "ablations")
    return [r for r in ours if r.name == BASE], grouped([r for r in ours if r.name != BASE], lambda r: r.name)


def learning_curve(rows):
    """Rows of the learning curve by number of training slices, the least first."""
    ours = sorted((r for r in of(rows, "learning-curve") if r.scores), key=lambda r: r.train_slices)
    return grouped(ours, lambda r: (r.train_slices, r.steps, r.device))


def by_protocol(rows):
    """Groups of rows of the comparison of methods that differ in the seed alone, the best V_Rand first.

    They come in a list for each protocol. Where one has no U-Net, that of Table 1 is taken.
    """
    ours = [r for r in of(rows, "systems") if r.scores]
    wanted = {r.protocol for r in ours} - {r.protocol for r in ours if r.name == "unet"}
    borrowed = [r for r in of(rows, "table1") if r.name == "unet" and not r.averaged and r.protocol in wanted]
    best_first = sorted(by_seed(borrowed + ours), key=lambda group: -spread(scores(group, "v_rand")).mean)
    return grouped(best_first, lambda group: group[0].protocol)


def benchmarks(rows):
    """Rows of the benchmark by group of operations and device."""
    return grouped(of(rows, "benchmark"), lambda r: (r.settings.get("group", "other"), r.device))


def benchmark_settings(rows):
    """Names of the conditions in a group of the benchmark, in order."""
    return [n for n in dict.fromkeys(n for r in rows for n in r.settings) if n not in ("group", "seeds")]
