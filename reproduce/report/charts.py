"""Charts of the rows: training curves, ablations, learning curve, accuracy against cost.

A chart is drawn only where there is something to show.
"""

import csv
import re
from itertools import cycle
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from reproduce.figures.style import COLOURS, new_figure, plain, save_figure
from reproduce.report import select, text
from reproduce.report.select import Row, by_size, differences, pairs, spread, values

MOST_CURVES = 6  # more would hide each other
TITLE = 80  # letters of a line above a panel
SMOOTHING = 50  # the moving average of a curve spans this fraction of it: one in ...
MAIN_RUN = re.compile(r"unet-(fold|[0-9a-f]{8}-)")


def draw_charts(rows: list[Row], out: Path) -> list[Path]:
    """Draw every chart that has data below ``out/figures``; returns the paths."""
    out = Path(out)
    drawn = {
        "training_curve": training_curve(sorted((out / "curves").glob("*.csv"))),
        "ablations": ablations(rows),
        "learning_curve": learning_curve(rows),
        "methods": methods(rows),
    }
    return [save_figure(figure, out / "figures" / f"{name}.png") for name, figure in drawn.items() if figure]


def training_curve(paths: list[Path]) -> Figure | None:
    """Loss and learning rate of trainings against the step; the U-Net's where there are several."""
    every = [path for path in paths if MAIN_RUN.match(path.name)] or list(paths)
    paths = every[:MOST_CURVES]
    if not paths:
        return None
    figure = new_figure(8, 5)
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    for path, colour in zip(paths, COLOURS):
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        step, loss, rate = (np.array([float(line[k]) for line in lines]) for k in ("step", "loss", "learning_rate"))
        window = max(len(loss) // SMOOTHING, 1)
        smooth = np.convolve(loss, np.ones(window) / window, "valid")
        above.plot(step[window - 1 :], smooth, color=colour, lw=1.5, label=f"{path.stem} (mean of {window} steps)")
        if len(paths) == 1:
            above.plot(step, loss, color=colour, alpha=0.2, lw=0.5, zorder=0, label="each step")
        below.plot(step, rate, color=colour, lw=1.2)
    above.set(ylabel="weighted cross entropy", yscale="log")
    plain_log_ticks(above.yaxis, digits="234567")
    named = "Training loss" if len(every) == len(paths) else f"Training loss, {len(paths)} of {len(every)} trainings"
    above.set_title(named, loc="left", fontsize=11)
    above.legend(fontsize=8, frameon=False)
    below.set(xlabel="step", ylabel="learning rate")
    for axes in (above, below):
        plain(axes).grid(alpha=0.3)
    return figure


def ablations(rows: list[Row]) -> Figure | None:
    """Change of V_Rand by each change of the recipe, with the standard deviation over pairs; a panel a setting."""
    panels = []
    for base, variants, _ in select.comparisons(rows, "ablations"):
        bars = [(group[0].title, differences(pairs(group, base), "v_rand")) for group in variants.values()]
        bars = sorted((bar for bar in bars if bar[1]), key=lambda bar: -spread(bar[1]).mean)
        panels += [(text.setting(base[0]), bars)] if bars else []
    if not panels:
        return None
    heights = [1.2 + 0.38 * len(bars) for _, bars in panels]
    figure = new_figure(8, sum(heights))
    column = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (setting, bars) in zip(column, panels):
        for y, (_, found) in enumerate(bars):
            mean, deviation, _ = spread(found)
            axes.barh(y, mean, color=COLOURS[1] if mean < 0 else COLOURS[2], alpha=0.55, height=0.65)
            axes.errorbar(mean, y, xerr=deviation, color="black", capsize=3, lw=1)
            axes.plot(found, [y] * len(found), "o", ms=3, color="black", alpha=0.6)
        axes.set_yticks(range(len(bars)), [title for title, _ in bars])
        axes.axvline(0, color="black", lw=0.8)
        axes.set_xlabel("change of V_Rand: mean ± standard deviation; dots: pairs of runs")
        axes.set_title(fill(setting, TITLE), loc="left", fontsize=9)
        plain(axes).grid(axis="x", alpha=0.3)
    return figure


def learning_curve(rows: list[Row]) -> Figure | None:
    """V_Rand against the number of training slices, a curve for each variant of the recipe; a panel a setting."""
    panels = []
    for base, variants, _ in select.comparisons(rows, "learning-curve"):
        curves = [by_size(curve) for curve in (base, *variants.values())]
        panels += [curves] if any(len(curve) > 1 for curve in curves) else []
    if not panels:
        return None
    figure = new_figure(6.5, 4 * len(panels))
    for axes, curves in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels):
        for number, (curve, colour) in enumerate(zip((curve for curve in curves if curve), cycle(COLOURS))):
            points = [spread(values(group, "v_rand")) for group in curve.values()]
            first = next(iter(curve.values()))[0]
            x = np.array(list(curve)) * 1.03**number  # or error bars would hide each other
            deviations = [point.deviation or 0 for point in points]
            style = {"fmt": "o-", "color": colour, "capsize": 3, "label": first.title}
            axes.errorbar(x, [point.mean for point in points], yerr=deviations, **style)
        sizes = sorted(set().union(*curves))
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(xlabel="training slices", ylabel="V_Rand, mean ± standard deviation")
        axes.set_title(fill(text.setting(first), TITLE), loc="left", fontsize=9)
        axes.legend(fontsize=8, frameon=False)
        plain(axes).grid(alpha=0.3)
    return figure


def methods(rows: list[Row]) -> Figure | None:
    """V_Rand against what it costs, of every method; a line of panels for each protocol."""
    lists = [groups for groups in select.protocols(rows) if len({group[0].name for group in groups}) > 1]
    if not lists:
        return None
    names = list(dict.fromkeys(group[0].title for groups in lists for group in groups))
    figure = new_figure(11, 0.8 + 3.8 * len(lists))
    handles = {}
    for line, groups in zip(figure.subplots(len(lists), 3, squeeze=False), lists):
        for axes, (label, scale, measure) in zip(line, costs(groups)):
            for group in groups:
                x, point = measure(group), spread(values(group, "v_rand"))
                marker, colour = divmod(names.index(group[0].title), len(COLOURS))
                style = {"fmt": "os^Dv"[marker % 5], "color": COLOURS[colour]}
                if x is not None:
                    bars = axes.errorbar(x, point.mean, yerr=point.deviation, ms=8, capsize=3, **style)
                    handles[group[0].title] = bars
            plain(axes).set(xscale=scale, xlabel=label)
            if scale == "log":
                plain_log_ticks(axes.xaxis)
            axes.grid(alpha=0.3)
            axes.sharey(line[0])
        first = groups[0][0]
        line[0].set_ylabel(f"V_Rand, {text.scored(first)}")
        protocol = f"{text.protocol(first)}, {first.device}; rotations {first.rotations}"
        line[0].set_title(protocol, loc="left", fontsize=9)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def costs(groups):
    """Three costs: name, scale, measure of repeats. Memory stands for a training time that was the same for all."""
    peak = ("peak memory, GiB", "linear", lambda group: (select.peak(group) or 0) / 2**30 or None)
    training = ("training of a network, minutes", "log", lambda group: (select.seconds(group) or 0) / 60 or None)
    slices = lambda group: select.mean_of(values(group, "predict_seconds_per_slice"))  # noqa: E731
    return (
        ("GFLOP a slice", "log", lambda group: group[0].value("gflop_per_slice")),
        peak if groups[0][0].budget[0] == "seconds" else training,
        ("a slice with its rotations, seconds", "log", slices),
    )


def plain_log_ticks(axis, digits="25"):
    """Label a logarithmic axis with plain numbers at 1 and where the first digit is one of `digits`."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in digits else ""))
