"""Other methods as rows of the same table: what came before the U-Net, and what came of it.

Same folds, same data, same metrics, same rotations. The budget of training is the same number of steps, of
the sliding window as many small ones as make the same arithmetic, or, with ``--seconds``, the same time on
this machine, to which the schedules of the learning rate are compressed. Each record holds the cost beside
the score.
"""

from dataclasses import replace
from functools import partial

from reproduce.baselines import METHODS, build_method
from reproduce.data import SIDE, load_data
from reproduce.experiment.options import add_run_arguments, connection, departed, recipe_arguments
from unet_paper import shapes
from unet_paper.command import positive, whole
from unet_paper.errors import InputError


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="NAME", help=", ".join(METHODS))
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0], help="default: 0")
    parser.add_argument(
        "--seconds",
        type=positive,
        help="train every method for this time instead of steps; one after the other, since it measures the machine",
    )
    add_run_arguments(parser)


def run(arguments):
    """Run the command."""
    from reproduce.experiment.execute import execute, recorded  # torch, only now
    from reproduce.experiment.run import Run, splits
    from reproduce.figures.montage import montage_of_methods
    from unet_paper.recipe import recipe_config

    if arguments.seconds is not None and arguments.steps is not None:
        raise InputError("--steps and --seconds are two budgets; it must be one of them")
    if arguments.seconds is not None and (arguments.workers or arguments.scheduler):
        raise InputError(
            "--seconds measures a machine that does nothing else; --workers and --scheduler must be left out"
        )
    names = arguments.only or list(METHODS)
    takes = {"unet", "fcn"} | ({"unet-adam"} if arguments.optimizer == "adam" else set())
    given = [arguments.optimizer, arguments.learning_rate, arguments.warmup]
    if any(value is not None for value in given) and not takes & set(names):
        raise InputError(
            "--optimizer, --learning-rate and --warmup are of unet and fcn; one of them must be among the methods"
        )
    if arguments.base_channels is not None and not {"unet", "fcn", "unet-adam", "sliding-window"} & set(names):
        raise InputError(
            "--base-channels is of unet, unet-adam and fcn, and of what sliding-window is measured by; "
            "one of them must be among the methods"
        )
    data = load_data(arguments.data)
    config = recipe_config(arguments.device, **recipe_arguments(arguments))
    budget = {"steps": config.training.steps} if arguments.seconds is None else {"seconds": arguments.seconds}
    width = arguments.base_channels  # of a narrower U-Net, whose arithmetic the sliding window gets
    conditions = {"budget": budget} | ({"base_channels": width} if width else {})
    methods = build(names, config, seconds=arguments.seconds)
    runs = [
        Run(
            "systems",
            method,
            splits(len(data.images), arguments.folds),
            (seed,),
            tuple(arguments.rotations),
            conditions,
            partial(cost, method, device=arguments.device),
        )
        for seed in arguments.seeds
        for method in methods
    ]
    execute(runs, data, device=arguments.device, out=arguments.out, connect=connection(arguments))
    if made := recorded(runs, data, arguments.out):
        print(f"figure: {montage_of_methods(made, data, arguments.out)}")


def build(names, config, *, seconds=None):
    """The methods `names` with the budget of `config`'s steps, or of `seconds`.

    A method whose library is missing is named and left out, unless it is the only one.
    """
    from reproduce.baselines.common import MissingLibrary

    methods = []
    if config.training.optimizer == "adam":
        names = dict.fromkeys("unet" if name == "unet-adam" else name for name in names)
    for name in names:
        try:
            method = build_method(name, config)
        except MissingLibrary as error:
            if len(names) == 1:
                raise
            print(f"left out: {error}")
            continue
        method = departed(method, config) if name in ("unet", "fcn") else method
        methods.append(replace(method, recipe=replace(method.recipe, seconds=seconds)))
    return methods


def cost(method, *, device):
    """Work of predicting one slice once; of the sliding window also how much the dense form saves.

    Returns
    -------
    dict
        gflop_per_slice; for the sliding window patchwise_seconds_per_slice,
        dense_seconds_per_slice, speed_ratio and arithmetic_ratio.
    """
    import torch

    from reproduce.baselines.sliding_window import WINDOW, SlidingWindow, measure_speed
    from reproduce.benchmark.timing import count_operations

    def operations(side):
        return count_operations(lambda: network(torch.empty(1, 1, side, side, device="meta")))

    with torch.device("meta"):
        network = method.recipe.network().eval()
    predict = {"tile": shapes.output_size(shapes.input_size_for(SIDE)), "margin": shapes.context()} | method.predict
    one = operations(predict["tile"] + 2 * predict["margin"])  # the one tile that holds a slice
    measures = {"gflop_per_slice": one / 1e9}
    if isinstance(network, SlidingWindow):
        network.train()  # window by window
        patchwise, dense = measure_speed(SlidingWindow(), device=device)
        measures |= {
            "patchwise_seconds_per_slice": patchwise,
            "dense_seconds_per_slice": dense,
            "speed_ratio": patchwise / dense,
            "arithmetic_ratio": operations(WINDOW) * SIDE**2 / one,
        }
    return measures
