"""Rows with plausible values, for the tests of the report."""

from reproduce.records import PROVENANCE, Record
from reproduce.report.select import as_row

CPU, GPU = "Some CPU, 2 cores", "Some GPU"


def made_record(experiment="table1", name="unet", v_rand=0.97, device=GPU, measures=None, details=None, **conditions):
    """A record with plausible values."""
    scores = {"warping_error": 0.0004, "rand_error": 0.05, "pixel_error": 0.06, "v_rand": v_rand, "v_info": 0.98}
    common = {"title": name, "folds": ["fold4"], "slices": list(range(24, 30)), "volume": "train", "train_slices": 24}
    common |= {"seeds": [0], "rotations": "eight", "steps": 3000}
    provenance = dict.fromkeys(PROVENANCE) | {"device": device, "peak_bytes": 2**32, "config": {}}
    measured = experiment == "benchmark"
    return Record(
        experiment,
        name,
        conditions if measured else common | conditions,
        {} if measured or v_rand is None else scores,
        measures or {},
        None,
        provenance,
        details or {},
    )


def made(*given, **named):
    """The row of a record with plausible values."""
    return as_row(made_record(*given, **named))


def ablation(name, *v_rand, experiment="ablations", **conditions):
    """A row of a variant for each seed."""
    named = {"variant": name, "recipe": name} | conditions
    return [made(experiment, name, value, seeds=[seed], **named) for seed, value in enumerate(v_rand)]
