"""Ablations: what each part of the paper's recipe brings, and the learning curve.

Every ablation differs from the recipe in one thing, with what that entails, and is trained for the same
number of steps. One record is made for each ablation, fold and seed, so that differences can be taken pair
by pair; the first fold and seed of all comes before the second of any. ``--learning-curve 1 3 6 24`` trains
on that many slices of each fold: the paper claims to need "very few annotated images", and that elastic
deformation is the key to it.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial

from reproduce.experiment.options import add_run_arguments, connection, recipe_arguments, recipe_conditions
from reproduce.report.select import BASE
from unet_paper.command import whole


@dataclass(frozen=True)
class Ablation:
    """One change to the recipe.

    Attributes
    ----------
    title : str
        The row's heading.
    changes : dict
        Part of an `ExperimentConfig` to the fields that change.
    network, sampler : str or None
        Name in `reproduce.baselines.variants` of what takes the place of `UNet` and `weighted_sampler`.
    padded : bool
        Whether the network is padded, so that tiles of a slice's side lose nothing.
    predict : dict
        Keyword arguments of `predict_stack` beside the U-Net's.
    """

    title: str
    changes: dict = field(default_factory=dict)
    network: str | None = None
    sampler: str | None = None
    padded: bool = False
    predict: dict = field(default_factory=dict)


NO_DEFORMATION = {"sigma": 0.0}
SHIFTS_ONLY = {"rotation": 0.0, "gain": 0.0, "offset": 0.0, **NO_DEFORMATION}
CURVES = (BASE, "no-elastic", "shifts-only")  # of the learning curve
ABLATIONS = {
    BASE: Ablation("U-Net, nothing changed"),
    "no-border-weight": Ablation("no border weight", {"weight_map": {"w0": 0.0}}),
    "no-elastic": Ablation("no elastic deformation", {"augmentation": NO_DEFORMATION}),
    "shifts-only": Ablation("no augmentation but shifts", {"augmentation": SHIFTS_ONLY}),
    "no-dropout": Ablation("no dropout", {"network": {"dropout": 0.0}}),
    "no-class-balance": Ablation("no class balance", {"weight_map": {"class_weights": (1.0, 1.0)}}),
    "border-everywhere": Ablation("border weight everywhere", {"weight_map": {"background_only": False}}),
    "padded": Ablation(
        "padded convolutions, 512 px tiles of which every pixel counts", network="padded_unet", padded=True
    ),
    "zero-context": Ablation(
        "zeros instead of mirroring beyond the image", sampler="zero_padded_sampler", predict={"padding": "zero"}
    ),
    "adam": Ablation("Adam at 1e-5, as the later tool", {"training": {"optimizer": "adam", "learning_rate": 1e-5}}),
    "adam-1e-4": Ablation("Adam at 1e-4", {"training": {"optimizer": "adam", "learning_rate": 1e-4}}),
    "linear-up": Ablation("no ReLU after up-convolutions", network="LinearUpUNet"),
    "released": Ablation("released variant: last up-convolution 128 to 128", network="ReleasedUNet"),
}


def add_arguments(parser):
    """Arguments of the command beyond those it shares."""
    parser.add_argument("--only", nargs="+", choices=ABLATIONS, metavar="NAME", help=", ".join(ABLATIONS))
    parser.add_argument("--seeds", type=whole(0), nargs="+", default=[0, 1], help="default: 0 1")
    add_run_arguments(parser, folds=[0, 1])
    parser.add_argument(
        "--learning-curve",
        type=whole(1),
        nargs="+",
        metavar="N",
        help=f"train on N slices instead, by default {', '.join(CURVES)}",
    )


def run(arguments):
    """Run the command."""
    from reproduce.data import load_data
    from reproduce.experiment.execute import execute  # torch, only now
    from unet_paper.recipe import recipe_config

    data = load_data(arguments.data)
    config = recipe_config(arguments.device, **recipe_arguments(arguments))
    runs = runs_of(
        config,
        arguments.only or (CURVES if arguments.learning_curve else tuple(ABLATIONS)),
        folds=arguments.folds,
        seeds=arguments.seeds,
        sizes=arguments.learning_curve,
        n_slices=len(data.images),
        rotations=tuple(arguments.rotations),
    )
    execute(runs, data, device=arguments.device, out=arguments.out, connect=connection(arguments))


def build(name, config):
    """The `Method` of the ablation called `name` of the recipe that `config` describes.

    Examples
    --------
    >>> from unet_paper.config import ExperimentConfig
    >>> build("no-dropout", ExperimentConfig()).recipe.configuration["network"]["dropout"]
    0.0
    """
    from reproduce.baselines import common, variants
    from reproduce.experiment.run import Method
    from unet_paper.recipe import paper_recipe

    ablation = ABLATIONS[name]
    config = replace(config, **{part: replace(getattr(config, part), **new) for part, new in ablation.changes.items()})
    recipe = paper_recipe(config)
    if ablation.network:
        recipe = replace(recipe, network=partial(getattr(variants, ablation.network), **asdict(config.network)))
    if ablation.sampler:
        recipe = replace(recipe, sampler=partial(getattr(variants, ablation.sampler), **recipe.sampler.keywords))
    predict = {"depth": config.network.depth} | ablation.predict
    if ablation.padded:
        recipe = replace(recipe, sampler=partial(recipe.sampler, input_size=common.TILE, output_size=common.TILE))
        predict |= common.PADDED_PREDICTION
    return Method(name, ablation.title, recipe, predict)


def runs_of(config, names, *, folds, seeds, sizes, n_slices, rotations):
    """The runs of the ablations `names`, on `sizes` training slices if given: every first fold and seed comes first."""
    from reproduce.experiment.run import Run, splits

    methods = [(name, build(name, config)) for name in names]
    base = build(BASE, config).recipe.digits
    same = [name for name, method in methods if name != BASE and method.recipe.digits == base]
    if same:
        print(f"left out: {', '.join(same)}, the unchanged recipe by these settings")
    methods = [(name, method) for name, method in methods if name not in same]
    experiment = "learning-curve" if sizes else "ablations"
    return [
        Run(
            experiment,
            method,
            splits(n_slices, [fold], n_train=size),
            (seed,),
            rotations,
            {"variant": name, **recipe_conditions(config)},
        )
        for seed in seeds
        for fold in sorted(set(folds))
        for size in sizes or [None]
        for name, method in methods
    ]
