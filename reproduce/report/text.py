"""How numbers, slices, seeds and budgets are written, and Markdown tables."""

import math

from reproduce.records import SCORES
from reproduce.report.select import scores, spread

DECIMALS = {"warping_error": 6, "rand_error": 4, "pixel_error": 4, "v_rand": 5, "v_info": 5}  # those of the paper
TITLES = {
    "warping_error": "warping error",
    "rand_error": "Rand error",
    "pixel_error": "pixel error",
    "v_rand": "V_Rand",
    "v_info": "V_Info",
}
SCORE_HEADS = [TITLES[metric] for metric in SCORES]
DASH = "–"


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


def score_cells(values):
    """The five cells of a row of scores."""
    return [score_text(metric, values.get(metric)) for metric in SCORES]


def mean_cells(rows):
    """The five cells of mean ± standard deviation over rows."""
    return [spread_text(metric, scores(rows, metric)) for metric in SCORES]


def slices_text(row):
    """The slices of a row as runs.

    Examples
    --------
    >>> from reproduce.report.select import Row
    >>> slices_text(Row("table1", "unet", "U-Net", slices=(0, 1, 24, 25, 26)))
    '0-1+24-26'
    """
    starts = [z for z in row.slices if z - 1 not in row.slices]
    ends = [z for z in row.slices if z + 1 not in row.slices]
    return "+".join(f"{start}-{end}" for start, end in zip(starts, ends)) or DASH


def seeds_text(row):
    """The seed of a row, or the seeds whose maps were averaged."""
    seeds = ", ".join(map(str, row.seeds))
    return f"{seeds} (maps averaged)" if row.averaged else seeds or DASH


def steps_text(row):
    """Steps of a training, with thousands set apart."""
    return DASH if row.steps is None else f"{row.steps:,}"


def budget_text(row):
    """The budget of a training in words.

    Examples
    --------
    >>> from reproduce.report.select import Row
    >>> budget_text(Row("systems", "fcn", "FCN", budget=("seconds", 300.0)))
    'trained for 5.00 min each'
    >>> budget_text(Row("table1", "unet", "U-Net", budget=("steps", 3000)))
    'trained for 3,000 steps each (sliding window: small ones of the same arithmetic)'
    """
    unit, amount = row.budget
    if unit == "seconds":
        return f"trained for {duration(amount)} each"
    return f"trained for {amount or 0:,} steps each (sliding window: small ones of the same arithmetic)"


def conditions_text(row):
    """Everything that tells a row from others of its name, in words.

    Examples
    --------
    >>> from reproduce.report.select import Row
    >>> conditions_text(Row("sweep", "sweep", "", slices=(3, 4), seeds=(0,), settings={"learning_rate": 0.1}))
    'train 3-4, seed 0, learning rate 0.1'
    """
    words = [f"{row.volume} {slices_text(row)}"] if row.slices else []
    words += [f"seed {seeds_text(row)}"] if row.seeds else []
    words += [f"rotations {row.rotations}"] if row.rotations else []
    words += [f"{steps_text(row)} steps"] if row.steps else []
    return ", ".join([*words, *(f"{name.replace('_', ' ')} {value}" for name, value in row.settings.items())])
