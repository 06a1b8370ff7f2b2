"""Rows of tables from records: which record counts, which belong together, how a number is written.

Everything here is a pure function of its arguments, so that tables and figures agree.
"""

import math
import statistics
from typing import NamedTuple

DECIMALS = {"warping_error": 6, "rand_error": 4, "pixel_error": 4, "v_rand": 5, "v_info": 5}  # those of the paper
TITLES = {
    "warping_error": "warping error",
    "rand_error": "Rand error",
    "pixel_error": "pixel error",
    "v_rand": "V_Rand",
    "v_info": "V_Info",
}
DASH = "–"
BASE = "base"  # name of the unchanged recipe among the ablations


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


def key(record, without=()):
    """What tells a record from others: experiment, name and conditions, but for those in `without`.

    Titles are words for readers and tell nothing apart.
    """
    kept = {name: value for name, value in record.conditions.items() if name not in {"title", *without}}
    return record.experiment, record.name, frozen(kept)


def latest(records):
    """The last record of each key: a measurement that is repeated replaces the earlier one.

    Measurements on different devices stand side by side. Of scored maps the path is the key within an
    experiment; where another experiment wrote other scores for the path later, the map is another one, and
    the record is left out.
    """
    newest, stored = {}, {}
    for r in records:
        newest[(r.experiment, r.prediction) if r.prediction else (key(r), r.provenance.get("device"))] = r
        stored[r.prediction] = r.scores
    return [r for r in newest.values() if not r.prediction or r.scores == stored[r.prediction]]


def of(records, experiment):
    """The records of one experiment, in order."""
    return [r for r in records if r.experiment == experiment]


def grouped(records, by):
    """Lists of records with equal ``by(record)``, in order of first appearance."""
    groups = {}
    for record in records:
        groups.setdefault(by(record), []).append(record)
    return list(groups.values())


def title(record):
    """The row's heading."""
    return record.conditions.get("title", record.name)


def paired_differences(records, base, metric):
    """Values of `metric` minus those of the `base` records made under equal conditions.

    Returns a list, in the order of `records`; those without a partner are left out.
    """

    def conditions(record):
        return frozen({name: value for name, value in record.conditions.items() if name not in ("title", "variant")})

    partners = {conditions(r): r.scores[metric] for r in base if metric in r.scores}
    return [
        r.scores[metric] - partners[conditions(r)] for r in records if metric in r.scores and conditions(r) in partners
    ]


def settings(record):
    """Everything that was set for a record, flat: conditions, and the recipe by dotted names."""
    flat = {name: value for name, value in record.conditions.items() if name not in ("title", "seeds")}

    def walk(value, path):
        for name, item in value.items():
            if isinstance(item, dict):
                walk(item, [*path, name])
            elif flat.get(name) != item:  # a condition repeats what the recipe says
                flat[".".join([*path, name])] = item

    config = record.provenance.get("config") or {}
    walk(config.get("recipe") or {}, [])
    return flat


def varying(records):
    """Names of the settings that are not the same in all records, in order of first appearance."""
    every = [settings(r) for r in records]
    names = dict.fromkeys(name for one in every for name in one)
    return [name for name in names if len({frozen(one.get(name)) for one in every}) > 1]


def score_text(metric, value):
    """A score with the decimals of the paper.

    Examples
    --------
    >>> score_text("warping_error", 5e-6), score_text("v_rand", None)
    ('0.000005', '–')
    """
    return DASH if value is None else f"{value:.{DECIMALS[metric]}f}"


def spread_text(metric, values, signed=False):
    """Mean ± standard deviation with the decimals of the paper.

    Examples
    --------
    >>> spread_text("rand_error", [0.01, 0.03]), spread_text("v_rand", [-0.001], signed=True)
    ('0.0200 ± 0.0141', '-0.00100')
    """
    if not values:
        return DASH
    how, digits = spread(values), DECIMALS[metric]
    mean = f"{how.mean:{'+' if signed else ''}.{digits}f}"
    return mean if how.deviation is None else f"{mean} ± {how.deviation:.{digits}f}"


def duration(seconds):
    """Seconds as a person says them.

    Examples
    --------
    >>> duration(0.00213), duration(42.6), duration(3960), duration(36000)
    ('2.13 ms', '42.6 s', '66.0 min', '10.0 h')
    """
    if seconds is None:
        return DASH
    for limit, unit, name in ((1e-3, 1e-6, "µs"), (1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{significant(seconds / unit)} {name}"
    return f"{significant(seconds / 3600)} h"


def memory(size):
    """Bytes as MiB or GiB.

    Examples
    --------
    >>> memory(2**20), memory(6 * 2**30)
    ('1.00 MiB', '6.00 GiB')
    """
    if size is None:
        return DASH
    return f"{significant(size / 2**30)} GiB" if size >= 2**30 else f"{significant(size / 2**20)} MiB"


def significant(value, digits=3):
    """A number with three significant digits and no exponent where one can do without.

    Examples
    --------
    >>> significant(0.012345), significant(31030658.0), significant(150.43), significant(0)
    ('0.0123', '31030658', '150', '0')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if abs(value) < 1e-4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(digits - 1 - math.floor(math.log10(abs(value))), 0)}f}"


def measure_text(name, value):
    """A measure by the unit at the end of its name.

    Examples
    --------
    >>> measure_text("train_seconds", 90), measure_text("parameters_count", 31030658)
    ('90.0 s', '31,030,658')
    """
    if value is None or isinstance(value, str):
        return value or DASH
    if "second" in name.split("_per_")[0] and "per_second" not in name:
        return duration(value)
    if name.endswith("bytes"):
        return memory(value)
    return f"{value:,}" if name.endswith("count") or isinstance(value, int) else significant(value)


def measure_title(name):
    """Heading of a measure: its name without the unit, which stands in the cells.

    Examples
    --------
    >>> measure_title("predict_seconds_per_slice"), measure_title("peak_bytes")
    ('predict per slice', 'peak')
    """
    words = [word for word in name.split("_") if word not in ("seconds", "bytes", "count")]
    return " ".join(words) or "time"


def table(head, rows):
    """A Markdown table; cells are words."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
