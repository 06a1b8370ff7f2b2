"""Two sets of records side by side, with a verdict within the tolerances of ``results/expected.json``.

Rows match by experiment, name and conditions; against the paper by experiment and name, since its
rows state no conditions. Exit status 0: all within; 1: some are not; 2: bad input or nothing matches.
"""

import json
from pathlib import Path
from typing import NamedTuple

from reproduce.records import RESULTS
from reproduce.report.select import Row, grouped, key, published, read
from reproduce.report.text import DECIMALS, conditions_text
from unet_paper.errors import InputError

PAPER = "paper"


class Difference(NamedTuple):
    """One metric of one matched row."""

    row: str
    metric: str
    first: float
    second: float
    tolerance: float

    @property
    def within(self):
        """Whether the two agree; rounding to the printed decimals is forgiven."""
        return abs(self.second - self.first) <= self.tolerance + 1e-12


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    text = f'a records.jsonl, a file like results/paper.json, or "{PAPER}"'
    parser.add_argument("first", metavar="A", help=text)
    parser.add_argument("second", metavar="B", help="likewise")
    parser.add_argument("--tolerance", nargs="+", default=[], metavar="METRIC=VALUE", help="in place of the stated one")


def run(arguments):
    """Print the comparison; returns the exit status."""
    asked = dict(parse_tolerance(text) for text in arguments.tolerance)
    expected = json.loads((RESULTS / "expected.json").read_text(encoding="utf-8"))["tolerances"]
    tolerances = {experiment: known | asked for experiment, known in expected.items()}
    first, second = load(arguments.first), load(arguments.second)
    found, alone = compare(first, second, tolerances)
    if not found:
        raise InputError(f"no row of {arguments.first} has a partner with the same metric in {arguments.second}")
    if any(row.volume == PAPER for row in first + second):
        print("the paper's scores are of the hidden labels of the test volume; results/TABLES.md: what is comparable")
    unknown = sorted(set(asked) - {d.metric for d in found})
    if unknown:
        known = ", ".join(dict.fromkeys(d.metric for d in found))
        raise InputError(f"--tolerance names {', '.join(unknown)}, which no matched row has; legal: {known}")
    last = None
    for d in found:
        if d.row != last:
            print(d.row)
            last = d.row
        digits = DECIMALS.get(d.metric, 3)
        numbers = f"{d.first:.{digits}f}  {d.second:.{digits}f}  {d.second - d.first:+.{digits}f}"
        print(f"  {d.metric:16} {numbers}  {'within' if d.within else 'NOT within'} {d.tolerance:g}")
    if alone:
        print(f"{len(alone)} rows without a partner, the first: {alone[0]}")
    outside = sum(not d.within for d in found)
    print(f"{len(found) - outside} of {len(found)} within tolerance")
    return 1 if outside else 0


def compare(first, second, tolerances):
    """The differences of matched rows, and the names of the rows of `first` and `second` without a partner."""
    loose = any(row.volume == PAPER for row in first + second)

    def identity(row):
        return (row.experiment, row.name) if loose else key(row)

    partners = {identity(group[0]): group for group in grouped(second, identity)}
    found, matched = [], set()
    for a in first:
        for b in partners.get(identity(a), []):
            matched |= {id(a), id(b)}
            ours = b if a.volume == PAPER else a
            values, others = a.scores | a.measures, b.scores | b.measures
            for metric, tolerance in tolerances.get(a.experiment, {}).items():
                if metric in values and metric in others:
                    found.append(Difference(describe(ours), metric, values[metric], others[metric], tolerance))
    return found, [describe(row) for row in first + second if id(row) not in matched]


def describe(row):
    """Experiment, name and conditions in words."""
    return f"{row.experiment} {row.name} ({conditions_text(row)})"


def load(source):
    """Rows of a file of records, or the published scores as rows of the volume `PAPER`."""
    path = RESULTS / "paper.json" if source == PAPER else Path(source)
    if not path.is_file():
        raise InputError(f'{path} is no file; legal: a records.jsonl, a file like results/paper.json, or "{PAPER}"')
    if path.suffix == ".jsonl":
        return read(path)
    try:
        groups = published(json.loads(path.read_text(encoding="utf-8"))["numbers"])
        return [
            Row("table1", g[0]["name"], g[0]["title"], volume=PAPER, scores={n["metric"]: n["value"] for n in g})
            for g in groups
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not have the form of results/paper.json: {error!r}") from error


def parse_tolerance(text):
    """Metric and tolerance of ``METRIC=VALUE``.

    Examples
    --------
    >>> parse_tolerance("v_rand=0.01")
    ('v_rand', 0.01)
    """
    metric, _, value = text.partition("=")
    try:
        tolerance = float(value)
    except ValueError:
        tolerance = -1.0
    if not metric or not tolerance >= 0:
        raise InputError(f"tolerance {text!r} is not METRIC=VALUE with a value of at least 0")
    return metric, tolerance
