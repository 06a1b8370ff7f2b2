"""The tables of results/TABLES.md, each a pure function of the records and the published numbers.

A function returns Markdown, or the empty string where nothing has been measured. Records of equal
conditions but different seeds make one row each and one more for mean ± sample standard deviation.
"""

from reproduce.records import SCORES
from reproduce.report import select
from reproduce.report.select import by_protocol, by_seed, of, paired_differences, published, varying
from reproduce.report.text import (
    DASH,
    SCORE_HEADS,
    budget_text,
    duration,
    mean_cells,
    measure_text,
    measure_title,
    memory,
    score_cells,
    seeds_text,
    slices_text,
    spread_text,
    steps_text,
    table,
)

NOT_THE_PAPERS_SCORE = (
    "The paper's scores were computed by the organisers on the labels of the challenge's test volume, which were kept "
    "hidden until after the paper; here `--test` alone uses them. Ours, unless a row says otherwise, are of held-out "
    "slices of the training stack, segmented by networks that did not train on them; the column says which slices. The "
    "peak learning rate was chosen in a trial that looked at slices 24-29, held out by fold 4, so scores on those "
    "alone may be optimistic; the warm-up in trials on slices 0-23, held out by the other folds (S13). Such a score "
    "is not the hidden-test score of the paper; the two stand side by side for orientation and do not decide who is "
    "better. Rotations: one prediction (none), the mean over the eight symmetries of the square (eight), or over seven "
    "rotations by multiples of 360/7 degrees (seven). Published warping, Rand and pixel errors are those of Table 1; "
    "V_Rand and V_Info those of the later "
    "leaderboard, foreground-restricted and after border thinning, or of public re-implementations."
)
PEAK_MEMORY = "Peak memory: allocated on the device for a GPU, resident in the process for a CPU."


def table1(rows, numbers, *, brief=False):
    """Table 1: published rows and ours side by side; `brief` keeps the paper's own rows of interest."""
    ours = of(rows, "table1")
    if not ours:
        return ""
    lines = [
        published_line(group) for group in published(numbers, ("human", "unet", "sliding-window") if brief else None)
    ]
    for group in by_seed(ours):
        lines += [our_line(row, seeds_text(row), score_cells(row.scores)) for row in group]
        if len(group) > 1:
            mean = our_line(group[0], f"mean ± sd of {len(group)}", mean_cells(group))
            lines.append([f"**{cell}**" if i in (0, 4) else cell for i, cell in enumerate(mean)])
    head = ["system", "trained on", "scored on", "rotations", "seed", *SCORE_HEADS]
    head += ["training of a network", "device", "comparable with the paper's row"]
    return f"{NOT_THE_PAPERS_SCORE}\n\n{table(head, lines)}"


def published_line(group):
    """A line of `table1` from the published scores of one system."""
    name = group[0]["name"]
    places = "; ".join(dict.fromkeys(n["place"] for n in group))
    line = [group[0]["title"] + (", the paper" if name == "unet" else ""), DASH, f"test volume ({places})", DASH, DASH]
    line += score_cells({n["metric"]: n["value"] for n in group})
    if name != "unet":
        return [*line, DASH, DASH, "yes: test volume"]
    line[1], line[3] = "30 slices", "7"
    return [*line, "10 h", "NVidia Titan, 6 GB", "it is the paper's row"]


def our_line(row, seed, scores):
    """A line of `table1` from a row of ours."""
    scored, comparable = f"held-out slices {slices_text(row)}", "no: held-out slices of the training stack"
    if row.volume == "test":
        scored, comparable = f"test {slices_text(row)}, labels hidden until after the paper", "yes: test volume"
    elif len(row.slices) != 30:
        comparable += ", not all of them"
    trained = f"{row.train_slices} slices, {steps_text(row)} steps"
    line = [row.title, trained, scored, row.rotations, seed, *scores]
    return [*line, duration(row.network_seconds), row.device, comparable]


def cost(rows, numbers):
    """What the paper's experiment costs, one line for each way it was run."""
    ours = of(rows, "table1")
    if not ours:
        return ""
    value = {n["id"]: n["value"] for n in numbers}
    paper = [f"{value['training_time']} h", DASH, f"below {value['inference_time']} s", "not said"]
    lines = [["U-Net, the paper", "NVidia Titan", DASH, *paper, f"at most {value['training_memory']} GB"]]
    for row in ours:
        seconds = row.network_seconds
        times = [duration(seconds), duration(seconds / row.steps) if seconds and row.steps else DASH]
        times.append(duration(row.measures.get("predict_seconds_per_slice")))
        label = f"{row.title}, {slices_text(row)}, seed {seeds_text(row)}"
        lines.append([label, row.device, steps_text(row), *times, row.rotations, memory(row.peak_bytes)])
    head = [
        "system",
        "device",
        "steps",
        "training of a network",
        "a step",
        "inference a slice",
        "rotations",
        "peak memory",
    ]
    return f"{table(head, lines)}\n\n{PEAK_MEMORY}"


def phantom(rows, numbers):
    """The synthetic stack: what was trained beside what was not."""
    lines = [[r.title, steps_text(r), slices_text(r), *score_cells(r.scores)] for r in of(rows, "quick")]
    if not lines:
        return ""
    said = (
        "Base channels, optimiser, steps and warm-up differ from the paper; everything else is the paper's recipe. "
        "A map that never exceeds 0.9 (untrained networks) can have a warping error at or near 0 at a high threshold, "
        "because a proposal without cells merges nothing and splits almost nothing."
    )
    return f"{table(['network', 'steps', 'held-out slices', *SCORE_HEADS], lines)}\n\n{said}"


def sweep(rows, numbers):
    """Everything that was tried for learning rate, schedule and steps, failures included."""
    ours = of(rows, "sweep")
    if not ours:
        return ""
    names = [name for name in varying(ours) if name != "outcome"]
    lines = []
    for row in ours:
        values = {"steps": row.steps, **row.settings}
        cells = [DASH if values.get(name) is None else str(values[name]) for name in names]
        outcome = row.outcome or ("finished" if row.scores else DASH)
        time = duration(row.network_seconds)
        lines.append([row.name, *cells, seeds_text(row), outcome, *score_cells(row.scores), time])
    heads = ["run", *(name.replace("_", " ") for name in names), "seed", "outcome", *SCORE_HEADS, "training"]
    return table(heads, lines)


def ablations(rows, numbers):
    """Differences of each variant to the base row under equal folds and seeds."""
    base, variants = select.ablations(rows)
    if not base or not variants:
        return ""
    lines = [[f"**{base[0].title}**", len(base), *mean_cells(base)]]
    for group in variants:
        failed = sum(not r.scores for r in group)
        differences = {metric: paired_differences(group, base, metric) for metric in SCORES}
        cells = [spread_text(metric, differences[metric], signed=True) for metric in SCORES]
        runs = f"{len(group) - failed}" + (f" and {failed} that diverged" if failed else "")
        lines.append([group[0].title, runs, *cells])
    text = table(["variant", "runs", *SCORE_HEADS], lines)
    return text + (
        "\n\nFirst row: mean ± standard deviation of the unchanged recipe. Other rows: variant minus unchanged "
        "recipe, paired by folds and seed, mean ± standard deviation over the pairs. For errors, positive is worse; "
        "for V_Rand and V_Info, negative is worse."
    )


def learning_curve(rows, numbers):
    """Scores against the number of training slices."""
    groups = select.learning_curve(rows)
    lines = [[g[0].train_slices, steps_text(g[0]), len(g), *mean_cells(g)] for g in groups]
    return table(["training slices", "steps", "runs", *SCORE_HEADS], lines) if lines else ""


def benchmarks(rows, numbers):
    """Speed and memory, a table for each group of operations and each device."""
    parts = []
    for group in select.benchmarks(rows):
        measures = list(dict.fromkeys(name for r in group for name in r.measures))
        names = select.benchmark_settings(group)
        head = ["operation", *(n.replace("_", " ") for n in names), *map(measure_title, measures)]
        lines = [
            [r.title, *(str(r.settings.get(n, DASH)) for n in names)]
            + [measure_text(m, r.measures.get(m)) for m in measures]
            for r in group
        ]
        where = group[0].device
        if "official_seconds" in measures:
            where += "; official: the Java implementation, on one core of another machine"
        if "ceiling_ratio" in measures:
            where += (
                "; ceiling: the rate of the matrix product above, which the convolutions of a CPU library can exceed"
            )
        parts.append(f"### {group[0].settings.get('group', 'other')}\n\n{where}\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def systems(rows, numbers):
    """Every system, score beside cost; a table for each protocol."""
    head = ["system", "steps", "seeds", *SCORE_HEADS, "parameters", "GFLOP a slice", "training of a network"]
    head += ["inference a slice", "peak memory"]
    parts = []
    for groups in by_protocol(rows):
        lines, said = [], []
        for group in groups:
            first, measures = group[0], group[0].measures
            parameters = measure_text("parameters_count", measures.get("parameters_count"))
            work = measure_text("gflop", measures.get("gflop_per_slice"))
            times = duration(first.network_seconds), duration(measures.get("predict_seconds_per_slice"))
            seeds = seeds_text(first) if first.averaged else len(group)
            line = [first.title, steps_text(first), seeds, *mean_cells(group), parameters, work, *times]
            lines.append([*line, memory(first.peak_bytes)])
            if "speed_ratio" in measures:
                said.append(dense_text(measures))
        first = groups[0][0]
        failed = [r for r in of(rows, "systems") if r.outcome and r.protocol == first.protocol]
        said += [f"{r.title}, seed {seeds_text(r)}: {r.outcome}." for r in failed]
        heading = (
            f"{budget_text(first).capitalize()}, on {first.train_slices} slices, {first.device}; scored on held-out "
            f"slices {slices_text(first)}, rotations {first.rotations}:"
        )
        parts += [heading, table(head, lines), *dict.fromkeys(said)]
    if parts:
        parts.append(
            "GFLOP: one prediction of a 512 x 512 slice with the mirrored context that each system is given here; the "
            "padded networks get 128 px a side, without which they would do 2.25 times less. Inference: all "
            f"predictions that the rotations ask for. {PEAK_MEMORY} The U-Net's learning rate and warm-up, which the "
            "added skips share, were chosen on this data, for trainings of thousands of steps (S13); "
            "the sliding window's rate, and the class of the Keras U-Net's Dice loss, are choices of this "
            "project; otherwise the systems keep the networks, losses, optimisers and rates of their authors, who "
            "chose them for other data, batches and lengths of training. All but the sliding window train with the "
            "U-Net's augmentation and a batch of one tile. In a given time, schedules of the learning rate are "
            "compressed to it; those of U2-Net and the Keras U-Net are constant."
        )
    return "\n\n".join(parts)


def dense_text(measures):
    """What the dense form of the sliding window saves: measured beside the arithmetic."""
    patchwise, dense = (duration(measures[f"{form}_seconds_per_slice"]) for form in ("patchwise", "dense"))
    return (
        f"Sliding window, one slice in float32: {patchwise} window by window (timed on some of the windows, scaled to "
        f"all), {dense} in the dense form used here, which gives the same output within 1e-5: "
        f"{measures['speed_ratio']:.0f} times faster, the arithmetic says {measures['arithmetic_ratio']:.0f}."
    )
