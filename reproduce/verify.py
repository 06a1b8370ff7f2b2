"""Verify: score every stored map of held-out slices again and compare with its record.

With ``--append``, records from before thresholds and V_Rand of each slice were recorded get a newer one that has them.
"""

from dataclasses import replace
from pathlib import Path

from reproduce import records
from reproduce.report.select import as_row


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--append", action="store_true", help="append details that records lack")


def run(arguments):
    """Run the command; returns the exit status."""
    from reproduce.data import load_data
    from reproduce.experiment.scoring import score_map  # torch, only now
    from reproduce.experiment.training import together

    data, out = load_data(arguments.data), Path(arguments.out)
    path = out / "records.jsonl"
    newest = {record.prediction: record for record in records.read(path) if record.prediction and record.scores}
    differing = 0
    for name, record in newest.items():
        row = as_row(record)
        if row.volume != "train" or not (out / name).exists() or not is_of(record, data):
            continue
        scores, details = score_map(out / name, data.labels[list(row.slices)])
        same = scores == record.scores
        differing += not same
        print(f"{'equal  ' if same else 'DIFFERS'} {name}")
        if same and arguments.append and not record.details:
            provenance = record.provenance | {
                "command": together([record.provenance["command"], records.command_line()]),
                "commit": together([*record.provenance["commit"].split(", "), records.commit_id()]),
                "date": records.now(),
            }
            records.append(replace(record, details=details, provenance=provenance), path)
    return 1 if differing else 0


def is_of(record, data):
    """Whether a record was scored on the labels at hand."""
    return record.provenance["data"].get("train-labels") == data.sha256["train-labels"]
