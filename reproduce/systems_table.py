"""The table of other systems: score beside cost, a table for each budget, slices, rotations and device."""

from reproduce.rows import DASH, duration, grouped, measure_text, memory, of, spread, table, title
from reproduce.tables import (
    PEAK_MEMORY,
    SCORE_HEADS,
    averaged,
    by_seed,
    device,
    mean_cells,
    network_seconds,
    seeds_text,
)


def system_name(record):
    """The system of a record, whatever its budget of time.

    Examples
    --------
    >>> from reproduce.records import Record
    >>> system_name(Record("systems", "fcn-300s", {"seconds": 300.0}))
    'fcn'
    """
    return record.name.removesuffix(f"-{record.conditions.get('seconds', 0):g}s")


def budget_of(record):
    """What bounded a training: ("seconds", s), or ("steps", n) in steps of the U-Net.

    Examples
    --------
    >>> from reproduce.records import Record
    >>> budget_of(Record("systems", "fcn-300s", {"seconds": 300.0, "steps": 170}))
    ('seconds', 300.0)
    >>> budget_of(Record("systems", "sliding-window", {"budget_steps": 3000, "steps": 29028}))
    ('steps', 3000)
    """
    what = record.conditions
    if "seconds" in what:
        return "seconds", what["seconds"]
    return "steps", what.get("budget_steps", what.get("steps"))


def budget_text(record):
    """The budget of a training in words.

    Examples
    --------
    >>> from reproduce.records import Record
    >>> budget_text(Record("systems", "fcn-300s", {"seconds": 300.0}))
    'trained for 5.00 min each'
    >>> budget_text(Record("table1", "unet", {"steps": 3000}))
    'trained for 3,000 steps each (sliding window: small ones of the same arithmetic)'
    """
    unit, amount = budget_of(record)
    if unit == "seconds":
        return f"trained for {duration(amount)} each"
    return f"trained for {amount or 0:,} steps each (sliding window: small ones of the same arithmetic)"


def protocol(record):
    """What is equal in all rows of one table of systems: budget, slices, rotations, device."""
    return budget_of(record), record.conditions.get("slices"), record.conditions.get("rotations"), device(record)


def by_protocol(records):
    """Groups of records of the comparison of systems that differ in the seed alone, the best V_Rand first.

    They come in a list for each `protocol`. Where one has no U-Net, that of Table 1 is taken.
    """
    ours = [r for r in of(records, "systems") if r.scores]
    wanted = {protocol(r) for r in ours} - {protocol(r) for r in ours if system_name(r) == "unet"}
    borrowed = [r for r in of(records, "table1") if r.name == "unet" and not averaged(r) and protocol(r) in wanted]
    best_first = sorted(by_seed(borrowed + ours), key=lambda group: -spread(r.scores["v_rand"] for r in group).mean)
    return grouped(best_first, lambda group: protocol(group[0]))


def systems(records, numbers):
    """Every system, score beside cost; a table for each protocol."""
    head = ["system", "steps", "seeds", *SCORE_HEADS, "parameters", "GFLOP a slice", "training of a network"]
    head += ["inference a slice", "peak memory"]
    parts = []
    for groups in by_protocol(records):
        rows, said = [], []
        for group in groups:
            first = group[0]
            what, have = first.conditions, first.measures
            parameters = measure_text("parameters_count", have.get("parameters_count"))
            work = measure_text("gflop", have.get("gflop_per_slice"))
            times = duration(network_seconds(first)), duration(have.get("predict_seconds_per_slice"))
            steps = f"{what['steps']:,}" if "steps" in what else DASH
            seeds = seeds_text(first) if averaged(first) else len(group)
            row = [title(first), steps, seeds, *mean_cells(group), parameters, work, *times]
            rows.append([*row, memory(first.provenance.get("peak_bytes"))])
            if "speed_ratio" in have:
                said.append(dense_text(have))
        first = groups[0][0]
        failed = [r for r in of(records, "systems") if "outcome" in r.conditions and protocol(r) == protocol(first)]
        said += [f"{title(r)}, seed {seeds_text(r)}: {r.conditions['outcome']}." for r in failed]
        heading = (
            f"{budget_text(first).capitalize()}, on {first.conditions.get('train_slices', DASH)} slices, "
            f"{device(first)}; scored on held-out slices {first.conditions.get('slices', DASH)}, rotations "
            f"{first.conditions.get('rotations', DASH)}:"
        )
        parts += [heading, table(head, rows), *dict.fromkeys(said)]
    if parts:
        parts.append(
            "GFLOP: one prediction of a 512 x 512 slice with the mirrored context that each system is given here; the "
            "padded networks get 128 px a side, without which they would do 2.25 times less. Inference: all "
            f"predictions that the rotations ask for. {PEAK_MEMORY} The U-Net's learning rate and warm-up, which the "
            "added skips share, were chosen on this data, for trainings of thousands of steps (S13); "
            "the sliding window's rate, and the class of the Keras U-Net's Dice loss, are choices of this "
            "project; otherwise the systems keep the networks, losses, optimisers and rates of their authors, who "
            "chose them for other data, batches and lengths of training. All but the sliding window train with the "
            "U-Net's augmentation and a batch of one tile. In a given time, schedules of the learning rate are "
            "compressed to it; those of U2-Net and the Keras U-Net are constant."
        )
    return "\n\n".join(parts)


def dense_text(measures):
    """What the dense form of the sliding window saves: measured beside the arithmetic."""
    patchwise, dense = (duration(measures[f"{form}_seconds_per_slice"]) for form in ("patchwise", "dense"))
    return (
        f"Sliding window, one slice in float32: {patchwise} window by window (timed on some of the windows, scaled to "
        f"all), {dense} in the dense form used here, which gives the same output within 1e-5: "
        f"{measures['speed_ratio']:.0f} times faster, the arithmetic says {measures['arithmetic_ratio']:.0f}."
    )
