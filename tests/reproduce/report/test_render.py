"""Rendering: the committed texts are fresh, every printed command is legal, and a table tells the truth."""

import argparse
import importlib
import re
import shlex

import pytest
from made_rows import CPU, GPU, made

from reproduce.records import RESULTS, ROOT
from reproduce.report import charts, render, tables
from reproduce.report.claims import CLAIMS
from reproduce.report.select import BASE, read_numbers
from unet_paper.errors import InputError

README = ROOT / "README.md"
MODULES = {"reproduce": "reproduce.__main__", "unet_paper": "unet_paper.__main__"}


def printed_commands(text):
    """Commands of this project in the code of a Markdown text."""
    code = re.findall(r"```[^\n]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    pieces = [piece.strip() for block in code for piece in re.split(r"&&|;|\n", block)]
    return sorted({p for p in pieces if re.match(r"python -m (reproduce|unet_paper|data_scripts)\b\S* \S", p)})


def assert_parses(command, monkeypatch):
    """The real parser of the command accepts it; nothing is run."""
    _, _, module, *argv = shlex.split(command, comments=True)
    command_main = importlib.import_module(MODULES.get(module, module)).main
    parse = argparse.ArgumentParser.parse_args

    class ParsedError(Exception):
        pass

    def only_parse(self, args=None, namespace=None):
        parse(self, args, namespace)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    try:
        command_main(argv)
    except ParsedError:
        return
    except SystemExit as stopped:
        pytest.fail(f"{command!r} does not parse: exit {stopped.code}")
    pytest.fail(f"{command!r} parsed nothing")


def test_tables_and_readme_are_fresh():
    stale = [
        path.name
        for path, text in render.rendered(RESULTS).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "python -m reproduce render"


def test_every_command_of_the_readme_parses(monkeypatch):
    if not README.exists():
        pytest.skip("there is no README beside the package")
    commands = printed_commands(README.read_text(encoding="utf-8"))
    assert commands
    for command in commands:
        with monkeypatch.context() as patch:
            assert_parses(command, patch)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text[:30])
def test_the_command_of_every_claim_parses(claim, monkeypatch):
    assert_parses(f"python -m reproduce {claim.command}", monkeypatch)


def test_commands_are_found_in_code_and_not_in_prose():
    text = "Run python -m reproduce a. `python -m reproduce list`\n```sh\npip x && python -m unet_paper score a b\n```"
    assert printed_commands(text) == ["python -m reproduce list", "python -m unet_paper score a b"]


def test_without_records_only_the_claims_are_rendered():
    text = render.tables_text([], read_numbers())
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Claims of the paper"]


def test_every_seed_is_listed_and_then_mean_and_deviation():
    text = tables.table1([made(v_rand=v, seeds=[s]) for s, v in enumerate((0.96, 0.97, 0.98))], read_numbers())
    for value in ("0.96000", "0.97000", "0.98000", "0.97000 ± 0.01000", "mean ± sd of 3"):
        assert value in text


def test_the_paper_stands_beside_ours_and_the_difference_of_protocol_is_said():
    text = tables.table1([made()], read_numbers())
    assert "| U-Net, the paper |" in text
    assert "0.000353 | 0.0382 | 0.0611 | 0.97276 | 0.98662" in text
    assert "not the hidden-test score of the paper" in text
    assert "no: held-out slices of the training stack, not all of them" in text
    assert "looked at slices 24-29, held out by fold 4, so scores on those alone may be optimistic" in text
    assert "labels hidden until after the paper" in tables.table1(
        [made(slices=list(range(30)), volume="test")], read_numbers()
    )


def test_a_system_that_diverged_and_averaged_maps_are_called_so():
    failed = made("systems", "fcn", None, outcome="the loss is not finite at step 3")
    averaged = made("systems", "unet", seeds=[0, 1])
    text = tables.systems([made("systems"), averaged, failed], [])
    assert "fcn, seed 0: the loss is not finite at step 3." in text
    assert "| unet | 3,000 | 1 |" in text
    assert "| unet | 3,000 | 0, 1 (maps averaged) |" in text


def test_the_synthetic_table_explains_a_warping_error_of_nothing():
    record = made("quick", "untrained")
    assert "merges nothing and splits almost nothing" in tables.phantom([record], [])


def test_the_montage_is_described_by_its_slices(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "montage.png").touch()
    text = render.results_block(
        [made(), made(slices=list(range(30)), volume="test")], read_numbers(), tmp_path, tmp_path
    )
    assert "![Predictions on held-out slices 24-29 and their errors](figures/montage.png)" in text


def test_a_relative_folder_is_the_same_folder(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert render.rendered("results") == render.rendered(RESULTS)


def test_maps_of_averaged_seeds_are_a_row_of_their_own():
    records = [made(seeds=[0]), made(seeds=[1]), made(seeds=[0, 1], v_rand=0.99)]
    text = tables.table1(records, read_numbers())
    assert "0, 1 (maps averaged)" in text
    assert "mean ± sd of 2" in text


def test_ablations_are_paired_by_fold_and_seed():
    base = [made("ablations", BASE, 0.970, seeds=[0]), made("ablations", BASE, 0.950, seeds=[1])]
    variant = [made("ablations", "no-elastic", 0.960, seeds=[0]), made("ablations", "no-elastic", 0.944, seeds=[1])]
    assert "-0.00800 ± 0.00283" in tables.ablations([*base, *variant], [])


def test_runs_that_diverged_are_told():
    failed = made("sweep", "fast", None, learning_rate=1e-2, outcome="the loss is not finite at step 9")
    text = tables.sweep([made("sweep", "slow", learning_rate=1e-3), failed], [])
    assert "the loss is not finite at step 9" in text
    assert "| learning rate |" in text
    base, diverged = made("ablations", BASE), made("ablations", "no-elastic", None, outcome="no")
    assert "0 and 1 that diverged" in tables.ablations([base, diverged], [])


def test_the_systems_table_borrows_the_u_net_of_table_1():
    text = tables.systems([made("systems", "fcn", measures={"gflop_per_slice": 400.0}), made()], [])
    said, _, head, _, *lines = text.splitlines()
    budget = "Trained for 3,000 steps each (sliding window: small ones of the same arithmetic), on 24 slices"
    assert said == f"{budget}, Some GPU; scored on held-out slices 24-29, rotations eight:"
    assert head.startswith("| system |")
    assert [line.split(" | ")[0] for line in lines[:-2]] == ["| unet", "| fcn"]
    assert "chosen on this data" in lines[-1]
    text = tables.systems([made("systems", "fcn", v_rand=0.98), made()], [])
    assert text.index("| fcn |") < text.index("| unet |")  # the best V_Rand first


@pytest.mark.parametrize("other", [{"steps": 100}, {"slices": [0, 1, 2]}, {"rotations": "none"}, {"device": CPU}])
def test_the_u_net_of_another_protocol_is_not_borrowed(other):
    text = tables.systems([made(), made("systems", "fcn", **other)], [])
    assert "| unet |" not in text
    assert "| fcn |" in text


def test_systems_of_another_budget_or_device_have_a_table_of_their_own():
    timed = [made("systems", name, device=CPU, budget={"seconds": 720.0}, title=name) for name in ("unet", "fcn")]
    speeds = {"patchwise_seconds_per_slice": 400.0, "dense_seconds_per_slice": 0.8, "speed_ratio": 500.0}
    measures = speeds | {"arithmetic_ratio": 475.3}
    sliding = made("systems", "sliding-window", measures=measures, steps=29028, budget={"steps": 3000})
    records = [*timed, made(), sliding]  # the timed U-Net does not keep that of Table 1 from the other table
    text = tables.systems(records, [])
    assert text.count("| system |") == 2
    second, first = text.split("Trained for 12.0 min")
    assert first.startswith(" each, on 24 slices, Some CPU, 2 cores; scored on held-out slices 24-29, rotations eight")
    assert "| unet | 3,000 | 1 |" in second
    assert "| unet | 3,000 | 1 |" in first
    assert "500 times faster, the arithmetic says 475." in second
    assert "times faster" not in first
    assert len(charts.systems(records).axes) == 6
    labels = [axes.get_xlabel() for axes in charts.systems(records).axes]
    assert labels[1] == "training of a network, minutes"
    assert labels[4] == "peak memory, GiB"


def test_benchmarks_have_a_table_for_each_group_and_device():
    records = [
        made("benchmark", "eager", None, GPU, {"step_seconds": 0.04, "peak_bytes": 2**30}, group="training step"),
        made("benchmark", "eager", None, CPU, {"step_seconds": 4.0}, group="training step"),
    ]
    text = tables.benchmarks(records, [])
    assert text.count("### training step") == 2
    assert "40.0 ms" in text
    assert "1.00 GiB" in text


def test_only_marked_blocks_change():
    text = "# Title\n<!-- results:begin -->old<!-- results:end -->\nend\n"
    filled = render.fill(text, {"results": "new"})
    assert filled == "# Title\n<!-- results:begin -->\n\nnew\n\n<!-- results:end -->\nend\n"
    assert render.fill(filled, {"results": "new"}) == filled


@pytest.mark.parametrize(
    "text", ["<!-- results:begin -->", "<!-- results:end --><!-- results:begin -->", "<!-- no:begin --><!-- no:end -->"]
)
def test_broken_marks_are_an_error(text):
    with pytest.raises(InputError, match="README"):
        render.fill(text, {"results": "new"})


def test_check_fails_on_a_stale_text_and_writes_nothing(tmp_path, capsys):
    arguments = argparse.Namespace(out=tmp_path, check=True)
    assert render.run(arguments) == 1
    assert "stale" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    render.render(tmp_path)
    assert render.run(arguments) == 0


def test_charts_are_drawn_only_where_there_are_data(tmp_path):
    assert charts.draw_charts([], tmp_path) == []
    (tmp_path / "curves").mkdir()
    lines = ["step,loss,learning_rate,seconds", *(f"{i},{1 / i},0.001,{i}" for i in range(1, 101))]
    (tmp_path / "curves" / "unet-fold0-seed0.csv").write_text("\n".join(lines), encoding="utf-8")
    records = [
        made("ablations", BASE, 0.97),
        made("ablations", "no-elastic", 0.96),
        *(made("learning-curve", BASE, 0.9 + n / 1000, train_slices=n) for n in (1, 24)),
        *(made("systems", name, measures={"gflop_per_slice": 400.0}) for name in ("fcn", "unet")),
        *(made("benchmark", name, None, measures={"median_seconds": 0.04}, group="step") for name in ("a", "b")),
    ]
    drawn = charts.draw_charts(records, tmp_path)
    assert [p.stem for p in drawn] == ["training_curve", "ablations", "learning_curve", "systems", "speed"]
    assert all(1000 < path.stat().st_size < 600_000 for path in drawn)
