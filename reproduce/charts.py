"""Charts of the records: training curves, ablations, learning curve, accuracy against cost, speed.

A chart is drawn only where there is something to show.
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter

from reproduce.figures.style import COLOURS, new_figure, plain, save_figure
from reproduce.rows import duration, paired_differences, spread, title
from reproduce.systems_table import budget_of, budget_text, by_protocol
from reproduce.tables import (
    ablation_groups,
    averaged,
    benchmark_groups,
    device,
    learning_curve_groups,
    network_seconds,
)

MOST_CURVES = 6  # more would hide each other
SMOOTHING = 50  # the moving average of a curve spans this fraction of it: one in ...
MAIN_RUN = "unet-fold"


def draw_charts(records, out):
    """Draw every chart that has data below ``out/figures``; returns the paths."""
    out = Path(out)
    drawn = {
        "training_curve": training_curve(sorted((out / "curves").glob("*.csv"))),
        "ablations": ablations(records),
        "learning_curve": learning_curve(records),
        "systems": systems(records),
        "speed": speed(records),
    }
    return [save_figure(figure, out / "figures" / f"{name}.png") for name, figure in drawn.items() if figure]


def training_curve(paths):
    """Loss and learning rate of trainings against the step; the U-Net's where there are several."""
    paths = ([p for p in paths if p.name.startswith(MAIN_RUN)] or list(paths))[:MOST_CURVES]
    if not paths:
        return None
    figure = new_figure(8, 5)
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for path, colour in zip(paths, COLOURS):
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        step, loss, rate = (np.array([float(r[k]) for r in rows]) for k in ("step", "loss", "learning_rate"))
        window = max(len(loss) // SMOOTHING, 1)
        smooth = np.convolve(loss, np.ones(window) / window, "valid")
        above.plot(step[window - 1 :], smooth, color=colour, lw=1.5, label=f"{path.stem} (mean of {window} steps)")
        if len(paths) == 1:
            above.plot(step, loss, color=colour, alpha=0.2, lw=0.5, zorder=0, label="each step")
        below.plot(step, rate, color=colour, lw=1.2)
    above.set(ylabel="weighted cross entropy", yscale="log")
    plain_log_ticks(above.yaxis, digits="234567")
    above.set_title("Training loss", loc="left", fontsize=11)
    above.legend(fontsize=8, frameon=False)
    below.set(xlabel="step (one 572 x 572 tile)", ylabel="learning rate")
    for axes in (above, below):
        plain(axes).grid(alpha=0.3)
    return figure


def ablations(records):
    """Difference in V_Rand to the unchanged recipe, with the standard deviation over pairs of runs."""
    base, variants = ablation_groups(records)
    rows = [(title(g[0]), found) for g in variants if (found := paired_differences(g, base, "v_rand"))]
    if not rows:
        return None
    rows.sort(key=lambda row: -spread(row[1]).mean)
    figure = new_figure(8, 1.2 + 0.38 * len(rows))
    axes = plain(figure.subplots())
    for y, (_, differences) in enumerate(rows):
        how = spread(differences)
        colour = COLOURS[1] if how.mean < 0 else COLOURS[2]
        axes.barh(y, how.mean, color=colour, alpha=0.55, height=0.65)
        axes.errorbar(how.mean, y, xerr=how.deviation, color="black", capsize=3, lw=1)
        axes.plot(differences, [y] * len(differences), "o", ms=3, color="black", alpha=0.6)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel("change of V_Rand")
    axes.set_title("mean ± standard deviation; dots: pairs of runs", loc="right", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure


def learning_curve(records):
    """V_Rand against the number of training slices."""
    groups = learning_curve_groups(records)
    if len({g[0].conditions["train_slices"] for g in groups}) < 2:
        return None
    figure = new_figure(6.5, 4)
    axes = plain(figure.subplots())
    sizes = [g[0].conditions["train_slices"] for g in groups]
    how = [spread(r.scores["v_rand"] for r in g) for g in groups]
    deviations = [s.deviation or 0 for s in how]
    axes.errorbar(sizes, [s.mean for s in how], yerr=deviations, fmt="o-", color=COLOURS[0], capsize=3)
    for g in groups:
        values = [r.scores["v_rand"] for r in g]
        axes.plot([g[0].conditions["train_slices"]] * len(g), values, "o", ms=3, color="black", alpha=0.5)
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(sizes)), [str(n) for n in sorted(set(sizes))], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training slices", ylabel="V_Rand of held-out slices")
    axes.grid(alpha=0.3)
    return figure


def systems(records):
    """V_Rand against what it costs, of every system; a line of panels for each protocol."""
    lists = [groups for groups in by_protocol(records) if len({g[0].name for g in groups}) > 1]
    if not lists:
        return None
    number = {name: n for n, name in enumerate(dict.fromkeys(point_name(g) for groups in lists for g in groups))}
    figure = new_figure(11, 0.8 + 3.8 * len(lists))
    handles = {}
    for line, groups in zip(figure.subplots(len(lists), 3, squeeze=False), lists):
        for axes, (label, scale, measure) in zip(line, costs(groups)):
            for g in groups:
                x, how, name = measure(g[0]), spread(r.scores["v_rand"] for r in g), point_name(g)
                marker, colour = divmod(number[name], len(COLOURS))
                style = {"fmt": "os^Dv"[marker % 5], "color": COLOURS[colour]}
                if x is not None:
                    handles[name] = axes.errorbar(x, how.mean, yerr=how.deviation, ms=8, capsize=3, **style)
            plain(axes).set(xscale=scale, xlabel=label)
            if scale == "log":
                plain_log_ticks(axes.xaxis)
            axes.grid(alpha=0.3)
            axes.sharey(line[0])
        what = groups[0][0].conditions
        line[0].set_ylabel(f"V_Rand of held-out slices {what.get('slices')}")
        words = f"{budget_text(groups[0][0])}, {device(groups[0][0])}; rotations {what.get('rotations')}"
        line[0].set_title(words, loc="left", fontsize=9)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def point_name(group):
    """What the legend calls a system."""
    return title(group[0]) + (", maps averaged" if averaged(group[0]) else "")


def costs(groups):
    """Three costs: name, scale, measure of a record. Memory stands for a training time that was the same for all."""
    training = "training of a network, minutes", "log", lambda r: (network_seconds(r) or 0) / 60 or None
    peak = "peak memory, GiB", "linear", lambda r: (r.provenance.get("peak_bytes") or 0) / 2**30 or None
    return (
        ("GFLOP a slice", "log", lambda r: r.measures.get("gflop_per_slice")),
        peak if budget_of(groups[0][0])[0] == "seconds" else training,
        ("inference a slice with its rotations, seconds", "log", lambda r: r.measures.get("predict_seconds_per_slice")),
    )


def plain_log_ticks(axis, digits="25"):
    """Label a logarithmic axis with plain numbers at 1 and where the first digit is one of `digits`."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else ""))


SPEED = ("median_seconds", "seconds")  # the measure of a benchmark that is drawn, the first that a group has


def speed(records):
    """Times of the benchmarked operations, a panel for each group and device."""
    panels = []
    for group in benchmark_groups(records):
        name = next((n for n in SPEED if any(n in r.measures for r in group)), None)
        rows = [(operation(r, group), r.measures[name]) for r in group if r.measures.get(name)]
        if len(rows) > 1:
            panels.append((group[0], name, rows))
    if not panels:
        return None
    heights = [len(rows) + 1.6 for _, _, rows in panels]
    figure = new_figure(9, 0.34 * sum(heights))
    for axes, (first, name, rows) in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels
    ):
        values = [value for _, value in rows]
        bars = plain(axes).barh(range(len(rows)), values, color=COLOURS[0], alpha=0.65, height=0.7)
        axes.bar_label(bars, [duration(value) for value in values], padding=4, fontsize=8)
        axes.set_yticks(range(len(rows)), [text for text, _ in rows], fontsize=8)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 4)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(
            f"{first.conditions.get('group', 'other')}: {name.replace('_', ' ')}, {device(first)}",
            loc="left",
            fontsize=9,
        )
    return figure


def operation(record, group):
    """A row's heading with the conditions that differ within its group."""
    names = [n for n in dict.fromkeys(n for r in group for n in r.conditions) if n not in ("group", "title", "seeds")]
    varied = [n for n in names if len({str(r.conditions.get(n)) for r in group}) > 1 and n in record.conditions]
    return ", ".join([title(record), *(f"{n.replace('_', ' ')} {record.conditions[n]}" for n in varied)])
