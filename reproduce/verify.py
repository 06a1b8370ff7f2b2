"""Verify: score every stored map of held-out slices again and compare with its record.

Maps that are not stored, as NOTES.md says of some, are counted at the end.
"""

from pathlib import Path

from reproduce import records
from reproduce.report.select import as_row, place
from unet_paper.errors import InputError


def run(arguments):
    """Run the command; returns 1 if a map does not have the recorded scores."""
    from reproduce.data import load_data
    from reproduce.experiment.scoring import score_map  # torch, only now

    data, out = load_data(arguments.data), Path(arguments.out)
    known = [(r, as_row(r)) for r in records.read(out / "records.jsonl") if r.prediction and r.scores]
    newest = {place(row): (r, row) for r, row in known if row.volume == "train"}.values()
    labels = data.sha256["train-labels"]
    held_out = [(r, row) for r, row in newest if r.provenance["data"].get("train-labels") == labels]
    stored = [(r, row) for r, row in held_out if (out / r.prediction).exists()]
    if not stored:
        raise InputError(f"{out} has no stored map of held-out slices of this data; nothing can be verified")
    differing = 0
    for record, row in stored:
        scores, _ = score_map(out / record.prediction, data.labels[list(row.slices)])
        same = scores == record.scores
        differing += not same
        print(f"{'equal  ' if same else 'DIFFERS'} {record.prediction}", flush=True)
    print(f"{len(stored) - differing} equal, {differing} different, {len(held_out) - len(stored)} maps not stored")
    return 1 if differing else 0
