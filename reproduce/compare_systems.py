"""Every system as a row of the same table: what came before the U-Net, and what came of it.

Runs the cross-validation of Table 1 for each of `reproduce.systems`: same folds, same data, same
metrics, same rotations. The budget of training is the same number of steps, of the sliding window as
many small ones as make the same arithmetic, or, with ``--seconds``, the same time on this machine, to
which the schedules of the learning rate are compressed. Each record holds the cost beside the score.
"""

import importlib
from dataclasses import replace

import torch

from reproduce import experiment, records
from reproduce.ablations import attempt
from reproduce.figures.montage import draw_methods_montage
from reproduce.rows import latest, title
from reproduce.stacks import load_data
from reproduce.systems import SYSTEMS, build_system
from reproduce.systems.common import multiply_adds
from reproduce.systems.sliding_window import SlidingWindow, measure_speed
from reproduce.systems_table import budget_text, by_protocol, protocol
from reproduce.tables import device
from unet_paper import metrics, shapes
from unet_paper.config import ExperimentConfig
from unet_paper.data import read_images
from unet_paper.errors import InputError
from unet_paper.predict import ROTATIONS

SLICE = 512  # side of an ISBI slice, pixels


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, metavar="NAME", help=", ".join(SYSTEMS))
    parser.add_argument("--folds", type=int, nargs="+", help="folds to run, 0 to 4 (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: the one of --seed")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="training steps of the U-Net (default: its own)")
    budget.add_argument("--seconds", type=float, help="train every system for this time instead")
    parser.add_argument("--rotations", nargs="+", default=["eight"], choices=ROTATIONS, help="averages to predict with")


def run(arguments):
    """Run the command; returns the exit status."""
    data = load_data(arguments.data)
    chosen = experiment.parts(len(data.images), arguments.folds)
    steps = arguments.steps or ExperimentConfig().training.steps
    budget = {"budget_steps": steps} if arguments.seconds is None else {"seconds": arguments.seconds}
    systems = build(arguments.only or list(SYSTEMS), steps=arguments.steps, seconds=arguments.seconds)
    for seed in arguments.seeds or [arguments.seed]:
        for system in systems:
            attempt(
                system,
                data,
                chosen,
                experiment_name="systems",
                seed=seed,
                device=arguments.device,
                out=arguments.out,
                rotations=arguments.rotations,
                conditions=budget,
                measures=lambda system=system: cost(system, device=arguments.device),
            )
    if path := montage(data, arguments.out):
        print(f"figure: {path}")
    return importlib.import_module("reproduce.render").run(arguments)


def montage(data, out):
    """Draw the middle held-out slice as each system of the newest protocol sees it; the figure's path, or None."""
    every = records.read(out / "records.jsonl")
    rows = latest(every)
    scored = [r for r in every if r.experiment == "systems" and r.scores and r in rows]
    if not scored:
        return None
    newest = scored[-1]
    (groups,) = [groups for groups in by_protocol(rows) if protocol(groups[0][0]) == protocol(newest)]
    what = newest.conditions
    slices = [s for part in experiment.parts(len(data.images)) if part.name in what["folds"] for s in part.held_out]
    maps = {}
    for record in (r for group in groups for r in group):
        path = out / record.prediction
        if record.conditions["seeds"] == what["seeds"] and path.exists():
            probability = read_images(path).array
            maps[title(record)] = probability, metrics.score(data.labels[slices], probability)
    return draw_methods_montage(
        data.images[slices],
        data.labels[slices],
        maps,
        out / "figures" / "systems_montage.png",
        titles=[f"slice {z}" for z in slices],
        heading=f"{budget_text(newest)} on {device(newest)}, rotations {what['rotations']}",
    )


def build(names, *, steps=None, seconds=None):
    """The systems `names` with the budget of `steps` of the U-Net, or of `seconds`.

    A system whose library is missing is named and left out, unless it is the only one.
    """
    config = ExperimentConfig()
    if steps:
        config = experiment.of_steps(config, steps)
    systems = []
    for name in names:
        try:
            system = build_system(name, config)
        except InputError as error:
            if len(names) == 1:
                raise
            print(f"left out: {error}")
            continue
        systems.append(system if seconds is None else within(system, seconds))
    return systems


def within(system, seconds):
    """`system` trained for a time; it has its own name, since its weights are others."""
    if not seconds > 0:
        raise InputError(f"{seconds:g} seconds of training; a positive number is needed")
    recipe = replace(system.recipe, seconds=seconds, identity={**system.recipe.identity, "seconds": seconds})
    return replace(system, name=f"{system.name}-{seconds:g}s", recipe=recipe)


def cost(system, *, device):
    """Work of predicting one slice once; of the sliding window also how much the dense form saves.

    Returns
    -------
    dict
        gflop_per_slice; for the sliding window patchwise_seconds_per_slice,
        dense_seconds_per_slice, speed_ratio and arithmetic_ratio.
    """
    with torch.device("meta"):
        network = system.recipe.build().eval()
    measures = {"gflop_per_slice": slice_multiply_adds(system, network) * 2 / 1e9}
    if isinstance(network, SlidingWindow):
        patchwise = multiply_adds(network.train(), 1, 1, 95, 95) * SLICE**2
        speed = measure_speed(SlidingWindow(), device=device)
        measures |= {
            "patchwise_seconds_per_slice": speed.patchwise_seconds,
            "dense_seconds_per_slice": speed.dense_seconds,
            "speed_ratio": speed.ratio,
            "arithmetic_ratio": patchwise / multiply_adds(network.eval(), 1, 1, SLICE + 94, SLICE + 94),
        }
    return measures


def slice_multiply_adds(system, network):
    """Multiply-adds of the one tile that holds a slice; `network` is on the device "meta"."""
    predict = {"tile": shapes.output_size(shapes.input_size_for(SLICE)), "margin": shapes.context()} | system.predict
    side = predict["tile"] + 2 * predict["margin"]
    return multiply_adds(network, 1, 1, side, side)
