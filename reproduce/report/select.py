"""Queries on records: which count, which belong together, and one face for old and new ones.

A `Row` is a record whose conditions are fields. Records of the first form said slices, budget and device in
words ("0-29", "fcn-720s", "AMD EPYC, 2 cores"); `as_row` translates them, and nothing else knows of it.
"""

import statistics
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import NamedTuple, get_args, get_origin

from data_scripts.isbi2012 import SHA256
from reproduce import records
from reproduce.records import RESULTS, SCORES, Record
from unet_paper.errors import InputError

BASE = "base"  # name of the unchanged recipe among variants
PAPER = "paper"  # the volume of published scores
BENCHMARKS = ("ceilings", "training step", "segmentation", "volume", "metrics", "weight map")  # those that are shown
EARLIER = ("unet", "unet-warmup50", "fcn")  # whose records of the first form are of another S2, S21 and S24
CHALLENGE = {name.removesuffix(".tif"): SHA256[name] for name in ("train-labels.tif", *SHA256)}  # labels first
CONDITIONS = ("experiment", "name", "folds", "slices", "volume", "train_slices", "seeds", "rotations", "steps")
CONDITIONS += ("budget", "base_channels", "variant")


@dataclass(frozen=True)
class Row:
    """A record with its conditions as fields; ``settings`` has all other conditions.

    Attributes
    ----------
    slices : tuple of int
        What was scored, from 0; of ``volume``, "train" (held-out slices of the training stack) or "test".
    seeds : tuple of int
        Several if their maps were averaged.
    budget : tuple
        What bounded the training: ("seconds", s), or ("steps", n) in steps of the U-Net.
    outcome : str or None
        Why a training has no scores.
    by_slice : tuple of float
        V_Rand of each of the slices, at ``threshold``; empty where it is not recorded.
    """

    experiment: str
    name: str
    title: str
    folds: tuple[str, ...] = ()
    slices: tuple[int, ...] = ()
    volume: str = "train"
    train_slices: int | None = None
    seeds: tuple[int, ...] = ()
    rotations: str | None = None
    steps: int | None = None
    budget: tuple[str, int | float | None] = ("steps", None)
    base_channels: int = 64
    variant: str = BASE
    outcome: str | None = None
    settings: dict = field(default_factory=dict)
    scores: dict = field(default_factory=dict)
    measures: dict = field(default_factory=dict)
    threshold: int | float | None = None
    by_slice: tuple[int | float, ...] = ()
    details: dict = field(default_factory=dict)
    weights: str | None = None
    prediction: str | None = None
    device: str = ""
    device_kind: str = "cpu"
    peak_bytes: int | None = None

    @property
    def averaged(self) -> bool:
        """Whether the mean of the maps of several seeds was scored."""
        return len(self.seeds) > 1

    @property
    def network_seconds(self) -> float | None:
        """Training time of one network, of a record that may hold one for each fold and each averaged seed."""
        seconds = self.measures.get("train_seconds")
        return None if seconds is None else seconds / (len(self.folds or [0]) * len(self.seeds or [0]))

    @property
    def setting(self) -> Hashable:
        """What is equal in all rows of one comparison of variants, but for rotations."""
        told = {name: value for name, value in self.settings.items() if name != "recipe"}
        return self.budget, self.volume, self.device_kind, self.base_channels, frozen(told)

    @property
    def protocol(self) -> Hashable:
        """What is equal in all rows of one comparison of methods, but for rotations."""
        return self.budget, self.base_channels, self.volume, self.slices, self.device, self.settings.get("data")

    def value(self, metric: str) -> float | None:
        """A score, detail or measure by its name."""
        return (self.measures | self.details | self.scores).get(metric)


def as_row(record: Record) -> Row:
    """The `Row` of a record of either form; `InputError` for an entry that is not of its type.

    Examples
    --------
    >>> row = as_row(Record("systems", "fcn-300s", {"slices": "24-26", "seconds": 300.0}))
    >>> row.name, row.slices, row.budget
    ('fcn', (24, 25, 26), ('seconds', 300.0))
    """
    try:
        row = _translated(record)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise InputError(f"its conditions are of another form: {error}") from error
    for one in fields(Row):
        if not _fits(getattr(row, one.name), one.type):
            raise InputError(f"{one.name} must be {one.type}, not {str(getattr(row, one.name))[:40]}")
    if row.by_slice and len(row.by_slice) != len(row.slices):
        raise InputError(f"there must be a V_Rand for each of the {len(row.slices)} slices, not {len(row.by_slice)}")
    return row


def _translated(record):
    source = {name: value for name, value in record.provenance.items() if value is not None}
    device, name = source.get("device", ""), record.name
    left = {"title": name} | record.conditions
    found = {"experiment": record.experiment, "scores": record.scores, "measures": record.measures}
    found |= {"prediction": record.prediction, "device": device, "peak_bytes": source.get("peak_bytes")}
    found |= {"device_kind": source.get("device_kind", "cpu" if device.endswith("cores") else "cuda")}
    odd = [one for one, digest in CHALLENGE.items() if (source.get("data") or {}).get(one, digest) != digest]
    if odd and record.experiment != "quick":
        left["data"] = "+".join(source["data"][one][:8] for one in odd)
    if record.experiment == "benchmark":
        return Row(name=name, title=left.pop("title"), settings=left, **found)
    if "seconds" in left:
        left["budget"] = {"seconds": left.pop("seconds")}
        name = name.removesuffix(f"-{left['budget']['seconds']:g}s")
    if isinstance(left.get("slices"), str):
        if name in EARLIER or record.experiment == "sweep":
            left |= {"title": f"{left['title']}, earlier reading", "reading": "earlier"}
        first, last = map(int, left["slices"].split("-"))
        left["slices"] = range(first, last + 1)
    ((unit, amount),) = left.pop("budget", {"steps": left.get("steps")}).items()
    if "variant" in left and (recipe := source.get("config", {}).get("recipe")):
        left["precision"] = recipe["precision"]  # or a variant would be paired with another arithmetic
    found |= {one: tuple(left.pop(one)) for one in ("folds", "slices", "seeds") if one in left}
    found |= {one.name: left.pop(one.name) for one in fields(Row) if one.name in left}
    details = record.details
    return Row(
        **found,
        name=name,
        budget=(unit, amount),
        settings=left,
        threshold=details.get("thresholds", {}).get("v_rand"),
        by_slice=tuple(details.get("v_rand_by_slice", ())),
        weights=details.get("weights"),
        details={name: value for name, value in details.items() if type(value) in (int, float)},
    )


def _fits(value, hint):
    """Whether a value is of an annotated type."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is UnionType:
        return any(_fits(value, one) for one in inner)
    if kind is tuple:
        return all(_fits(item, one) for item, one in zip(value, inner if ... not in inner else inner[:1] * len(value)))
    return value is None if hint is type(None) else type(value) is hint


def read(path: Path) -> list[Row]:
    """The rows that count of the records at `path`, in order."""
    rows = []
    for number, record in enumerate(records.read(path), 1):
        try:
            rows.append(as_row(record))
        except InputError as error:
            raise InputError(f"line {number} of {path} is not a record: {error}") from error
    return latest(rows)


def read_numbers(path: Path = RESULTS / "paper.json") -> list[dict]:
    """The published numbers at `path`; `InputError` for a file of another form."""
    try:
        numbers = records.parse(Path(path).read_bytes())["numbers"]
        for number in numbers:
            needed = ("id", "name", "title", "place") if number["metric"] in SCORES else ("id",)
            if not all(_fits(number[name], str) for name in needed) or not _fits(number["value"], int | float):
                raise InputError(f"an entry is {str(number)[:80]}")
    except (KeyError, TypeError, InputError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path} must have the form of results/paper.json: {reason}") from error
    return numbers


def published(numbers: Iterable[dict]) -> list[Row]:
    """Published scores as a row for each method, with their place in the literature among the settings."""
    groups = grouped((number for number in numbers if number["metric"] in SCORES), lambda number: number["name"])
    return [
        Row(
            "table1",
            name,
            group[0]["title"],
            volume=PAPER,
            scores={number["metric"]: number["value"] for number in group},
            settings={"place": "; ".join(dict.fromkeys(number["place"] for number in group))},
        )
        for name, group in groups.items()
    ]


def frozen(value):
    """A hashable equal of a JSON value."""
    if isinstance(value, dict):
        return tuple(sorted((key, frozen(item)) for key, item in value.items()))
    return tuple(map(frozen, value)) if isinstance(value, list | tuple) else value


def key(row: Row, without: Iterable[str] = ()) -> Hashable:
    """What tells a row from others: experiment, name and conditions, but for those in `without`."""
    told = {name: getattr(row, name) for name in CONDITIONS} | row.settings
    return frozen({name: value for name, value in told.items() if name not in without})


def repeat_key(row: Row) -> Hashable:
    """What repeats of a run with other seeds have in common; in a given time, steps differ too."""
    return key(row, ("seeds", "steps")), row.averaged


def place(row: Row) -> Hashable:
    """Key and map, or key and device: a later row of the same replaces it."""
    return (key(row, ("steps", "budget")), row.prediction) if row.prediction else (key(row), row.device)


def latest(rows: Iterable[Row]) -> list[Row]:
    """The last row of each `place`: what is repeated replaces the earlier one.

    A map that was predicted without labels has the scores of any row that has them.
    """
    rows, newest = list(rows), {}
    maps = {(row.experiment, row.prediction) for row in rows if row.scores}
    for row in rows:
        if row.prediction and not row.scores and (row.experiment, row.prediction) in maps:
            continue
        where = place(row)
        if row.experiment != "benchmark":  # whose table keeps its order
            newest.pop(where, None)
        newest[where] = row
    return list(newest.values())


def of(rows: Iterable[Row], experiment: str) -> list[Row]:
    """The rows of one experiment, in order."""
    return [row for row in rows if row.experiment == experiment]


def scored(rows: Iterable[Row], *experiments: str) -> list[Row]:
    """The rows of experiments that have scores, without averaged maps."""
    return [row for row in rows if row.experiment in experiments and row.scores and not row.averaged]


def grouped(items: Iterable, by: Callable) -> dict[Hashable, list]:
    """Items by their ``by(item)``, in order of first appearance."""
    groups = {}
    for item in items:
        groups.setdefault(by(item), []).append(item)
    return groups


def by_seed(rows: Iterable[Row]) -> list[list[Row]]:
    """Groups of rows of one device that differ in their seed alone, averaged maps apart."""
    return list(grouped(rows, lambda row: (repeat_key(row), row.device)).values())


def by_size(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Rows by their number of training slices, the least first."""
    return dict(sorted(grouped((row for row in rows if row.train_slices), lambda row: row.train_slices).items()))


def by_slice(rows: Iterable[Row]) -> dict[int, float]:
    """V_Rand of each slice, the mean over the rows that say it."""
    groups = grouped((pair for row in rows for pair in zip(row.slices, row.by_slice)), lambda pair: pair[0])
    return {z: statistics.fmean(value for _, value in group) for z, group in groups.items()}


class Spread(NamedTuple):
    """Mean and sample standard deviation (None for a single value) of `count` values."""

    mean: float
    deviation: float | None
    count: int


def spread(values: Iterable[float]) -> Spread:
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


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers that are there; None if none is.

    Examples
    --------
    >>> mean_of([1.0, None, 2.0]), mean_of([])
    (1.5, None)
    """
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def seconds(group: Iterable[Row]) -> float | None:
    """Mean training time of one network over repeats."""
    return mean_of(row.network_seconds for row in group)


def peak(group: Iterable[Row]) -> int | None:
    """Most memory of any repeat."""
    return max((row.peak_bytes for row in group if row.peak_bytes), default=None)


def is_challenge(row: Row) -> bool:
    """Whether a row is of the challenge's data, as all are that do not say otherwise."""
    return "data" not in row.settings


def values(rows: Iterable[Row], metric: str) -> list[float]:
    """The values of a score, detail or measure in those rows that have it."""
    return [value for row in rows if (value := row.value(metric)) is not None]


def varying(rows: Iterable[Row]) -> dict[str, list]:
    """Steps and settings that are not the same in all rows, by their names, each with its value in every row."""
    flat = [{"base_channels": row.base_channels, "steps": row.steps, **row.settings} for row in rows]
    columns = {name: [one.get(name) for one in flat] for name in sorted({name for one in flat for name in one})}
    return {name: cells for name, cells in columns.items() if len(set(map(frozen, cells))) > 1 and name != "recipe"}


def pairs(rows: Iterable[Row], others: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Rows with those of the `others` that were made under equal conditions; rows without a partner are left out.

    Experiment, name, variant and recipe may differ, and steps under an equal budget; in a given time, devices must not.
    """

    def conditions(row):
        told = key(row, ("experiment", "name", "variant", "recipe", "reading", "steps"))
        return told, row.device if row.budget[0] == "seconds" else None

    partners = {conditions(other): other for other in others}
    return [(row, partners[conditions(row)]) for row in rows if conditions(row) in partners]


def differences(paired: Iterable[tuple[Row, Row]], metric: str) -> list[float]:
    """First minus second of each pair that has the metric."""
    both = [(a.value(metric), b.value(metric)) for a, b in paired]
    return [a - b for a, b in both if a is not None and b is not None]


def comparisons(rows: Iterable[Row], experiment: str) -> list[tuple[list[Row], dict[str, list[Row]], list[Row]]]:
    """Rows of the unchanged recipe, rows of each variant, and diverged trainings, for each setting and rotations."""
    found = []
    for group in grouped(of(rows, experiment), lambda row: row.setting).values():
        failed = [row for row in group if row.outcome]
        for alike in grouped(scored(group, experiment), lambda row: row.rotations).values() or [[]] * bool(failed):
            variants = grouped(alike, lambda row: row.variant)
            found.append((variants.pop(BASE, []), variants, failed))
    return found


def against(rows: Iterable[Row], experiment: str, variant: str) -> list[tuple[Row, Row]]:
    """Pairs of the unchanged recipe and a variant in the comparison that says most.

    Several pairs say more than one; then the wider network does, the longer training, more pairs, and the newest.
    """
    found = [pairs(base, variants.get(variant, ())) for base, variants, _ in comparisons(rows, experiment)]

    def says(paired):
        return len(paired) > 1, paired[0][0].base_channels, paired[0][0].budget[1] or 0, len(paired)

    return max(filter(None, reversed(found)), key=says, default=[])


def networks(rows: Iterable[Row]) -> list[list[Row]]:
    """The best-documented rows of each network of Table 1, its seeds, on either volume.

    Networks of the present reading of the recipe come first, of these the widest.

    Of the rows of a network the test volume comes first, then the present reading, the widest, most steps, most slices,
    most seeds, the mean of eight symmetries, and the newest.
    """

    def documented(group):
        first = group[0]
        now = "reading" not in first.settings
        return (
            first.volume == "test",
            now,
            first.base_channels,
            first.steps or 0,
            len(first.slices),
            len(group),
            first.rotations == "eight",
        )

    def stack(group):
        return group[0].name, group[0].volume, group[0].settings.get("data")

    newest_first = sorted(reversed(by_seed(scored(rows, "table1"))), key=documented, reverse=True)
    best = [groups[0] for groups in grouped(newest_first, stack).values()]
    return sorted(best, key=lambda group: ("reading" in group[0].settings, -group[0].base_channels))


def network(rows: Iterable[Row], name: str) -> list[Row]:
    """The best-documented rows of one network of Table 1; none if it has none."""
    return next((group for group in networks(rows) if group[0].name == name), [])


def protocols(rows: Iterable[Row]) -> list[list[list[Row]]]:
    """Groups of rows of the comparison of methods that differ in their seed alone, the best V_Rand first.

    They come in a list for each protocol. Where one has no U-Net, that of Table 1 is taken.
    """

    def protocol(row):
        return row.protocol, row.rotations

    ours = scored(rows, "systems")
    wanted = {protocol(row) for row in ours} - {protocol(row) for row in ours if row.name == "unet"}
    borrowed = [row for row in scored(rows, "table1") if row.name == "unet" and protocol(row) in wanted]
    best_first = sorted(by_seed(borrowed + ours), key=lambda group: -spread(values(group, "v_rand")).mean)
    return list(grouped(best_first, lambda group: protocol(group[0])).values())


def rivals(rows: Iterable[Row], name: str, rival: str) -> list[tuple[Row, Row]]:
    """Pairs of two methods under one protocol: that with most steps, then slices, then pairs, then the newest."""
    runs = scored(rows, "table1", "systems")
    ours = grouped((row for row in runs if row.name == name), lambda row: row.settings.get("recipe")).values()
    theirs = by_seed([row for row in runs if row.name == rival])
    found = [pairs(group, others) for others in reversed(theirs) for group in reversed(list(ours))]

    def says(paired):
        first = paired[0][0]
        return first.steps or 0, len(first.slices), len(paired)

    return max(filter(None, found), key=says, default=[])


SLICE = {"name": "U-Net of the paper", "group": "segmentation", "rotations": "none"}  # one prediction of one slice


def fastest_slice(rows: Iterable[Row]) -> tuple[float, Row] | None:
    """The least time the U-Net needed for a slice, and its row; a GPU before a CPU, a benchmark before Table 1."""
    measured = [
        (row.measures.get("median_seconds"), row)
        for row in of(rows, "benchmark")
        if SLICE.items() <= (row.settings | {"name": row.name}).items()
    ]
    ours = [row for row in of(rows, "table1") if row.name == "unet"]
    measured += [(row.measures.get("predict_seconds_per_slice"), row) for row in ours]

    def order(item):
        seconds, row = item
        return row.device_kind != "cuda", row.experiment != "benchmark", seconds

    return min((item for item in measured if item[0] is not None), key=order, default=None)


def benchmarks(rows: Iterable[Row]) -> list[list[Row]]:
    """What the benchmark measured, by group of operations and device, of the groups that are shown."""
    shown = [row for row in of(rows, "benchmark") if row.measures and row.settings["group"] in BENCHMARKS]
    return list(grouped(shown, lambda row: (row.settings["group"], row.device)).values())
