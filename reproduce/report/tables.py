"""The tables, each a pure function of rows and published numbers that returns Markdown, or "" for nothing measured.

Rows of equal conditions but different seeds are lines of their own, or one line of mean ± sample standard deviation.
What qualifies the numbers is told in results/NOTES.md, under the same headings.
"""

from itertools import chain

from reproduce.records import SCORES
from reproduce.report import select, text
from reproduce.report.select import Row, by_seed, by_size, differences, grouped, of, pairs, values

SCORE_HEADS = [text.TITLES[metric] for metric in SCORES]
GLANCE = ("v_rand", "v_info", "pixel_error", "warping_error", "rand_error")  # columns of the README
GLANCE_LINES = 5
WHY = ("v_rand_precision", "v_rand_recall", "merge_pixels", "split_pixels")  # columns where they are recorded
WORK = ("parameters_count", "gflop_per_slice")
DENSE = ("patchwise_seconds_per_slice", "dense_seconds_per_slice", "speed_ratio", "arithmetic_ratio")
ROTATIONS = ("none", "eight", "seven")


def glance(rows: list[Row], numbers: list[dict]) -> str:
    """The README's table: the paper, the sliding window of its Table 1, and our best-documented networks."""
    published = {row.name: row for row in select.published(numbers)}
    theirs = [published["unet"], published["sliding-window"]]
    lines = [[f"{row.title}, the paper", *text.means([row], GLANCE), text.scored(row)] for row in theirs]
    hours, size = _paper(numbers, "training_time"), _paper(numbers, "training_memory")
    lines[0] += [f"{hours} h, NVidia Titan", f"at most {size} GB"]
    shipped = {_recipe(row): row.weights for row in of(rows, "pretrained")[-1:]}
    for group in select.networks(filter(select.is_challenge, rows))[: GLANCE_LINES - len(lines)]:
        first = group[0]
        about = f"{first.title}, {text.steps(first.steps)} steps, rotations {first.rotations}"
        on = text.scored(first) + (f", {len(group)} seeds" if len(group) > 1 else "")
        costs = [f"{text.duration(select.seconds(group))}, {first.device}", text.memory(select.peak(group))]
        link = shipped.get(_recipe(first))
        weights = [f"[trained on all slices]({link})"] if link else []
        lines.append([about, *text.means(group, GLANCE), on, *costs, *weights])
    head = ["network", *(text.TITLES[metric] for metric in GLANCE)]
    head += ["scored on", "training of a network", "memory", "weights"]
    return text.table(head[: max(map(len, lines))], lines)


def _recipe(row):
    return row.name, row.settings.get("recipe")


def _titles(rows):
    """A function that gives the title of a row, with the recipe's digits where another recipe has the same one."""

    def length(row):
        return row.title, row.steps if row.budget[0] == "steps" else None

    recipes = grouped(rows, length)

    def title(row):
        several = len({other.settings.get("recipe") for other in recipes[length(row)]}) > 1
        return f"{row.title}, recipe {row.settings.get('recipe', text.DASH)}" if several else row.title

    return title


def _paper(numbers, name):
    return next(number["value"] for number in numbers if number["id"] == name)


def table1(rows: list[Row], numbers: list[dict]) -> str:
    """Table 1: published scores and every one of ours."""
    ours = [row for row in of(rows, "table1") if row.scores]
    title = _titles(ours)
    lines = [
        [row.title, None, f"{text.scored(row)} ({row.settings['place']})", None, None, *text.means([row])]
        for row in select.published(numbers)
    ]
    for group in by_seed(ours):
        first = group[0]
        about = [title(first), _trained(first), text.scored(first), first.rotations]
        lines += [[*about, text.seeds(row), *text.means([row]), text.threshold(row.threshold)] for row in group]
        if len(group) > 1:
            lines.append([*about, f"**mean of {len(group)}**", *text.means(group)])
    failed = [row for row in of(rows, "table1") if row.outcome]
    lines += [[row.title, _trained(row), text.scored(row), None, text.seeds(row), row.outcome] for row in failed]
    head = ["network", "trained on", "scored on", "rotations", "seed", *SCORE_HEADS, "threshold of V_Rand"]
    return text.table(head, lines) if ours or failed else ""


def _trained(row):
    return f"{row.train_slices} slices, {text.steps(row.steps)} steps"


def cost(rows: list[Row], numbers: list[dict]) -> str:
    """What the trainings of Table 1 cost, and the prediction of a slice by its rotations."""
    ours = [row for row in of(rows, "table1") if not (row.averaged or row.outcome)]
    title = _titles(ours)
    hours, size, second = (_paper(numbers, name) for name in ("training_time", "training_memory", "inference_time"))
    paper = ["U-Net, the paper", "NVidia Titan", None, None, None, f"{hours} h", None, f"at most {size} GB"]
    lines = [[*paper, f"below {second} s"]]
    for group in grouped(ours, lambda row: (select.key(row, ("rotations", "rows")), row.device)).values():
        first, seconds = group[0], group[0].network_seconds
        step = text.duration(seconds / first.steps) if seconds and first.steps else None
        times = {row.rotations: text.duration(row.value("predict_seconds_per_slice")) for row in group}
        about = [title(first), first.device, first.train_slices, text.seeds(first), text.steps(first.steps)]
        costs = [text.duration(seconds), step, text.memory(first.peak_bytes)]
        lines.append([*about, *costs, *map(times.get, ROTATIONS)])
    head = ["network", "device", "training slices", "seed", "steps", "training of a network", "a step", "peak memory"]
    return text.table([*head, *(f"a slice, rotations {name}" for name in ROTATIONS)], lines) if ours else ""


def pretrained(rows: list[Row], numbers: list[dict]) -> str:
    """The network in the package, and its recipe's score on slices that a network of it was not trained on."""
    lines = []
    for row in of(rows, "pretrained")[-1:]:
        ours = (one for one in rows if one.volume == "train" and select.is_challenge(one))
        held_out = (one for one in ours if _recipe(one) == _recipe(row))
        group = next(iter(select.networks(held_out)), [])
        about = [row.title, row.train_slices, text.steps(row.steps)]
        size = [text.measure_text(name, row.value(name)) for name in ("parameters_count", "file_bytes")]
        scored = f"{text.scored(group[0])}, rotations {group[0].rotations}" if group else None
        lines.append([*about, *size, text.significant(row.value("largest_change"), 2), scored, *text.means(group)])
    head = ["network", "training slices", "steps", "parameters", "file, float16", "largest change by float16"]
    return text.table([*head, "the recipe scored on", *SCORE_HEADS], lines) if lines else ""


def slices(rows: list[Row], numbers: list[dict]) -> str:
    """V_Rand of each slice by the networks of Table 1."""
    volumes = grouped(select.networks(rows), lambda group: group[0].volume).values()
    return "\n\n".join(filter(None, (_slice_table(groups, lambda row: row.title) for groups in volumes)))


def _slice_table(groups, title):
    told = [group for group in groups if select.by_slice(group)]
    heads = [f"{title(group[0])}, {text.scored(group[0])}" for group in told]
    columns = [select.by_slice(group) for group in told]
    numbers = sorted(set().union(*columns))
    lines = [[z, *(text.score("v_rand", column.get(z)) for column in columns)] for z in numbers]
    lines.append(["mean", *(text.mean("v_rand", list(column.values())) for column in columns)])
    return text.table(["slice", *heads], lines) if numbers else ""


def phantom(rows: list[Row], numbers: list[dict]) -> str:
    """The synthetic stack: what was trained beside what was not."""
    ours = of(rows, "quick")
    lines = [[row.title, text.steps(row.steps), text.seeds(row), text.scored(row), *text.means([row])] for row in ours]
    return text.table(["network", "steps", "seed", "scored on", *SCORE_HEADS], lines) if ours else ""


def sweep(rows: list[Row], numbers: list[dict]) -> str:
    """Everything that was tried for learning rate, schedule and steps, failures included."""
    ours = of(rows, "sweep")
    columns, lines = select.varying(ours), []
    for row, *cells in zip(ours, *columns.values()):
        about = [text.seeds(row), text.scored(row), row.outcome or "finished"]
        lines.append([*cells, *about, *text.means([row]), text.duration(row.network_seconds), row.device])
    head = [*map(text.condition, columns), "seed", "scored on", "outcome", *SCORE_HEADS, "training", "device"]
    return text.table(head, lines) if ours else ""


def ablations(rows: list[Row], numbers: list[dict]) -> str:
    """The unchanged recipe, and what each change of it adds, by pairs of equal folds and seeds; a table a setting."""
    parts = []
    for base, variants, failed in select.comparisons(rows, "ablations"):
        if failed or (base and variants):
            metrics = [*SCORES, *(metric for metric in WHY if values(base, metric))]
            lines = [[f"**{base[0].title}**", len(base), *text.means(base, metrics)]] if base else []
            for group in variants.values():
                paired = pairs(group, base)
                changes = [text.mean(metric, differences(paired, metric), signed=True) for metric in metrics]
                lines.append([group[0].title, len(paired), *changes])
            lines += [[row.title, row.outcome] for row in failed]
            head = ["variant", "runs", *(text.TITLES[metric] for metric in metrics)]
            first = [*base, *chain(*variants.values()), *failed][0]
            parts.append(f"### {text.setting(first)}\n\n{text.table(head, lines)}")
    return "\n\n".join(parts)


def learning_curve(rows: list[Row], numbers: list[dict]) -> str:
    """Scores against the number of training slices, of each variant of the recipe; a table a setting."""
    parts = []
    for base, variants, failed in select.comparisons(rows, "learning-curve"):
        curves = [base, *variants.values()]
        every, lines = list(chain(*curves)), []
        for size in by_size(every):
            for group in filter(None, (by_size(curve).get(size) for curve in curves)):
                change = [] if group[0] in base else differences(pairs(group, base), "v_rand")
                scores = [*text.means(group), text.mean("v_rand", change, signed=True)]
                lines.append([size, group[0].title, len(group), *scores])
        lines += [[row.train_slices, row.title, None, row.outcome] for row in failed]
        head = ["training slices", "variant", "runs", *SCORE_HEADS, "change of V_Rand"]
        parts.append(f"### {text.setting((every or failed)[0])}\n\n{text.table(head, lines)}")
    return "\n\n".join(parts)


def methods(rows: list[Row], numbers: list[dict]) -> str:
    """Every method, score beside cost; a table for each protocol."""
    head = ["method", "steps", "seeds", *SCORE_HEADS, "parameters", "GFLOP a slice", "training of a network"]
    head += ["a slice", "peak memory"]
    dense = ["a slice in float32", "window by window", "dense", "ratio", "ratio of the arithmetic"]
    parts, told = [], set()
    for groups in select.protocols(rows):
        lines, first, title = [], groups[0][0], _titles(list(chain(*groups)))
        told.add(first.protocol)
        for row, group in ((group[0], group) for group in groups):
            steps = select.mean_of(one.steps for one in group)
            about = [title(row), text.steps(steps and round(steps)), len(group)]
            work = [text.measure_text(name, row.value(name)) for name in WORK]
            slice_seconds = select.mean_of(values(group, "predict_seconds_per_slice"))
            times = [text.duration(select.seconds(group)), text.duration(slice_seconds)]
            lines.append([*about, *text.means(group), *work, *times, text.memory(select.peak(group))])
        failed = [row for row in of(rows, "systems") if row.outcome and row.protocol == first.protocol]
        lines += map(_failure, failed)
        measured = [group[0] for group in groups if "speed_ratio" in group[0].measures]
        speeds = [[title(row), *(text.measure_text(name, row.value(name)) for name in DENSE)] for row in measured]
        parts += [f"### {_heading(first)}", text.table(head, lines), _slice_table(groups, title)]
        parts += [text.table(dense, speeds)] if speeds else []
    failed = [row for row in of(rows, "systems") if row.outcome and row.protocol not in told]
    for group in grouped(failed, lambda row: row.protocol).values():
        parts += [f"### {_heading(group[0])}", text.table(head, map(_failure, group))]
    return "\n\n".join(filter(None, parts))


def _heading(row):
    where = [text.scored(row), *text.rotations(row), row.device]
    return ", ".join([text.protocol(row), text.training_slices(row.train_slices), *where])


def _failure(row):
    return [row.title, row.outcome, text.seeds(row)]


def benchmarks(rows: list[Row], numbers: list[dict]) -> str:
    """Speed and memory, a table for each group of operations and each device."""
    parts = []
    for group in select.benchmarks(rows):
        names = list(dict.fromkeys(name for row in group for name in row.settings if name != "group"))
        measures = list(dict.fromkeys(name for row in group for name in row.measures))
        lines = []
        for row in group:
            measured = [text.measure_text(name, row.measures.get(name)) for name in measures]
            lines.append([row.title, *map(row.settings.get, names), *measured])
        head = ["operation", *map(text.condition, names), *map(text.measure_title, measures)]
        parts.append(f"### {group[0].settings['group']}, {group[0].device}\n\n{text.table(head, lines)}")
    return "\n\n".join(parts)
