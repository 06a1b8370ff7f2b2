"""Publish: take what was run into results/, with the maps and curves it refers to, and render the tables.

Records are appended, never changed. A map or curve that is there already with another content is replaced only
with ``--replace``; the command says which. A figure of another content, which may show more than the newest run, is
replaced with ``--replace`` alone too, and left as it is without.
"""

import filecmp
import shutil
from pathlib import Path

from reproduce import records
from unet_paper.errors import InputError
from unet_paper.files import atomic_write, make_folder

DRAWN = {
    "table1": Path("figures/montage.png"),
    "systems": Path("figures/systems_montage.png"),
    "pretrained": Path("figures/worst_slice.png"),
}


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--into", type=Path, default=records.RESULTS, help="folder to publish into (default: results)")
    parser.add_argument("--only", nargs="+", choices=records.EXPERIMENTS, metavar="EXPERIMENT", help="default: all")
    parser.add_argument("--replace", action="store_true", help="replace maps, curves and figures of the same name")


def run(arguments):
    """Run the command."""
    from reproduce.report import render, select  # matplotlib, only now

    out, into = Path(arguments.out), Path(arguments.into)
    published = records.read(into / "records.jsonl")
    new = [r for r in records.read(out / "records.jsonl") if r not in published]
    new = [r for r in new if not arguments.only or r.experiment in arguments.only]
    if not new:
        raise InputError(f"{out / 'records.jsonl'} has no record that {into / 'records.jsonl'} lacks")
    files = files_of(new, out)
    figures = sorted({DRAWN[record.experiment] for record in new if record.experiment in DRAWN})
    drawn = [name for name in figures if (out / name).exists()]
    replaced = [
        name
        for name in files + drawn
        if (into / name).exists() and not filecmp.cmp(out / name, into / name, shallow=False)
    ]
    rows = [select.as_row(record) for record in published]
    counting = select.latest(rows + [select.as_row(record) for record in new])
    if shared := [row for row in counting if row in rows and Path(row.prediction or "") in replaced]:
        about = ", ".join(sorted({f"{row.prediction} ({row.experiment})" for row in shared}))
        raise InputError(f"{into} has records of another map by the name of {about}; publish their new runs with these")
    if not arguments.replace:
        if others := [str(name) for name in replaced if name in files]:
            raise InputError(f"{into} has others by the name of {', '.join(others)}; --replace replaces them")
        for name in replaced:
            drawn.remove(name)
            print(f"left {into / name} as it is; {out / name} is another")
    for name in files + drawn:
        make_folder((into / name).parent)
        with atomic_write(into / name) as temporary:
            shutil.copyfile(out / name, temporary)
        print(f"{'replaced' if name in replaced else 'copied'} {into / name}")
    for record in new:
        records.append(record, into / "records.jsonl")
    print(f"appended {len(new)} records to {into / 'records.jsonl'}")
    render.render(into)


def files_of(new, out):
    """Maps and curves that records refer to, as paths below `out`; `InputError` if a map is missing there."""
    names = {}
    for record in new:
        if not record.prediction:
            continue
        if not (out / record.prediction).is_file():
            raise InputError(f"{out} lacks {record.prediction}, the map of a record; run the command for it again")
        told = record.conditions
        if not {"recipe", "folds", "seeds"} <= told.keys():
            raise InputError(f"the record of {record.prediction} is of an earlier form; it cannot be published again")
        label = f"{record.name}-{told['recipe']}"
        trainings = [(split, seed) for split in told["folds"] for seed in told["seeds"]]
        curves = [Path("curves") / f"{label}-{split}-seed{seed}.csv" for split, seed in trainings]
        names |= dict.fromkeys([Path(record.prediction), *(name for name in curves if (out / name).exists())])
    return list(names)
