"""Charts: drawn only where there is something to show, a curve or point for each thing that is compared."""

import numpy as np
import pytest
from made_rows import CPU, ablation, made

from reproduce.figures.style import COLOURS
from reproduce.report import charts
from reproduce.report.select import BASE


def curve(name, v_rand, size, **conditions):
    return ablation(name, v_rand - 0.01, v_rand + 0.01, experiment="learning-curve", train_slices=size, **conditions)


def test_the_learning_curve_has_a_curve_with_error_bars_for_each_variant():
    rows = [r for n, v in ((24, 0.9), (1, 0.7)) for r in (*curve(BASE, v, n), *curve("no-elastic", v - 0.1, n))]
    (axes,) = charts.learning_curve([*rows, *curve("shifts-only", 0.5, 1)]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [BASE, "no-elastic", "shifts-only"]
    drawn = [container.lines[0].get_ydata().tolist() for container in axes.containers]
    assert drawn == [pytest.approx(values) for values in ([0.7, 0.9], [0.6, 0.8], [0.5])]
    (bars,) = axes.containers[0].lines[2]
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    assert lengths == pytest.approx([2 * 0.01 * 2**0.5] * 2)


def test_more_curves_than_colours_are_all_drawn():
    names = [f"variant {number}" for number in range(len(COLOURS) + 2)]
    (axes,) = charts.learning_curve([r for name in (BASE, *names) for n in (1, 24) for r in curve(name, 0.9, n)]).axes
    assert len(axes.get_legend().get_texts()) == len(names) + 1


def test_settings_have_panels_of_their_own():
    rows = [r for width in (16, 64) for n in (1, 3) for r in curve(BASE, 0.8, n, base_channels=width)]
    assert len(charts.learning_curve(rows).axes) == 2
    rows = [r for width in (16, 64) for name in (BASE, "adam") for r in ablation(name, 0.9, base_channels=width)]
    assert len(charts.ablations(rows).axes) == 2


def test_ablations_are_drawn_as_differences_the_least_harmful_at_the_bottom():
    rows = [*ablation(BASE, 0.9, 0.9), *ablation("no-elastic", 0.8, 0.8), *ablation("adam", 0.85, 0.95)]
    (axes,) = charts.ablations(rows).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["adam", "no-elastic"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.0, -0.1])


def test_methods_stand_beside_their_cost_a_line_of_panels_for_each_protocol():
    timed = [made("systems", name, device=CPU, budget={"seconds": 720.0}) for name in ("unet", "fcn")]
    rows = [*timed, made(), made("systems", "fcn")]
    labels = [axes.get_xlabel() for axes in charts.methods(rows).axes]
    assert len(labels) == 6
    assert {labels[1], labels[4]} == {"training of a network, minutes", "peak memory, GiB"}


def test_charts_are_drawn_only_where_there_are_data(tmp_path):
    assert charts.draw_charts([], tmp_path) == []
    (tmp_path / "curves").mkdir()
    lines = ["step,loss,learning_rate,seconds", *(f"{i},{1 / i},0.001,{i}" for i in range(1, 101))]
    (tmp_path / "curves" / "unet-fold0-seed0.csv").write_text("\n".join(lines), encoding="utf-8")
    rows = [*ablation(BASE, 0.97), *ablation("no-elastic", 0.96), *curve(BASE, 0.9, 1), *curve(BASE, 0.9, 24)]
    rows += [made("systems", name, measures={"gflop_per_slice": 400.0}) for name in ("fcn", "unet")]
    drawn = charts.draw_charts(rows, tmp_path)
    assert [path.stem for path in drawn] == ["training_curve", "ablations", "learning_curve", "methods"]
    assert all(1000 < path.stat().st_size < 600_000 for path in drawn)


def test_curves_of_the_u_net_go_before_others(tmp_path):
    names = ["unet-fold4-seed0", "unet-0a1b2c3d-fold4-seed1", "unet-720s-fold4-seed0", "fcn-0a1b2c3d-fold4-seed0"]
    for name in names:
        (tmp_path / f"{name}.csv").write_text("step,loss,learning_rate,seconds\n1,0.5,0.1,1\n2,0.4,0.1,2\n")
    above, _ = charts.training_curve(sorted(tmp_path.glob("*.csv"))).axes
    assert [text.get_text().split(" ")[0] for text in above.get_legend().get_texts()] == sorted(names[:2])


def test_curves_that_find_no_room_are_counted(tmp_path):
    for seed in range(7):
        (tmp_path / f"unet-fold4-seed{seed}.csv").write_text("step,loss,learning_rate,seconds\n1,0.5,0.1,1\n")
    above, _ = charts.training_curve(sorted(tmp_path.glob("*.csv"))).axes
    assert len(above.get_legend().get_texts()) == 6
    assert above.get_title("left") == "Training loss, 6 of 7 trainings"
