"""Take the network of table1 --final into the package, with its recipe's held-out score.

It was trained on every annotated slice, so its own score is not known. What comes with it is the score of the same
recipe on the slices of a fold, which ``table1 --folds`` has recorded in the same folder. The largest change of a
probability by the rounding to float16 is measured on the test volume and recorded.
"""

import hashlib
import time
from pathlib import Path

from reproduce import records
from unet_paper.errors import InputError
from unet_paper.files import atomic_write


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument(
        "--recipe", metavar="DIGITS", help="of the network, as in the names of its files (default: the newest)"
    )


def run(arguments):
    """Run the command."""
    from reproduce.data import load_data
    from reproduce.figures.montage import worst_slice_of_record
    from unet_paper.checkpoint import load_weights, save_weights  # torch, only now
    from unet_paper.trained import VOXEL_NM, WEIGHTS

    out, data = Path(arguments.out), load_data(arguments.data)
    final, held_out = chosen(records.read(out / "records.jsonl"), data.sha256, arguments.recipe)
    told = final.conditions
    training = out / "trainings" / f"{final.name}-{told['recipe']}" / f"all-seed{told['seeds'][0]}"
    model, metadata = load_weights(training / "weights.safetensors")
    print(f"figure: {worst_slice_of_record(held_out, data, out)}")
    start = time.perf_counter()
    change = largest_change(model, metadata, data.test_images, arguments.device)
    seconds = time.perf_counter() - start
    save_weights(WEIGHTS, model.half(), metadata | {"voxel_nm": VOXEL_NM, "held_out": about(held_out)})
    with atomic_write(WEIGHTS.with_suffix(".sha256")) as temporary:
        digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
        temporary.write_text(f"{digest}  {WEIGHTS.name}\n", encoding="ascii")
    print(f"wrote {WEIGHTS}; float16 changes a probability of the test volume by at most {change:.2g}")
    kept = ("title", "base_channels", "recipe", "seeds", "steps", "train_slices", "volume", "slices")
    record = records.Record(
        "pretrained",
        final.name,
        {name: told[name] for name in kept},
        measures={
            "parameters_count": sum(parameter.numel() for parameter in model.parameters()),
            "file_bytes": WEIGHTS.stat().st_size,
            "largest_change": change,
        },
        details={"weights": f"{WEIGHTS.parent.name}/{WEIGHTS.name}"},
        provenance=records.provenance(
            config=final.provenance["config"],
            seed=told["seeds"],
            data=data.sha256,
            device=arguments.device,
            wall_seconds=seconds,
        ),
    )
    records.append(record, out / "records.jsonl")


def chosen(known, sha256, recipe=None):
    """The newest record of a network trained on all slices of the data, and its recipe's on most held-out slices."""

    def newest(**wanted):
        found = [r for r in known if r.experiment == "table1" and r.prediction]
        found = [r for r in found if sha256.items() <= r.provenance["data"].items()]  # test labels are more
        found = [r for r in found if wanted.items() <= r.conditions.items() and len(r.conditions["seeds"]) == 1]
        return max(reversed(found), key=lambda r: len(r.conditions["slices"]), default=None)

    final = newest(volume="test", **({"recipe": recipe} if recipe else {}))
    if final is None:
        raise InputError(
            "no network trained on all slices of this data is recorded; python -m reproduce table1 --final trains one"
        )
    held_out = newest(volume="train", rotations="eight", recipe=final.conditions["recipe"])
    if held_out is None:
        raise InputError(
            f"the recipe {final.conditions['recipe']} has no score on held-out slices with eight rotations; "
            "python -m reproduce table1 --folds 4 with the same settings records one"
        )
    return final, held_out


def about(record):
    """What the weights say of their recipe's score on held-out slices."""
    told = {name: record.conditions[name] for name in ("slices", "train_slices", "rotations", "seeds")}
    return told | {"scores": record.scores, "thresholds": record.details["thresholds"]}


def largest_change(model, metadata, images, device):
    """The largest change of a probability of cell if the weights are rounded to float16."""
    from copy import deepcopy

    import numpy as np
    import torch

    from unet_paper.predict import predict_stack

    statistics = {"mean": metadata["image_mean"], "std": metadata["image_std"]}
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 has the mantissa of float16
        exact, rounded = (
            predict_stack(network, images, rotations="none", device=device, precision="float32", **statistics)
            for network in (model, deepcopy(model).half().float())
        )
    return float(np.abs(exact - rounded).max())
