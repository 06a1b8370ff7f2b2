"""Verify: score every stored map of held-out slices again and compare with its record."""

from pathlib import Path

from reproduce import records
from reproduce.report.select import as_row


def run(arguments):
    """Run the command; returns 1 if a map does not have the recorded scores."""
    from reproduce.data import load_data
    from reproduce.experiment.scoring import score_map  # torch, only now

    data, out = load_data(arguments.data), Path(arguments.out)
    newest = {r.prediction: r for r in records.read(out / "records.jsonl") if r.prediction and r.scores}
    differing = 0
    for name, record in newest.items():
        row, labels = as_row(record), record.provenance["data"].get("train-labels")
        if row.volume != "train" or not (out / name).exists() or labels != data.sha256["train-labels"]:
            continue
        scores, _ = score_map(out / name, data.labels[list(row.slices)])
        same = scores == record.scores
        differing += not same
        print(f"{'equal  ' if same else 'DIFFERS'} {name}")
    return 1 if differing else 0
