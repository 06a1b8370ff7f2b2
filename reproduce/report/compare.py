"""Two sets of rows side by side: is the second better, worse, or within the tolerances of ``results/expected.json``?

Rows match by experiment, name and conditions, of a time budget by device too, with the same seed where there is one,
with any other where there is none; with the paper's, which state no conditions, by experiment and name, and then it is
the paper that they are compared with. Exit status 0: nothing is worse; 1: something is, or failed where A did not; 2:
bad input or nothing matches.
"""

import json
from pathlib import Path
from typing import NamedTuple

from reproduce.records import RESULTS
from reproduce.report.select import PAPER, Row, grouped, key, published, read, read_numbers, repeat_key
from reproduce.report.text import DECIMALS, scored, seeds, setting, training_slices
from unet_paper.errors import InputError

HIGHER_IS_BETTER = ("v_rand", "v_info", "v_rand_precision", "v_rand_recall")
NEITHER_IS = ("parameters_count",)


class Difference(NamedTuple):
    """One metric of one matched row."""

    row: str
    metric: str
    reference: float
    value: float
    tolerance: float

    @property
    def verdict(self) -> str:
        """Whether the value is better, within the tolerance, or worse.

        Examples
        --------
        >>> [Difference("", "pixel_error", 0.06, value, 0.005).verdict for value in (0.05, 0.065, 0.066)]
        ['better', 'within', 'worse']
        """
        gain = (self.value - self.reference) * (1 if self.metric in HIGHER_IS_BETTER else -1)
        if abs(gain) <= self.tolerance + 1e-12:
            return "within"
        return "better" if gain > 0 and self.metric not in NEITHER_IS else "worse"


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    text = f'a records.jsonl, a file like results/paper.json, or "{PAPER}"'
    parser.add_argument("first", metavar="A", help=f"what is compared with: {text}")
    parser.add_argument("second", metavar="B", help="what is judged, likewise; the paper is never judged")
    tolerances = {"nargs": "+", "default": [], "metavar": "METRIC=VALUE", "help": "in place of the stated one"}
    parser.add_argument("--tolerance", type=tolerance, **tolerances)


def run(arguments) -> int:
    """Print the comparison; returns 1 if something is worse."""
    asked = dict(arguments.tolerance)
    expected = json.loads((RESULTS / "expected.json").read_text(encoding="utf-8"))["tolerances"]
    tolerances = {experiment: known | asked for experiment, known in expected.items()}
    first, second = load(arguments.first), load(arguments.second)
    if any(row.volume == PAPER for row in second):
        first, second = second, first
    found, alone = compare(first, second, tolerances)
    if not found:
        raise InputError(f"no row of {arguments.first} has a partner with the same metric in {arguments.second}")
    unknown = sorted(set(asked) - {d.metric for d in found})
    if unknown:
        known = ", ".join(dict.fromkeys(d.metric for d in found))
        raise InputError(f"--tolerance names {', '.join(unknown)}; it must be a metric of a matched row: {known}")
    for described, differences in grouped(found, lambda d: d.row).items():
        print(described)
        for d in differences:
            digits = DECIMALS.get(d.metric, 3)
            numbers = f"{d.reference:.{digits}f}  {d.value:.{digits}f}  {d.value - d.reference:+.{digits}f}"
            print(f"  {d.metric:16} {numbers}  {d.verdict} ({d.tolerance:g})")
    if alone:
        print(f"{len(alone)} rows without a partner, the first: {alone[0]}")
    finished = {_recipe(row) for row in first if row.scores}
    failed = [row for row in second if row.outcome and _recipe(row) in finished]
    for row in failed:
        print(f"{_described(row)}: {row.outcome}")
    verdicts = [d.verdict for d in found]
    print(", ".join(f"{verdicts.count(word)} {word}" for word in ("better", "within", "worse")))
    if first[0].volume == PAPER:
        print("the paper's scores are of the hidden labels of the test volume: see results/NOTES.md")
    return 1 if "worse" in verdicts or failed else 0


def compare(first: list[Row], second: list[Row], tolerances: dict) -> tuple[list[Difference], list[str]]:
    """The differences of `second` to `first` in matched rows, and what the rows without a partner are."""
    loose = any(row.volume == PAPER for row in first)

    def identity(row):
        return (row.experiment, row.name) if loose else (repeat_key(row), _machine(row))

    partners = grouped(first, identity)
    found, matched = [], set()
    for row in second:
        repeats = partners.get(identity(row), [])
        for reference in [other for other in repeats if other.seeds == row.seeds] or repeats:
            matched |= {id(row), id(reference)}
            other = "" if loose or reference.seeds == row.seeds else f", against seed {seeds(reference)}"
            for metric, tolerance in tolerances.get(row.experiment, {}).items():
                pair = reference.value(metric), row.value(metric)
                if None not in pair:
                    found.append(Difference(_described(row) + other, metric, *pair, tolerance))
    return found, [_described(row) for row in first + second if id(row) not in matched]


def _recipe(row):
    """What a run that failed has in common with those that did not."""
    return key(row, ("seeds", "steps", "rotations")), _machine(row)


def _machine(row):
    """The device where the time on it was the budget."""
    return row.device if row.budget[0] == "seconds" else None


def _described(row):
    run = f"{scored(row)}, seed {seeds(row)}, {training_slices(row.train_slices)}, {setting(row)}"
    return f"{row.experiment} {row.name}: " + (run if row.seeds else ", ".join(map(str, row.settings.values())))


def load(source: str) -> list[Row]:
    """Rows of a file of records, or the published scores as rows of the volume `PAPER`."""
    path = RESULTS / "paper.json" if source == PAPER else Path(source)
    if not path.is_file():
        raise InputError(f'{path} must be a records.jsonl, a file like results/paper.json, or "{PAPER}"; it is no file')
    return read(path) if path.suffix == ".jsonl" else published(read_numbers(path))


def tolerance(words: str) -> tuple[str, float]:
    """Metric and tolerance of ``METRIC=VALUE``; `ValueError` for other words.

    Examples
    --------
    >>> tolerance("v_rand=0.01")
    ('v_rand', 0.01)
    """
    metric, _, value = words.partition("=")
    if not metric or not float(value) >= 0:
        raise ValueError(words)
    return metric, float(value)
