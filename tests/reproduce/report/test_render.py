"""Rendering: the committed texts are fresh, every printed command is legal, and every section has its notes."""

import argparse
import importlib
import re
import shlex

import pytest
from made_rows import made

from reproduce.records import RESULTS, ROOT
from reproduce.report import render
from reproduce.report.claims import CLAIMS
from reproduce.report.select import read_numbers
from reproduce.report.text import anchor
from unet_paper.errors import InputError

README = ROOT / "README.md"
MODULES = {"reproduce": "reproduce.__main__", "unet_paper": "unet_paper.__main__"}


def printed_commands(text):
    """Commands of this project in the code of a Markdown text."""
    code = re.findall(r"```[^\n]*\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text)
    pieces = [piece.strip() for block in code for piece in re.split(r"&&|;|\n", block)]
    pieces = [re.sub(r"^unet-paper ", "python -m unet_paper ", piece) for piece in pieces]
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


def test_without_records_only_the_claims_are_rendered(tmp_path):
    text = render.tables_text([], read_numbers(), tmp_path)
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Claims of the paper"]


def test_a_synthetic_stack_says_nothing_of_the_claims(tmp_path):
    text = render.tables_text([made("quick")], read_numbers(), tmp_path)
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Synthetic stack"]


def test_every_section_has_notes_under_its_heading():
    headings = [line[3:] for line in render.NOTES.read_text(encoding="utf-8").splitlines() if line.startswith("## ")]
    assert [heading for heading, _, _ in render.SECTIONS if heading not in headings] == []
    links = re.findall(r"\(NOTES.md#([^)]+)\)", (RESULTS / "TABLES.md").read_text(encoding="utf-8"))
    assert links
    assert set(links) <= set(map(anchor, headings))


def test_notes_are_found_from_another_folder(tmp_path):
    (notes,) = re.findall(r"\[notes\]\(([^)]+)\)", render.tables_text([], read_numbers(), tmp_path))
    assert (tmp_path / notes).resolve() == render.NOTES


def test_a_figure_stands_in_its_section_where_there_is_one(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "montage.png").touch()
    text = render.tables_text([made()], read_numbers(), tmp_path)
    assert re.findall(r"!\[(.*)\]\((.*)\)", text) == [(render.SECTIONS[1][0], "figures/montage.png")]
    assert text.index("montage") < text.index("## Cost")


def test_a_relative_folder_is_the_same_folder(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert render.rendered("results") == render.rendered(RESULTS)


def test_the_readme_is_rendered_for_the_projects_own_records_alone(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin --><!-- results:end --> and <!-- claims:begin --><!-- claims:end -->")
    text = render.rendered(RESULTS, readme)[readme]
    assert text.index("| U-Net, the paper |") < text.index(" and ") < text.index("| the paper claims |")
    assert list(render.rendered(tmp_path, readme)) == [tmp_path / "TABLES.md"]


def test_only_marked_blocks_change():
    text = "# Title\n<!-- results:begin -->old<!-- results:end -->\nend\n"
    filled = render.fill(text, {"results": "new"})
    assert filled == "# Title\n<!-- results:begin -->\n\nnew\n\n<!-- results:end -->\nend\n"
    assert render.fill(filled, {"results": "new"}) == filled


@pytest.mark.parametrize(
    "text", ["<!-- results:begin -->", "<!-- results:end --><!-- results:begin -->", "<!-- no:begin --><!-- no:end -->"]
)
def test_broken_marks_are_an_error(text):
    with pytest.raises(InputError, match=r"the text (has|must have)"):
        render.fill(text, {"results": "new"})


def test_check_fails_on_a_stale_text_and_writes_nothing(tmp_path, capsys):
    arguments = argparse.Namespace(out=tmp_path, check=True)
    assert render.run(arguments) == 1
    assert "stale" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    render.render(tmp_path)
    assert render.run(arguments) == 0
