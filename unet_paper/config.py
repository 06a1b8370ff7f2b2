"""The paper's values, each with its section, and the choices made where the paper is silent.

A name S1, S2, ... refers to the silence of that number in DEVIATIONS.md. Commands take the
values of the paper from here.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class NetworkConfig:
    """Figure 1: a contracting and an expansive path with unpadded convolutions."""

    in_channels: int = 1  # section 2, Figure 1
    n_classes: int = 2  # section 2, Figure 1: membrane and cell (S10)
    base_channels: int = 64  # section 2, Figure 1
    depth: int = 4  # section 2, Figure 1: four poolings
    dropout: float = 0.5  # section 3.1 has dropout "at the end of the contracting path"; rate and place S8


@dataclass(frozen=True)
class WeightMapConfig:
    """Section 3, Equation 2."""

    w0: float = 10.0  # section 3
    sigma: float = 5.0  # section 3, pixels
    class_weights: str | tuple[float, float] | None = "balanced"  # w_c, over the training slices, S2
    background_only: bool = True  # S1


@dataclass(frozen=True)
class AugmentationConfig:
    """Section 3.1: shift, rotation, elastic deformation and gray-value variation."""

    grid: int = 3  # nodes a side of the coarse grid, section 3.1, S5
    sigma: float = 10.0  # standard deviation of a node's displacement, pixels, section 3.1
    rotation: float = 360.0  # a uniform angle in [0, rotation) degrees, S14
    gain: float = 0.1  # gray values are multiplied by a uniform factor in 1 -/+ gain, S15
    offset: float = 0.1  # and shifted by a uniform value in -/+ offset standard deviations of the stack, S15


@dataclass(frozen=True)
class TrainingConfig:
    """Section 3: stochastic gradient descent, a batch of one tile, high momentum."""

    input_size: int = 572  # Figure 1, pixels
    optimizer: str = "sgd"  # section 3, in the form of S21; "adam" is the later tool's (S13)
    momentum: float = 0.99  # section 3
    learning_rate: float = 4e-3  # S13
    warmup_steps: int = 300  # S13
    steps: int = 10_000  # S13
    weight_decay: float = 0.0  # S13
    precision: str = "bfloat16"  # D1


@dataclass(frozen=True)
class ExperimentConfig:
    """One training run: everything that, with the data and a seed, determines the result."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    weight_map: WeightMapConfig = field(default_factory=WeightMapConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


METADATA = "unet_paper"  # key of the JSON metadata in a weights file
ROTATIONS = ("none", "eight", "seven")  # averages in prediction: D3, S12
ADAM = {"optimizer": "adam", "learning_rate": 3e-4, "warmup_steps": 100}  # of `TrainingConfig`, D6
