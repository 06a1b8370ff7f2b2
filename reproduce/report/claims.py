"""What the paper claims, where, the command that checks it, and the verdict by the records.

A claim is decided in one of three ways: it is proved by a test; a number stands beside the paper's; or the 95 %
confidence interval of the mean of paired differences to a base excludes zero. It stays "measured" where a record
cannot decide it: held-out slices of the training stack are not the test volume, and a processor is not a "recent GPU".
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from scipy import stats

from reproduce.report import select, text
from reproduce.report.select import Row, differences, spread, values
from unet_paper.errors import InputError

HELD, PARTLY, NOT_HELD, MEASURED, OPEN = "held", "held in part", "did not hold", "measured", "not yet measured"
NEAR = 0.005  # V_Rand: a training that is further behind the paper's shows neither its cost nor a rival's rank


class Status(NamedTuple):
    """The verdict on a claim, and the evidence in a few words."""

    verdict: str = OPEN
    evidence: str = text.DASH


class Claim(NamedTuple):
    """What is claimed, its place in the paper, the command that checks it, and ``status(rows, numbers)``.

    Numbers are the values of ``results/paper.json`` by their id.
    """

    text: str
    place: str
    command: str
    status: Callable[[list[Row], dict], Status]


def proved(test: str, evidence: str, verdict: str = HELD) -> Callable:
    """Decide a claim about the method by a test."""
    return lambda rows, numbers: Status(verdict, f"{evidence} (`{test}`)")


def beside_the_paper(holds: bool, decides: bool, evidence: str) -> Status:
    """Decide by a number beside the paper's, which decides under the paper's conditions only."""
    return Status((HELD if holds else NOT_HELD) if decides else MEASURED, evidence)


def by_differences(gains: list[tuple[str, list[float]]], evidence: str) -> Status:
    """Decide by paired differences to a base: with 95 % confidence all metrics must be better, or all worse."""
    votes = set()
    for metric, found in gains:
        mean, deviation, count = spread(found)
        better = (mean < 0) if metric.endswith(("error", "pixels")) else (mean > 0)
        half = math.inf if count < 2 else stats.t.ppf(0.975, count - 1) * deviation / math.sqrt(count)
        votes.add(better if abs(mean) > half else None)
    return Status({(True,): HELD, (False,): NOT_HELD}.get(tuple(votes), MEASURED), evidence)


def score(metric: str) -> Callable:
    """The U-Net's best-documented score beside the paper's; the whole test volume decides."""

    def status(rows, numbers):
        group = select.network(rows, "unet")
        if not group:
            return Status()
        ours, paper = values(group, metric), numbers[f"table1/unet/{metric}"]
        evidence = f"{text.mean(metric, ours)}, {_protocol(group[0])}, rotations {group[0].rotations}"
        decides = group[0].volume == "test" and "rows" not in group[0].settings
        return beside_the_paper(spread(ours).mean <= paper, decides, evidence)

    return status


def training_cost(rows: list[Row], numbers: dict) -> Status:
    """Time and memory of the U-Net's best-documented training beside 10 hours and 6 GB.

    A GPU decides, by a training that comes near the paper's V_Rand or costs more than it may.
    """
    group = [row for row in select.network(rows, "unet") if row.network_seconds and row.peak_bytes]
    if not group:
        return Status()
    first, seconds, peak, v_rand = group[0], select.seconds(group), select.peak(group), values(group, "v_rand")
    fits = seconds <= 3600 * numbers["training_time"] and peak <= 1e9 * numbers["training_memory"]
    near = bool(v_rand) and _is_near(v_rand, numbers)
    scored = f"V_Rand {text.mean('v_rand', v_rand)} after {text.steps(first.steps)} steps, {_protocol(first)}"
    evidence = f"{text.duration(seconds)}, {text.memory(peak)} on {first.device}; {scored}"
    return beside_the_paper(fits, first.device_kind == "cuda" and (near or not fits), evidence)


def inference_time(rows: list[Row], numbers: dict) -> Status:
    """Time of a 512 x 512 slice beside the paper's second; a GPU decides."""
    fastest = select.fastest_slice(rows)
    if fastest is None:
        return Status()
    seconds, row = fastest
    rotations = f", rotations {row.rotations}" if row.rotations else ""
    evidence = f"{text.duration(seconds)} on {row.device}{rotations}"
    return beside_the_paper(seconds < numbers["inference_time"], row.device_kind == "cuda", evidence)


def adds(variant: str, *metrics: str) -> Callable:
    """What a part of the recipe adds: the unchanged one minus the `variant` without it, by pairs of fold and seed.

    It is told for the fewest and the most training slices; the first metric on the fewest decides.
    """

    def status(rows, numbers):
        paired = select.against(rows, "learning-curve", variant) or select.against(rows, "ablations", variant)
        points = []
        for size in select.by_size(base for base, _ in paired):
            gains, evidence = _gains([pair for pair in paired if pair[0].train_slices == size], metrics)
            points.append((gains[:1], f"{evidence} on {text.training_slices(size)}"))
        if not points:
            return Status()
        evidence = "; ".join(dict.fromkeys((points[0][1], points[-1][1], text.scale(paired[0][0]))))
        return by_differences(points[0][0], evidence)

    return status


def beats_sliding_window(rows: list[Row], numbers: dict) -> Status:
    """The U-Net minus the sliding window under one protocol, by pairs of equal seeds.

    A U-Net that comes near the paper's V_Rand decides.
    """
    paired = select.rivals(rows, "unet", "sliding-window")
    if not paired:
        return Status()
    gains, evidence = _gains(paired, ("v_rand", "warping_error"))
    first = paired[0][0]
    status = by_differences(gains, f"{evidence}; {_protocol(first)}, {text.budget(first)}, {first.device}")
    near = _is_near(values([ours for ours, _ in paired], "v_rand"), numbers)
    return status if near else status._replace(verdict=MEASURED)


def _is_near(v_rand, numbers):
    return spread(v_rand).mean >= numbers["leaderboard/unet/v_rand"] - NEAR


def _protocol(row):
    """What was scored, and in which reading of the recipe."""
    return text.scored(row) + (", earlier reading" if "reading" in row.settings else "")


def _gains(paired, metrics):
    """Differences of each metric that is recorded, and what they are and lead to in words."""
    gains = [(metric, found) for metric in metrics if (found := differences(paired, metric))]
    words = [
        f"{text.TITLES[metric]} {text.mean(metric, found, signed=True)} "
        f"to {text.score(metric, spread(values([ours for ours, _ in paired], metric)).mean)}"
        for metric, found in gains
    ]
    return gains, f"{', '.join(words)} ({len(paired)} {'pair' if len(paired) == 1 else 'pairs'})"


CLAIMS = (
    Claim(
        "23 convolutional layers with the sizes of the drawing, 572 to 388",
        "section 2, Figure 1",
        "figure1",
        proved("tests/reproduce/figures/test_figure1.py", "every size as measured, 23 layers, 31,030,658 parameters"),
    ),
    Claim(
        "seamless segmentation of any size by overlap-tile, mirrored at the border",
        "section 1, Figure 2",
        "figure2",
        proved(
            "tests/unet_paper/test_overlap_tile.py",
            "tiles equal one pass at strides that are multiples of 16 px, so not if they abut at 388 px",
            PARTLY,
        ),
    ),
    Claim(
        "a weight map, computed from each ground truth, that stresses the borders between cells",
        "section 3, Equation 2",
        "figure3",
        proved("tests/unet_paper/test_weight_map.py", "the map equals its definition"),
    ),
    Claim("warping error 0.000353, the best of the challenge", "Table 1", "table1", score("warping_error")),
    Claim("Rand error 0.0382, better than the sliding window", "Table 1", "table1", score("rand_error")),
    Claim("pixel error 0.0611, better than the sliding window", "Table 1", "table1", score("pixel_error")),
    Claim("trained in 10 hours on an NVidia Titan (6 GB)", "section 5", "table1", training_cost),
    Claim("segments a 512 x 512 image in less than a second", "abstract", "benchmark --inference", inference_time),
    Claim(
        "learns from very few annotated images, by augmentation",
        "abstract, section 3.1",
        "ablations --learning-curve 1 3 6 24",
        adds("shifts-only", "v_rand"),
    ),
    Claim(
        "elastic deformation is the key to learning from few images",
        "section 3.1",
        "ablations --learning-curve 1 3 6 24",
        adds("no-elastic", "v_rand"),
    ),
    Claim("dropout augments further, implicitly", "section 3.1", "ablations", adds("no-dropout", "v_rand")),
    Claim(
        "the border weight separates touching cells",
        "section 3, Equation 2",
        "ablations",
        adds("no-border-weight", "v_rand_precision", "v_rand", "merge_pixels"),
    ),
    Claim("outperforms the sliding-window network", "abstract, Table 1", "systems", beats_sliding_window),
)


def decided(rows: list[Row], numbers: list[dict]) -> list[tuple[Claim, Status]]:
    """Every claim with its status; data other than the challenge's decides none."""
    rows = list(filter(select.is_challenge, rows))
    by_id = {number["id"]: number["value"] for number in numbers}
    return [(claim, claim.status(rows, by_id)) for claim in CLAIMS]


def claims(rows: list[Row], numbers: list[dict]) -> str:
    """Every claim with its place, verdict and evidence, as Markdown."""
    lines = [[f"{c.text} ({c.place})", f"**{s.verdict}**", s.evidence] for c, s in decided(rows, numbers)]
    return text.table(["the paper claims", "verdict", "evidence"], lines)


def run(arguments) -> None:
    """Print every claim."""
    path = arguments.out / "records.jsonl"
    if not path.exists():
        raise InputError(f"{path} does not exist; --out must be a folder of records")
    rows = select.read(path)
    for number, (claim, status) in enumerate(decided(rows, select.read_numbers()), 1):
        print(f"{number:2}. {claim.text} ({claim.place})\n    {status.verdict}: {status.evidence}")
        print(f"    python -m reproduce {claim.command}")
