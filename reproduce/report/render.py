"""Tables and figures from the records, and from nothing else.

``TABLES.md``, the marked blocks of the README and of the model card, and the charts are pure functions of
``records.jsonl``, ``paper.json`` and the training curves.
"""

import os
import re
import sys
from pathlib import Path

from reproduce.records import RESULTS, ROOT
from reproduce.report import tables
from reproduce.report.claims import claims
from reproduce.report.select import read, read_numbers
from reproduce.report.text import anchor
from unet_paper.errors import InputError
from unet_paper.files import atomic_write

README = ROOT / "README.md"
CARD = RESULTS / "MODEL_CARD.md"
NOTES = RESULTS / "NOTES.md"
SECTIONS = (
    ("Claims of the paper", claims, ()),
    ("Table 1: the EM segmentation challenge", tables.table1, ("montage",)),
    ("Cost", tables.cost, ("training_curve",)),
    ("V_Rand of each slice", tables.slices, ()),
    ("The network in the package", tables.pretrained, ("worst_slice",)),
    ("Ablations", tables.ablations, ("ablations",)),
    ("Training slices", tables.learning_curve, ("learning_curve",)),
    ("Other methods", tables.methods, ("methods", "systems_montage")),
    ("Learning rate, schedule and steps", tables.sweep, ()),
    ("Synthetic stack", tables.phantom, ()),
    ("Benchmarks", tables.benchmarks, ()),
)


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a rendered text is stale")


def run(arguments) -> int:
    """Render, or with ``--check`` compare; returns 1 if a text is stale."""
    if not arguments.check:
        render(arguments.out)
        return 0
    texts = rendered(arguments.out)
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        print(f"stale: {path}; python -m reproduce render writes it anew", file=sys.stderr)
    return 1 if stale else 0


def render(out: Path = RESULTS) -> None:
    """Write tables and charts of the records in `out`; the README too if these are the project's own."""
    from reproduce.report.charts import draw_charts  # matplotlib, only now

    for path in draw_charts(read(Path(out) / "records.jsonl"), out):
        print(f"figure: {path}")
    for path, text in rendered(out).items():
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"tables: {path}")


def rendered(out: Path = RESULTS, readme: Path = README) -> dict[Path, str]:
    """Every rendered text by its path."""
    out = Path(out).resolve()
    rows, numbers = read(out / "records.jsonl"), read_numbers()
    texts = {out / "TABLES.md": tables_text(rows, numbers, out)}
    if out == RESULTS.resolve() and readme.exists():
        blocks = {
            readme: {"results": tables.glance(rows, numbers), "claims": claims(rows, numbers)},
            CARD: {"pretrained": tables.pretrained(rows, numbers)},
        }
        texts |= {path: fill(path.read_text(encoding="utf-8"), marked) for path, marked in blocks.items()}
    return texts


def tables_text(rows, numbers, out: Path) -> str:
    """The whole of TABLES.md: a section for everything that was measured, with a link to its notes."""
    notes = Path(os.path.relpath(NOTES, out)).as_posix()
    parts = ["# Results", f"Rendered by `python -m reproduce render`. What qualifies each number: [notes]({notes})."]
    for heading, make, figures in SECTIONS:
        if make is claims and rows and all(row.experiment == "quick" for row in rows):
            continue  # of a synthetic stack
        if text := make(rows, numbers):
            parts += [f"## {heading}", f"[Notes]({notes}#{anchor(heading)})", text]
            drawn = [f"figures/{name}.png" for name in figures]
            parts += [f"![{heading}]({path})" for path in drawn if (out / path).exists()]
    return "\n\n".join(parts) + "\n"


def fill(text: str, blocks: dict[str, str]) -> str:
    """`text` with everything between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` replaced.

    Raises `InputError` for a name that is no block of that text, and for a mark without its partner.

    Examples
    --------
    >>> fill("a <!-- x:begin -->old<!-- x:end --> b", {"x": "new"})
    'a <!-- x:begin -->\\n\\nnew\\n\\n<!-- x:end --> b'
    """
    for name in set(re.findall(r"<!-- ([\w-]+):(?:begin|end) -->", text)):
        if name not in blocks:
            raise InputError(f"the text has a block {name!r}; it must be one of {', '.join(sorted(blocks))}")
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
            raise InputError(f"the text must have {begin} and, after it, {end}, once each")
        head, rest = text.split(begin)
        _, tail = rest.split(end)
        text = f"{head}{begin}\n\n{blocks[name]}\n\n{end}{tail}"
    return text
