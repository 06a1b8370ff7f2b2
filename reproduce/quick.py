"""The main job in minutes: train, predict and score on a synthetic stack, no download, no GPU.

The stack is written in the challenge's format, a narrow U-Net is trained on all but the last slices, and
those are segmented, scored and drawn, beside what the untrained network makes of them. The network is
narrower, tiles are smaller, steps and warm-up are few, and Adam replaces momentum (D5); everything else is
the paper's.
"""

from dataclasses import replace
from pathlib import Path

from unet_paper.command import whole

SLICES, SIDE, HELD_OUT, PHANTOM_SEED = 10, 512, 2, 2015
BASE_CHANNELS, INPUT_SIZE, STEPS, LEARNING_RATE, WARMUP_STEPS = 8, 380, 600, 4e-3, 50


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--steps", type=whole(1), default=STEPS, help=f"training steps (default: {STEPS})")


def config(device, steps=STEPS):
    """The paper's values but for a narrow network, small tiles, few steps, and Adam (D5)."""
    from unet_paper.recipe import recipe_config  # torch, only now

    short = recipe_config(
        device,
        steps=steps,
        base_channels=BASE_CHANNELS,
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        warmup=min(WARMUP_STEPS, steps // 3),
    )
    return replace(short, training=replace(short.training, input_size=INPUT_SIZE))


def run(arguments):
    """Run the command."""
    from data_scripts.phantom import write_phantom
    from reproduce.baselines.unet import build  # torch, only now
    from reproduce.data import load_data
    from reproduce.experiment.execute import execute, recorded
    from reproduce.experiment.run import Run, Split
    from reproduce.figures.montage import montage_of_record
    from reproduce.report import render

    out = Path(arguments.out) / "quick"
    folder = out / "data"
    if not (folder / "test-labels.tif").exists():  # the last to be written
        write_phantom(folder, n_slices=SLICES, size=SIDE, seed=PHANTOM_SEED)
    data = load_data(folder)
    everything = tuple(range(SLICES))
    split = Split("phantom", everything[:-HELD_OUT], everything[-HELD_OUT:])
    trained = replace(build(config(arguments.device, arguments.steps)), name="quick", title="U-Net, narrow, trained")
    untrained = replace(trained, name="untrained", title="the same, untrained", recipe=replace(trained.recipe, steps=0))
    runs = [Run("quick", method, (split,), (arguments.seed,)) for method in (untrained, trained)]
    execute(runs, data, device=arguments.device, out=out)
    for record in recorded(runs[-1:], data, out):
        print(f"figure: {montage_of_record(record, data, out)}")
    render.render(out)
    print((out / "TABLES.md").read_text(encoding="utf-8"))
    print("A stack of your own, by the network in the package:")
    print("python -m unet_paper predict STACK.tif PROBABILITY.tif")
    print("python -m unet_paper segment PROBABILITY.tif CELLS.tif")
