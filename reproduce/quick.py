"""The main job in minutes: the same code path on a synthetic stack, no download, no GPU.

The stack is written in the challenge's format, a narrow U-Net is trained on all but the last slices, and
those are segmented, scored and drawn, beside what the untrained network makes of them. The network is
narrower, steps and warm-up are few, and Adam replaces momentum (D5); everything else is the paper's.
"""

from dataclasses import replace
from pathlib import Path

from reproduce import experiment, render
from unet_paper.config import ExperimentConfig

SLICES, SIDE, HELD_OUT, PHANTOM_SEED = 10, 512, 2, 2015
BASE_CHANNELS, STEPS, LEARNING_RATE, WARMUP_STEPS = 8, 700, 2e-3, 50


def add_arguments(parser):
    """Arguments of the command beyond those every command has."""
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps (default: {STEPS})")


def config(steps=STEPS):
    """The paper's values but for a narrow network, few steps, and Adam, which leaves the plateau sooner (D5)."""
    paper = ExperimentConfig()
    training = replace(paper.training, optimizer="adam", learning_rate=LEARNING_RATE, warmup_steps=WARMUP_STEPS)
    narrow = replace(paper, network=replace(paper.network, base_channels=BASE_CHANNELS), training=training)
    return experiment.of_steps(narrow, steps)


def run(arguments):
    """Run the command; returns the exit status."""
    from data_scripts.phantom import write_phantom
    from reproduce.systems import build_system
    from reproduce.table1 import montage
    from unet_paper.isbi import load_isbi

    out = Path(arguments.out) / "quick"
    folder = out / "data"
    if not (folder / "test-labels.tif").exists():  # the last to be written
        write_phantom(folder, n_slices=SLICES, size=SIDE, seed=PHANTOM_SEED)
    data = load_isbi(folder)
    everything = tuple(range(SLICES))
    part = experiment.Part("phantom", everything[:-HELD_OUT], everything[-HELD_OUT:])
    how = {"experiment": "quick", "seed": arguments.seed, "device": arguments.device, "out": out}
    for name, steps in (("untrained", 0), ("quick", arguments.steps)):
        system = replace(build_system("unet", config(steps)), name=name, title=name)
        (record,) = experiment.cross_validate(system, data, [part], **how)
    print(f"figure: {montage(data, list(part.held_out), record, out)}")
    render.render(out)
    print((out / "TABLES.md").read_text(encoding="utf-8"))
    return 0
