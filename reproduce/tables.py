"""The tables of results/TABLES.md, each a pure function of the records and the published numbers.

A function returns Markdown, or the empty string where nothing has been measured. Records of equal
conditions but different seeds make one row each and one more for mean ± sample standard deviation.
"""

from reproduce.records import SCORES
from reproduce.rows import (
    BASE,
    DASH,
    TITLES,
    duration,
    grouped,
    key,
    measure_text,
    measure_title,
    memory,
    of,
    paired_differences,
    score_text,
    settings,
    spread_text,
    table,
    title,
    varying,
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
SCORE_HEADS = [TITLES[metric] for metric in SCORES]


def score_cells(scores):
    """The five cells of a row of scores."""
    return [score_text(metric, scores.get(metric)) for metric in SCORES]


def mean_cells(records):
    """The five cells of mean ± standard deviation over records."""
    return [spread_text(metric, [r.scores[metric] for r in records if metric in r.scores]) for metric in SCORES]


def by_seed(records):
    """Groups of records that differ in their seed alone, averaged maps apart; in a given time, steps differ too."""

    def alike(record):
        without = ["seeds", "steps"] if "seconds" in record.conditions else ["seeds"]
        return key(record, without), averaged(record), device(record)

    return grouped(records, alike)


def device(record):
    """Where a record was measured."""
    return record.provenance.get("device", DASH)


def seeds_text(record):
    """The seed of a row, or the seeds whose maps were averaged."""
    seeds = ", ".join(map(str, record.conditions.get("seeds", [])))
    return f"{seeds} (maps averaged)" if averaged(record) else seeds or DASH


def network_seconds(record):
    """Training time of one network of a record that may hold one for each fold and each averaged seed."""
    seconds, what = record.measures.get("train_seconds"), record.conditions
    networks = len(what.get("folds") or [0]) * len(what.get("seeds") or [0])
    return None if seconds is None else seconds / networks


def averaged(record):
    """Whether a record scores the mean of the maps of several seeds."""
    return len(record.conditions.get("seeds", [])) > 1


def on_test_labels(record):
    """Whether a record was scored against labels of the challenge's test volume."""
    return str(record.conditions.get("slices", "")).startswith("test")


def table1(records, numbers, *, brief=False):
    """Table 1: published rows and ours side by side; `brief` keeps the paper's own rows of interest."""
    ours = of(records, "table1")
    if not ours:
        return ""
    rows = [
        published_row(group) for group in published(numbers, ("human", "unet", "sliding-window") if brief else None)
    ]
    for group in by_seed(ours):
        first = group[0]
        rows += [our_row(record, seeds_text(record), score_cells(record.scores)) for record in group]
        if len(group) > 1:
            mean = our_row(first, f"mean ± sd of {len(group)}", mean_cells(group))
            rows.append([f"**{cell}**" if i in (0, 4) else cell for i, cell in enumerate(mean)])
    head = ["system", "trained on", "scored on", "rotations", "seed", *SCORE_HEADS]
    head += ["training of a network", "device", "comparable with the paper's row"]
    return f"{NOT_THE_PAPERS_SCORE}\n\n{table(head, rows)}"


def published(numbers, names=None):
    """Published numbers that are scores of a system, grouped by system."""
    scores = [n for n in numbers if n["metric"] in SCORES and (names is None or n["name"] in names)]
    return grouped(scores, lambda n: n["name"])


def published_row(group):
    """A row of `table1` from the published scores of one system."""
    name = group[0]["name"]
    places = "; ".join(dict.fromkeys(n["place"] for n in group))
    row = [group[0]["title"] + (", the paper" if name == "unet" else ""), DASH, f"test volume ({places})", DASH, DASH]
    row += score_cells({n["metric"]: n["value"] for n in group})
    if name != "unet":
        return [*row, DASH, DASH, "yes: test volume"]
    row[1], row[3] = "30 slices", "7"
    return [*row, "10 h", "NVidia Titan, 6 GB", "it is the paper's row"]


def our_row(record, seed, scores):
    """A row of `table1` from a record of ours."""
    what = record.conditions
    steps = f", {what['steps']:,} steps" if "steps" in what else ""
    if on_test_labels(record):
        scored, comparable = f"{what['slices']}, labels hidden until after the paper", "yes: test volume"
    else:
        scored, comparable = f"held-out slices {what.get('slices', DASH)}", "no: held-out slices of the training stack"
        if what.get("slices") != "0-29":
            comparable += ", not all of them"
    trained = f"{what.get('train_slices', DASH)} slices{steps}"
    row = [title(record), trained, scored, what.get("rotations", DASH), seed, *scores]
    return [*row, duration(network_seconds(record)), device(record), comparable]


def cost(records, numbers):
    """What the paper's experiment costs, one row for each way it was run."""
    ours = of(records, "table1")
    if not ours:
        return ""
    value = {n["id"]: n["value"] for n in numbers}
    paper = [f"{value['training_time']} h", DASH, f"below {value['inference_time']} s", "not said"]
    rows = [["U-Net, the paper", "NVidia Titan", DASH, *paper, f"at most {value['training_memory']} GB"]]
    for record in ours:
        seconds, steps = network_seconds(record), record.conditions.get("steps")
        times = [duration(seconds), duration(seconds / steps) if seconds and steps else DASH]
        times.append(duration(record.measures.get("predict_seconds_per_slice")))
        label = f"{title(record)}, {record.conditions.get('slices')}, seed {seeds_text(record)}"
        memory_text = memory(record.provenance.get("peak_bytes"))
        steps_text = f"{steps:,}" if steps else DASH
        rows.append([label, device(record), steps_text, *times, record.conditions.get("rotations", DASH), memory_text])
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
    return f"{table(head, rows)}\n\n{PEAK_MEMORY}"


def phantom(records, numbers):
    """The synthetic stack: what was trained beside what was not."""
    rows = []
    for record in of(records, "quick"):
        recipe = record.provenance["config"]["recipe"]
        how = recipe["network"]["base_channels"], recipe["training"]["optimizer"], recipe["training"]["steps"]
        rows.append([title(record), *map(str, how), record.conditions["slices"], *score_cells(record.scores)])
    if not rows:
        return ""
    heads = ["network", "base channels", "optimiser", "steps", "held-out slices", *SCORE_HEADS]
    said = (
        "Base channels, optimiser, steps and warm-up differ from the paper; everything else is the paper's recipe. "
        "A map that never exceeds 0.9 (untrained networks) can have a warping error at or near 0 at a high threshold, "
        "because a proposal without cells merges nothing and splits almost nothing."
    )
    return f"{table(heads, rows)}\n\n{said}"


def sweep(records, numbers):
    """Everything that was tried for learning rate, schedule and steps, failures included."""
    ours = of(records, "sweep")
    if not ours:
        return ""
    names = [name for name in varying(ours) if name != "outcome"]
    rows = []
    for record in ours:
        flat = settings(record)
        cells = [DASH if flat.get(name) is None else str(flat[name]) for name in names]
        outcome = flat.get("outcome") or ("finished" if record.scores else DASH)
        time = duration(network_seconds(record))
        rows.append([record.name, *cells, seeds_text(record), outcome, *score_cells(record.scores), time])
    heads = ["run", *(name.replace("_", " ") for name in names), "seed", "outcome", *SCORE_HEADS, "training"]
    return table(heads, rows)


def ablation_groups(records):
    """The base records of the ablations, and a list of records for each variant, failed runs among them."""
    ours = of(records, "ablations")
    return [r for r in ours if r.name == BASE], grouped([r for r in ours if r.name != BASE], lambda r: r.name)


def ablations(records, numbers):
    """Differences of each variant to the base row under equal folds and seeds."""
    base, variants = ablation_groups(records)
    if not base or not variants:
        return ""
    rows = [[f"**{title(base[0])}**", len(base), *mean_cells(base)]]
    for group in variants:
        failed = sum(not r.scores for r in group)
        differences = {metric: paired_differences(group, base, metric) for metric in SCORES}
        cells = [spread_text(metric, differences[metric], signed=True) for metric in SCORES]
        runs = f"{len(group) - failed}" + (f" and {failed} that diverged" if failed else "")
        rows.append([title(group[0]), runs, *cells])
    text = table(["variant", "runs", *SCORE_HEADS], rows)
    return text + (
        "\n\nFirst row: mean ± standard deviation of the unchanged recipe. Other rows: variant minus unchanged "
        "recipe, paired by folds and seed, mean ± standard deviation over the pairs. For errors, positive is worse; "
        "for V_Rand and V_Info, negative is worse."
    )


def learning_curve_groups(records):
    """Records of the learning curve by number of training slices, the least first."""
    ours = sorted((r for r in of(records, "learning-curve") if r.scores), key=lambda r: r.conditions["train_slices"])
    return grouped(ours, lambda r: (r.conditions["train_slices"], r.conditions.get("steps"), device(r)))


def learning_curve(records, numbers):
    """Scores against the number of training slices."""
    rows = []
    for group in learning_curve_groups(records):
        what = group[0].conditions
        rows.append([what["train_slices"], what.get("steps", DASH), len(group), *mean_cells(group)])
    return table(["training slices", "steps", "runs", *SCORE_HEADS], rows) if rows else ""


def benchmark_groups(records):
    """Benchmark records by the ``group`` of their conditions and the device."""
    return grouped(of(records, "benchmark"), lambda r: (r.conditions.get("group", "other"), device(r)))


def benchmarks(records, numbers):
    """Speed and memory, a table for each group of operations and each device."""
    parts = []
    for group in benchmark_groups(records):
        measures = list(dict.fromkeys(name for r in group for name in r.measures))
        names = [
            n for n in dict.fromkeys(n for r in group for n in r.conditions) if n not in ("group", "title", "seeds")
        ]
        head = ["operation", *(n.replace("_", " ") for n in names), *map(measure_title, measures)]
        rows = [
            [title(r), *(str(r.conditions.get(n, DASH)) for n in names)]
            + [measure_text(m, r.measures.get(m)) for m in measures]
            for r in group
        ]
        where = device(group[0])
        if "official_seconds" in measures:
            where += "; official: the Java implementation, on one core of another machine"
        if "ceiling_ratio" in measures:
            where += (
                "; ceiling: the rate of the matrix product above, which the convolutions of a CPU library can exceed"
            )
        parts.append(f"### {group[0].conditions.get('group', 'other')}\n\n{where}\n\n{table(head, rows)}")
    return "\n\n".join(parts)
