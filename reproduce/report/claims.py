"""What the paper claims, where, the command that checks it, and whether it held, by the records.

A claim about the method is proved by a test. A claim about scores, time or memory is decided by the
newest records, and left open where a record cannot decide it: held-out slices of the training stack
are not the test volume, and a processor is not the "recent GPU" of the abstract.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from reproduce.report.select import (
    ablations,
    by_seed,
    learning_curve,
    of,
    paired_differences,
    read,
    read_numbers,
    scores,
    spread,
)
from reproduce.report.text import (
    DASH,
    TITLES,
    budget_text,
    duration,
    memory,
    score_text,
    slices_text,
    spread_text,
    table,
)

HELD, NOT_HELD, MEASURED, OPEN = "held", "did not hold", "measured", "not yet measured"


class Status(NamedTuple):
    """Whether a claim held, and the evidence in a few words."""

    state: str
    evidence: str


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes
    ----------
    text, place : str
        What is claimed, and where in the paper.
    command : str
        What checks it, without ``python -m reproduce``.
    status : callable
        ``status(rows, numbers)``, numbers by the id of ``results/paper.json``, returns a `Status`.
    """

    text: str
    place: str
    command: str
    status: Callable


def proved(test, evidence, state=HELD):
    """The status of a claim about the method that a test proves."""
    return lambda rows, numbers: Status(state, f"{evidence} (`{test}`)")


def score_of_table1(metric):
    """Decide a number of Table 1 by the U-Net's best-covered record."""

    def status(rows, numbers):
        ours = [r for r in of(rows, "table1") if r.name == "unet" and metric in r.scores]
        paper = numbers[f"table1/unet/{metric}"]["value"]
        if not ours:
            return Status(OPEN, DASH)
        tested = [r for r in ours if r.volume == "test"]
        most = max(len(r.slices) for r in ours)
        groups = by_seed([r for r in tested or ours if tested or len(r.slices) == most])
        newest_first = reversed(groups)  # max keeps the first of equals
        group = max(newest_first, key=lambda g: (g[0].rotations == "eight", len(g)))
        value = spread(scores(group, metric)).mean
        text = f"{spread_text(metric, scores(group, metric))} (rotations {group[0].rotations})"
        if tested:
            verdict = HELD if value <= paper else NOT_HELD
            return Status(verdict, f"{text} on the test volume, the paper {score_text(metric, paper)}")
        return Status(MEASURED, f"{text} on {most} held-out slices of the training stack, not the test volume")

    return status


NEAR = 0.005  # V_Rand, as `compare` calls two runs equal


def training_cost(rows, numbers):
    """Time and memory of one training against 10 hours and 6 GB; averaged maps are no training of their own.

    Only a GPU decides, and a short training only if its V_Rand comes near the paper's.
    """
    ours = [r for r in of(rows, "table1") if r.name == "unet" and r.network_seconds and not r.averaged]
    if not ours:
        return Status(OPEN, DASH)
    best = max(ours, key=lambda r: (r.device_kind == "cuda", r.rotations == "eight", r.scores.get("v_rand", 0)))
    on_gpu = best.device_kind == "cuda"
    fits = best.network_seconds <= 3600 * numbers["training_time"]["value"]
    if on_gpu:
        fits = fits and best.peak_bytes <= 1e9 * numbers["training_memory"]["value"]
    scored = f"V_Rand {score_text('v_rand', best.scores.get('v_rand'))} after {best.steps:,} steps"
    paper = numbers["leaderboard/unet/v_rand"]["value"]
    text = f"{duration(best.network_seconds)}, {memory(best.peak_bytes)} on {best.device}; {scored}"
    if best.scores.get("v_rand", 0) < paper - NEAR and (fits or not on_gpu):
        return Status(MEASURED, f"{text}, short of the paper's {paper}")
    return Status((HELD if fits else NOT_HELD) if on_gpu else MEASURED, text)


def inference_time(rows, numbers):
    """Time of a 512 x 512 slice without averaging; only a GPU decides."""
    times = {}
    for r in rows:
        if r.experiment == "table1" and r.name == "unet" and r.rotations == "none":
            seconds, source = r.measures.get("predict_seconds_per_slice"), "mean of the slices of Table 1"
        elif r.experiment == "benchmark" and r.settings.get("group") == "inference" and r.settings.get("batch") == 1:
            seconds, source = r.measures.get("latency_seconds"), "the fastest form of the benchmark"
        else:
            continue
        if seconds is not None:
            times.setdefault(r.device_kind == "cuda", []).append((seconds, r.device, source))
    if not times:
        return Status(OPEN, DASH)
    seconds, where, source = min(times[max(times)])
    held = HELD if seconds < numbers["inference_time"]["value"] else NOT_HELD
    return Status(held if max(times) else MEASURED, f"{duration(seconds)} on {where} ({source})")


def few_images(rows, numbers):
    """V_Rand against the number of training slices."""
    groups = learning_curve(rows)
    if not groups:
        return Status(OPEN, DASH)
    points = [(spread(scores(g, "v_rand")).mean, g[0].train_slices) for g in groups]
    return Status(MEASURED, f"V_Rand {', '.join(f'{value:.3f} with {n}' for value, n in points)} training slices")


def matters(variant, metric="v_rand"):
    """Decide a part of the recipe by leaving it out: worse by more than its spread over pairs of runs."""

    def status(rows, numbers):
        base, groups = ablations(rows)
        ours = next((group for group in groups if group[0].name == variant), [])
        differences = paired_differences(ours, base, metric)
        if not differences:
            return Status(OPEN, DASH)
        how = spread(differences)
        text = f"without it {TITLES[metric]} changes by {spread_text(metric, differences, signed=True)}"
        if how.deviation is None:
            return Status(MEASURED, f"{text}, one run")
        text = f"{text}, {how.count} runs"
        if abs(how.mean) <= how.deviation:
            return Status(MEASURED, f"{text}: within the spread of the runs")
        return Status(HELD if how.mean < 0 else NOT_HELD, text)

    return status


def beats_sliding_window(rows, numbers):
    """Decide the comparison with the sliding window by means over the seeds that both have, under one protocol.

    One seed decides nothing.
    """
    runs = [r for r in of(rows, "table1") + of(rows, "systems") if r.scores and not r.averaged]
    ours = [r for r in runs if r.name == "unet"]
    compared = []
    for rivals in by_seed([r for r in runs if r.name == "sliding-window"]):
        pairs = [(a, b) for b in rivals for a in ours if same_protocol(a, b)]
        compared.append(list({b.seeds: (a, b) for a, b in pairs}.values()))
    compared.reverse()  # of equals the newest
    pairs = max(compared, key=lambda pairs: (len(pairs[0][1].slices), len(pairs)) if pairs else (0, 0), default=[])
    if not pairs:
        return Status(OPEN, DASH)
    means = {m: [spread(scores(side, m)).mean for side in zip(*pairs)] for m in ("warping_error", "v_rand")}
    won = (means["v_rand"][0] > means["v_rand"][1]) + (means["warping_error"][0] < means["warping_error"][1])
    text = ", ".join(f"{TITLES[m]} {score_text(m, a)} against {score_text(m, b)}" for m, (a, b) in means.items())
    ours, rival = pairs[0]
    devices = " and ".join(dict.fromkeys((ours.device, rival.device)))
    text = f"{text} on slices {slices_text(rival)}, {budget_text(ours)} on {devices}"
    if len(pairs) == 1:
        return Status(MEASURED, f"{text}, one seed")
    return Status((NOT_HELD, MEASURED, HELD)[won], f"{text}, {len(pairs)} seeds")


def same_protocol(ours, rival):
    """Whether seed, slices, rotations and budget are the same: the seconds on one device, or the steps."""
    if (ours.seeds, *ours.protocol[:-1]) != (rival.seeds, *rival.protocol[:-1]):
        return False
    return ours.budget[0] == "steps" or ours.device == rival.device


CLAIMS = (
    Claim(
        "23 convolutional layers with the sizes of the drawing, 572 to 388",
        "section 2, Figure 1",
        "figure1",
        proved("tests/test_figures.py", "measured on the network: every size, 23 layers, 31,030,658 parameters"),
    ),
    Claim(
        "seamless segmentation of any size by overlap-tile, mirrored at the border",
        "section 2, Figure 2",
        "figure2",
        proved(
            "tests/test_overlap_tile.py",
            "tiles equal one pass at strides that are multiples of 16 px",
            f"{HELD}, but not for abutting 388 px tiles",
        ),
    ),
    Claim(
        "a weight map, computed from each ground truth, that stresses the borders between cells",
        "section 3, Equation 2, Figure 3",
        "figure3",
        proved("tests/test_weight_map.py", "the map equals its definition; its effect is a claim of its own below"),
    ),
    *(
        Claim(f"{TITLES[metric]} {value}, {rank}", "section 4, Table 1", "table1", score_of_table1(metric))
        for metric, value, rank in (
            ("warping_error", "0.000353", "the best of the challenge"),
            ("rand_error", "0.0382", "better than the sliding window"),
            ("pixel_error", "0.0611", "better than the sliding window"),
        )
    ),
    Claim("trained in 10 hours on an NVidia Titan (6 GB)", "section 5", "table1", training_cost),
    Claim("segments a 512 x 512 image in less than a second", "abstract", "benchmark --inference", inference_time),
    Claim(
        "learns from very few annotated images",
        "abstract, section 3.1",
        "ablations --learning-curve 1 3 6 12 24",
        few_images,
    ),
    Claim(
        "elastic deformation is the key to learning from few images", "section 3.1", "ablations", matters("no-elastic")
    ),
    Claim("dropout augments further, implicitly", "section 3.1", "ablations", matters("no-dropout")),
    Claim("the border weight of Equation 2 separates cells", "section 3", "ablations", matters("no-border-weight")),
    Claim("outperforms the sliding-window network", "abstract, section 1, Table 1", "systems", beats_sliding_window),
)


def claims_table(rows, numbers):
    """Every claim with its place, check, state and evidence, as Markdown."""
    by_id = {number["id"]: number for number in numbers}
    lines = []
    for claim in CLAIMS:
        state, evidence = claim.status(rows, by_id)
        lines.append([claim.text, claim.place, f"`python -m reproduce {claim.command}`", f"**{state}**", evidence])
    return table(["the paper claims", "place", "check", "did it hold", "evidence"], lines) + (
        "\n\n*Measured*: there is a number, but it does not decide the claim, because it is of other slices, of "
        "another device or of too few runs."
    )


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""


def run(arguments):
    """Print every claim; returns the exit status."""
    rows = read(arguments.out / "records.jsonl")
    by_id = {number["id"]: number for number in read_numbers()}
    for number, claim in enumerate(CLAIMS, 1):
        state, evidence = claim.status(rows, by_id)
        print(f"{number:2}. {claim.text} ({claim.place})")
        print(f"    {state}" + ("" if evidence == DASH else f": {evidence}"))
        print(f"    python -m reproduce {claim.command}")
    return 0
