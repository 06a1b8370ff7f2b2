"""Charts of the records: training curves, ablations, learning curve, accuracy against cost, speed.

A chart is drawn only where there is something to show.
"""

import csv
from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter

from reproduce.figures.style import COLOURS, new_figure, plain, save_figure
from reproduce.report import select
from reproduce.report.select import by_protocol, paired_differences, scores, spread
from reproduce.report.text import budget_text, duration, slices_text

MOST_CURVES = 6  # more would hide each other
SMOOTHING = 50  # the moving average of a curve spans this fraction of it: one in ...
MAIN_RUN = "unet-fold"


def draw_charts(rows, out):
    """Draw every chart that has data below ``out/figures``; returns the paths."""
    out = Path(out)
    drawn = {
        "training_curve": training_curve(sorted((out / "curves").glob("*.csv"))),
        "ablations": ablations(rows),
        "learning_curve": learning_curve(rows),
        "systems": systems(rows),
        "speed": speed(rows),
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


def ablations(rows):
    """Difference in V_Rand to the unchanged recipe, with the standard deviation over pairs of runs."""
    base, variants = select.ablations(rows)
    bars = [(g[0].title, found) for g in variants if (found := paired_differences(g, base, "v_rand"))]
    if not bars:
        return None
    bars.sort(key=lambda bar: -spread(bar[1]).mean)
    figure = new_figure(8, 1.2 + 0.38 * len(bars))
    axes = plain(figure.subplots())
    for y, (_, differences) in enumerate(bars):
        mean, deviation, _ = spread(differences)
        axes.barh(y, mean, color=COLOURS[1] if mean < 0 else COLOURS[2], alpha=0.55, height=0.65)
        axes.errorbar(mean, y, xerr=deviation, color="black", capsize=3, lw=1)
        axes.plot(differences, [y] * len(differences), "o", ms=3, color="black", alpha=0.6)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xlabel("change of V_Rand")
    axes.set_title("mean ± standard deviation; dots: pairs of runs", loc="right", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure


def learning_curve(rows):
    """V_Rand against the number of training slices."""
    groups = select.learning_curve(rows)
    sizes = [g[0].train_slices for g in groups]
    if len(set(sizes)) < 2:
        return None
    figure = new_figure(6.5, 4)
    axes = plain(figure.subplots())
    points = [spread(scores(g, "v_rand")) for g in groups]
    deviations = [p.deviation or 0 for p in points]
    axes.errorbar(sizes, [p.mean for p in points], yerr=deviations, fmt="o-", color=COLOURS[0], capsize=3)
    for size, g in zip(sizes, groups):
        values = scores(g, "v_rand")
        axes.plot([size] * len(values), values, "o", ms=3, color="black", alpha=0.5)
    axes.set_xscale("log")
    axes.set_xticks(sorted(set(sizes)), [str(n) for n in sorted(set(sizes))], minor=False)
    axes.set_xticks([], minor=True)
    axes.set(xlabel="training slices", ylabel="V_Rand of held-out slices")
    axes.grid(alpha=0.3)
    return figure


def systems(rows):
    """V_Rand against what it costs, of every system; a line of panels for each protocol."""
    lists = [groups for groups in by_protocol(rows) if len({g[0].name for g in groups}) > 1]
    if not lists:
        return None
    number = {name: n for n, name in enumerate(dict.fromkeys(point_name(g) for groups in lists for g in groups))}
    figure = new_figure(11, 0.8 + 3.8 * len(lists))
    handles = {}
    for line, groups in zip(figure.subplots(len(lists), 3, squeeze=False), lists):
        for axes, (label, scale, measure) in zip(line, costs(groups)):
            for g in groups:
                x, point, name = measure(g[0]), spread(scores(g, "v_rand")), point_name(g)
                marker, colour = divmod(number[name], len(COLOURS))
                style = {"fmt": "os^Dv"[marker % 5], "color": COLOURS[colour]}
                if x is not None:
                    handles[name] = axes.errorbar(x, point.mean, yerr=point.deviation, ms=8, capsize=3, **style)
            plain(axes).set(xscale=scale, xlabel=label)
            if scale == "log":
                plain_log_ticks(axes.xaxis)
            axes.grid(alpha=0.3)
            axes.sharey(line[0])
        first = groups[0][0]
        line[0].set_ylabel(f"V_Rand of held-out slices {slices_text(first)}")
        title = f"{budget_text(first)}, {first.device}; rotations {first.rotations}"
        line[0].set_title(title, loc="left", fontsize=9)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def point_name(group):
    """What the legend calls a system."""
    return group[0].title + (", maps averaged" if group[0].averaged else "")


def costs(groups):
    """Three costs: name, scale, measure of a row. Memory stands for a training time that was the same for all."""
    training = "training of a network, minutes", "log", lambda r: (r.network_seconds or 0) / 60 or None
    peak = "peak memory, GiB", "linear", lambda r: (r.peak_bytes or 0) / 2**30 or None
    return (
        ("GFLOP a slice", "log", lambda r: r.measures.get("gflop_per_slice")),
        peak if groups[0][0].budget[0] == "seconds" else training,
        ("inference a slice with its rotations, seconds", "log", lambda r: r.measures.get("predict_seconds_per_slice")),
    )


def plain_log_ticks(axis, digits="25"):
    """Label a logarithmic axis with plain numbers at 1 and where the first digit is one of `digits`."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else ""))


SPEED = ("median_seconds", "seconds")  # the measure of a benchmark that is drawn, the first that a group has


def speed(rows):
    """Times of the benchmarked operations, a panel for each group and device."""
    panels = []
    for group in select.benchmarks(rows):
        name = next((n for n in SPEED if any(n in r.measures for r in group)), None)
        bars = [(operation(r, group), r.measures[name]) for r in group if r.measures.get(name)]
        if len(bars) > 1:
            panels.append((group[0], name, bars))
    if not panels:
        return None
    heights = [len(bars) + 1.6 for _, _, bars in panels]
    figure = new_figure(9, 0.34 * sum(heights))
    for axes, (first, name, bars) in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], panels
    ):
        values = [value for _, value in bars]
        drawn = plain(axes).barh(range(len(bars)), values, color=COLOURS[0], alpha=0.65, height=0.7)
        axes.bar_label(drawn, [duration(value) for value in values], padding=4, fontsize=8)
        axes.set_yticks(range(len(bars)), [text for text, _ in bars], fontsize=8)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 3, max(values) * 4)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(
            f"{first.settings.get('group', 'other')}: {name.replace('_', ' ')}, {first.device}",
            loc="left",
            fontsize=9,
        )
    return figure


def operation(row, group):
    """A row's heading with the conditions that differ within its group."""
    names = [n for n in select.benchmark_settings(group) if n in row.settings]
    varied = [n for n in names if len({str(r.settings.get(n)) for r in group}) > 1]
    return ", ".join([row.title, *(f"{n.replace('_', ' ')} {row.settings[n]}" for n in varied)])
