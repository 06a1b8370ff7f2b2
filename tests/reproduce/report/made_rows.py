"""Rows with plausible values, for the tests of the report."""

from reproduce.records import PROVENANCE, Record
from reproduce.report.select import as_row

CPU, GPU = "Some CPU, 2 cores", "Some GPU"


def made(experiment="table1", name="unet", v_rand=0.97, device=GPU, measures=None, details=None, **conditions):
    """A row with plausible values."""
    scores = {"warping_error": 0.0004, "rand_error": 0.05, "pixel_error": 0.06, "v_rand": v_rand, "v_info": 0.98}
    common = {"title": name, "folds": ["fold4"], "slices": list(range(24, 30)), "volume": "train", "train_slices": 24}
    common |= {"seeds": [0], "rotations": "eight", "steps": 3000}
    provenance = dict.fromkeys(PROVENANCE) | {"device": device, "peak_bytes": 2**32, "config": {}}
    scored = experiment != "benchmark" and v_rand is not None
    return as_row(
        Record(
            experiment,
            name,
            conditions if experiment == "benchmark" else common | conditions,
            scores if scored else {},
            measures or {},
            None,
            provenance,
        )
    )
