"""The training step of the benchmark: the library's own, every network in every form that the machine has."""

import sys

import pytest
import torch

from reproduce.benchmark import training
from reproduce.benchmark.networks import NETWORKS
from reproduce.benchmark.timing import FORMS, LEAST, Unavailable
from reproduce.benchmark.training import benchmark_training, step_measures
from unet_paper.graph import Graphed
from unet_paper.train import Descent

PAPER, MONAI = (network.name for network in NETWORKS)
OUTPUT = {PAPER: 4, MONAI: 192}  # pixels a side for the tiny tile


class Watched(Descent):
    """The library's step, which keeps what it was made with and counts itself."""

    made = []  # noqa: RUF012

    def __init__(self, recipe, *arguments, graphed, **options):
        super().__init__(recipe, *arguments, graphed=graphed, **options)
        self.made.append(self)
        self.asked, self.steps = graphed, []

    def __call__(self, step):
        self.steps.append(step)
        return super().__call__(step)


@pytest.fixture
def watched(monkeypatch):
    monkeypatch.setattr(Watched, "made", [])
    monkeypatch.setattr(training, "Descent", Watched)
    return Watched.made


def test_every_network_takes_the_librarys_step_in_every_form(bench, config, stack, bfloat16, watched):
    pytest.importorskip("monai")
    bench.rates["float32", False] = 1e9
    rows = {(r.name, r.conditions["form"]): r for r in benchmark_training(bench, config, stack.images, stack.labels)}
    assert list(rows) == [(network.name, form.name) for network in NETWORKS for form in FORMS]
    for (name, form), row in rows.items():
        if form in ("TF32", "bfloat16, CUDA graph"):
            assert (row.measures, row.conditions["skipped"]) == ({}, "needs a GPU")
            continue
        assert "skipped" not in row.conditions
        measures = row.measures
        assert (measures["median_seconds"], measures["sampling_seconds"], measures["sampling_ratio"]) == (1, 1, 1)
        assert measures["megapixel_seconds"] == pytest.approx(1e6 / OUTPUT[name] ** 2)
        assert measures["peak_bytes"] > 0
        if form == "float32":
            assert measures["floor_seconds"] == measures["ceiling_ratio"] == measures["work_gigaflop"] > 0
        assert row.provenance["config"]["precision"] == form
    assert [descent.recipe.precision for descent in watched] == ["float32", "bfloat16"] * 2
    assert all(descent.steps == list(range(1 + LEAST)) and not descent.asked for descent in watched)


def test_the_work_of_a_step_is_that_of_its_convolutions(bench, config, stack):
    side, channels = 188, 2
    row = step_measures(bench, FORMS[0], NETWORKS[0].recipe(config, "float32"), stack.images, stack.labels)
    work = training.step_operations(lambda: torch.nn.Conv2d(1, channels, 3), (1, 1, side, side))
    assert work == 2 * (side - 2) ** 2 * channels * 9 * 2  # forward and for the weights; the image needs no gradient
    model = NETWORKS[0].build(config.network)
    assert row["work_gigaflop"] * 1e9 == training.step_operations(lambda: model.to("meta"), (1, 1, side, side)) > work
    assert row["parameters_count"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("captured", [True, False])
def test_a_graph_that_was_not_captured_is_not_measured_as_one(bench, config, stack, monkeypatch, captured):
    class Captured(Descent):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.descend = Graphed(self._descend, "cpu")
            self.descend.graph = captured or None

    monkeypatch.setattr(training, "Descent", Captured)
    measured = (bench, FORMS[-1], NETWORKS[0].recipe(config, "float32"), stack.images, stack.labels)
    if captured:
        assert step_measures(*measured)["median_seconds"] == 1
    else:
        with pytest.raises(Unavailable, match="no CUDA graph could be captured"):
            step_measures(*measured)


def test_a_missing_library_leaves_rows_that_say_so(bench, config, stack, monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    rows = {
        r.name: r
        for r in benchmark_training(bench, config, stack.images, stack.labels)
        if r.conditions["form"] == "float32"
    }
    assert "monai.networks.nets" in rows[MONAI].conditions["skipped"]
    assert rows[PAPER].measures["median_seconds"] == 1
