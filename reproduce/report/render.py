"""Tables and figures from the records, and from nothing else.

``results/TABLES.md``, the marked block of the README and the charts are pure functions of
``records.jsonl``, ``paper.json`` and the training curves. ``--check`` writes nothing and fails when a
text is stale.
"""

import re
import sys
from pathlib import Path

from reproduce.records import RESULTS, ROOT
from reproduce.report import tables
from reproduce.report.charts import draw_charts
from reproduce.report.claims import claims_table
from reproduce.report.select import of, read, read_numbers
from reproduce.report.text import slices_text
from unet_paper.errors import InputError
from unet_paper.files import atomic_write

README = ROOT / "README.md"
SECTIONS = (
    ("Table 1: the EM segmentation challenge", tables.table1, ("montage",)),
    ("Cost", tables.cost, ("training_curve",)),
    ("Synthetic stack", tables.phantom, ()),
    ("Learning rate, schedule and steps", tables.sweep, ()),
    ("Ablations", tables.ablations, ("ablations",)),
    ("Training slices", tables.learning_curve, ("learning_curve",)),
    ("Other systems", tables.systems, ("systems", "systems_montage")),
    ("Benchmarks", tables.benchmarks, ("speed",)),
)
IN_TABLES_ONLY = (tables.benchmarks, tables.sweep, tables.phantom)


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a rendered text is stale")


def run(arguments):
    """Render, or with ``--check`` compare; returns the exit status."""
    check = getattr(arguments, "check", False)
    texts = rendered(arguments.out)
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"stale: {path}; python -m reproduce render writes it anew", file=sys.stderr)
        return 1 if stale else 0
    render(arguments.out)
    return 0


def render(out=RESULTS):
    """Write tables and charts of the records in `out`; the README too if these are the project's own."""
    for path in draw_charts(read(Path(out) / "records.jsonl"), out):
        print(f"figure: {path}")
    for path, text in rendered(out).items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"tables: {path}")


def rendered(out=RESULTS, readme=README):
    """Every rendered text by its path."""
    out = Path(out).resolve()
    rows, numbers = read(out / "records.jsonl"), read_numbers()
    texts = {out / "TABLES.md": tables_text(rows, numbers)}
    if out == RESULTS.resolve() and readme.exists():
        block = results_block(rows, numbers, out, readme.parent)
        texts[readme] = fill(readme.read_text(encoding="utf-8"), {"results": block})
    return texts


def tables_text(rows, numbers):
    """The whole of TABLES.md."""
    parts = [
        "# Results",
        "Rendered by `python -m reproduce render` from `records.jsonl` and the published numbers of "
        "`results/paper.json`. Every record holds its command, commit, settings, data, device and versions.",
    ]
    if not rows or any(row.experiment != "quick" for row in rows):
        parts += ["## Claims of the paper", claims_table(rows, numbers)]
    for heading, make, _ in SECTIONS:
        if text := make(rows, numbers):
            parts += [f"## {heading}", text]
    return "\n\n".join(parts) + "\n"


def results_block(rows, numbers, out, home):
    """What stands between the README's marks ``results``: claims, tables and charts, in brief."""
    parts = [claims_table(rows, numbers)]
    for heading, make, figures in SECTIONS:
        if make in IN_TABLES_ONLY:
            continue
        text = make(rows, numbers, brief=True) if make is tables.table1 else make(rows, numbers)
        if not text:
            continue
        parts += [f"### {heading}", text]
        for name in figures:
            figure = out / "figures" / f"{name}.png"
            words = {"montage": montage_words(rows), "systems_montage": "A held-out slice as each system sees it"}
            if figure.exists():
                parts.append(f"![{words.get(name, heading)}]({figure.relative_to(home).as_posix()})")
    where = (out / "TABLES.md").relative_to(home).as_posix()
    parts.append(f"All rows, the sweep and the benchmarks: [{where}]({where}).")
    return "\n\n".join(parts)


def montage_words(rows):
    """What the montage shows: slices of the newest row of Table 1 that were held out.

    Examples
    --------
    >>> from reproduce.report.select import Row
    >>> montage_words([Row("table1", "unet", "U-Net", slices=(24, 25))])
    'Predictions on held-out slices 24-25 and their errors'
    """
    slices = [slices_text(r) for r in of(rows, "table1") if r.volume == "train"]
    return " ".join(["Predictions on held-out slices", *slices[-1:], "and their errors"])


def fill(text, blocks):
    """`text` with everything between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` replaced.

    Raises `InputError` for a name that is no block, and for a mark without its partner.

    Examples
    --------
    >>> fill("a <!-- x:begin -->old<!-- x:end --> b", {"x": "new"})
    'a <!-- x:begin -->\\n\\nnew\\n\\n<!-- x:end --> b'
    """
    for name in set(re.findall(r"<!-- ([\w-]+):(?:begin|end) -->", text)):
        if name not in blocks:
            raise InputError(f"the README has a block {name!r}; legal: {', '.join(sorted(blocks))}")
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise InputError(f"the README must have {begin} and, after it, {end}, once each")
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        text = f"{head}{begin}\n\n{blocks[name]}\n\n{end}{tail}"
    return text
