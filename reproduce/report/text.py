"""How numbers, slices, seeds and settings are written, and Markdown tables."""

import math
import re
from collections.abc import Iterable

from reproduce.records import SCORES
from reproduce.report.select import Row, spread, values
from unet_paper.commands import common

DECIMALS = {"warping_error": 6, "rand_error": 4, "pixel_error": 4, "v_rand": 5, "v_info": 5}  # those of the paper
DECIMALS |= {"v_rand_precision": 5, "v_rand_recall": 5, "merge_pixels": 0, "split_pixels": 0}
TITLES = common.SCORES | {
    "v_rand_precision": "V_Rand precision",
    "v_rand_recall": "V_Rand recall",
    "merge_pixels": "merge pixels",
    "split_pixels": "split pixels",
}
OPTIMIZERS = {"sgd": "momentum", "adam": "Adam"}
DASH = "–"
PAPER_CHANNELS = Row("", "", "").base_channels


def score(metric: str, value: float | None, *, signed: bool = False) -> str:
    """A score with the decimals of the paper.

    Examples
    --------
    >>> score("warping_error", 5e-6), score("v_rand", -0.001, signed=True), score("v_rand", None)
    ('0.000005', '-0.00100', '–')
    """
    return DASH if value is None else f"{value:{'+' if signed else ''},.{DECIMALS[metric]}f}"


def threshold(value: float | None) -> str:
    """A threshold of a map, without the noise of its binary form.

    Examples
    --------
    >>> threshold(0.1 + 0.2), threshold(None)
    ('0.3', '–')
    """
    return DASH if value is None else f"{value:g}"


def mean(metric: str, numbers: list[float], *, signed: bool = False) -> str:
    """Mean ± standard deviation with the decimals of the paper.

    Examples
    --------
    >>> mean("rand_error", [0.01, 0.03]), mean("v_rand", [0.9]), mean("v_rand", [])
    ('0.0200 ± 0.0141', '0.90000', '–')
    """
    if not numbers:
        return DASH
    middle, deviation, _ = spread(numbers)
    return score(metric, middle, signed=signed) + (f" ± {score(metric, deviation)}" if len(numbers) > 1 else "")


def means(rows: list[Row], metrics: Iterable[str] = SCORES) -> list[str]:
    """Cells of mean ± standard deviation over rows."""
    return [mean(metric, values(rows, metric)) for metric in metrics]


def duration(seconds: float | None) -> str:
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


def memory(size: float | None) -> str:
    """Bytes as MiB or GiB.

    Examples
    --------
    >>> memory(2**20), memory(6 * 2**30)
    ('1.00 MiB', '6.00 GiB')
    """
    if size is None:
        return DASH
    return f"{significant(size / 2**30)} GiB" if size >= 2**30 else f"{significant(size / 2**20)} MiB"


def significant(value: float, digits: int = 3) -> str:
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


def measure_text(name: str, value: float | str | None) -> str:
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


def measure_title(name: str) -> str:
    """Heading of a measure: its name without the unit, which stands in the cells.

    Examples
    --------
    >>> measure_title("predict_seconds_per_slice"), measure_title("peak_bytes")
    ('predict per slice', 'peak')
    """
    words = [word for word in name.split("_") if word not in ("seconds", "bytes", "count")]
    return " ".join(words) or "time"


def condition(name: str, value: object = "") -> str:
    """A condition by its name."""
    return f"{name.replace('_', ' ')} {value}".rstrip()


def slices(numbers: Iterable[int]) -> str:
    """Slices as runs.

    Examples
    --------
    >>> slices((0, 1, 6, 24, 25, 26))
    '0-1, 6, 24-26'
    """
    starts = [z for z in numbers if z - 1 not in numbers]
    ends = [z for z in numbers if z + 1 not in numbers]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, ends)) or DASH


def scored(row: Row) -> str:
    """What a row was scored on.

    Examples
    --------
    >>> scored(Row("table1", "unet", "U-Net", slices=(24, 25)))
    'held-out slices 24-25'
    """
    other = f" of data {row.settings['data']}" if "data" in row.settings else ""
    if row.volume != "train":
        part = row.settings.get("rows")
        return "test volume" + other + (f", image rows {part[0]}-{part[-1]}" if part else "")
    return f"held-out slices {slices(row.slices)}{other}"


def training_slices(number: int | None) -> str:
    """How many slices a network was trained on.

    Examples
    --------
    >>> training_slices(1), training_slices(24)
    ('1 training slice', '24 training slices')
    """
    return f"{DASH if number is None else number} training slice{'' if number == 1 else 's'}"


def seeds(row: Row) -> str:
    """The seed of a row, or the seeds whose maps were averaged."""
    return (", ".join(map(str, row.seeds)) or DASH) + (" (maps averaged)" if row.averaged else "")


def steps(number: int | None) -> str:
    """A number of steps, with thousands set apart."""
    return DASH if number is None else f"{number:,}"


def budget(row: Row) -> str:
    """What bounded a training."""
    unit, amount = row.budget
    return f"{duration(amount)} of training" if unit == "seconds" else f"{steps(amount)} steps"


def protocol(row: Row) -> str:
    """What bounded the trainings of a comparison of methods, and how wide the U-Net is if it is not the paper's."""
    return budget(row) if row.base_channels == PAPER_CHANNELS else f"{row.base_channels} base channels, {budget(row)}"


def scale(row: Row) -> str:
    """How wide a network is, with which optimiser if one is stated, and for how long it was trained.

    Examples
    --------
    >>> scale(Row("ablations", "base", "", budget=("steps", 2400), base_channels=16, settings={"optimizer": "adam"}))
    '16 base channels, Adam, 2,400 steps'
    """
    optimizer = OPTIMIZERS.get(row.settings.get("optimizer"))
    return ", ".join(filter(None, [f"{row.base_channels} base channels", optimizer, budget(row)]))


def setting(row: Row) -> str:
    """What is equal in a comparison of variants.

    Examples
    --------
    >>> setting(Row("ablations", "base", "", rotations="none", budget=("steps", 2400), base_channels=16))
    '16 base channels, 2,400 steps, rotations none'
    """
    told = [condition(name, value) for name, value in row.settings.items() if name not in ("recipe", "optimizer")]
    return ", ".join([scale(row), *told, *rotations(row)])


def rotations(row: Row) -> list[str]:
    """The rotations that were averaged; nothing of a training that failed."""
    return [f"rotations {row.rotations}"] if row.rotations else []


def anchor(heading: str) -> str:
    """The fragment by which a heading of a Markdown file is linked to, on GitHub."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def table(head: list[str], lines: list[list]) -> str:
    """A Markdown table; cells that are None or lacking are dashes.

    Examples
    --------
    >>> print(table(["a", "b"], [[1]]))
    | a | b |
    |---|---|
    | 1 | – |
    """
    full = [[*line, *[None] * (len(head) - len(line))] for line in lines]
    rows = [[DASH if cell is None else str(cell).replace("|", "/") for cell in line] for line in [head, *full]]
    first, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([first, "|" + "---|" * len(head), *rest])
