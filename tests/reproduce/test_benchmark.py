"""The benchmark: every variant is a row, what cannot run says why, and steps made for graphs learn as plain ones do."""

import math
import re
import time
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reproduce.benchmark_ceilings import COPY_BYTES, PRODUCT_SIDE, ceilings
from reproduce.benchmark_inference import SYMMETRIES, SlicePredictor, restore, transform
from reproduce.benchmark_training import EAGER, VARIANTS, Variant, benchmark_training, prepare, training_operations
from reproduce.stacks import Example
from reproduce.timing import Bench, Row, Unavailable, measure, time_limit

from data_scripts.phantom import make_phantom
from reproduce import benchmark, benchmark_alternatives, benchmark_inference, records
from reproduce.benchmark import normalised
from unet_paper import graph
from unet_paper.config import ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.graph import Graphed, make_capturable, set_learning_rate
from unet_paper.model import UNet
from unet_paper.overlap_tile import predict_overlap_tile
from unet_paper.train import paper_recipe, train

ON_CPU = [v.name for v in VARIANTS if not v.graphed and v.precision != "tf32"]


def small_config(**changes):
    return ExperimentConfig(
        network=NetworkConfig(base_channels=2, dropout=0.5),
        training=TrainingConfig(**{"input_size": 188, "steps": 7, "warmup_steps": 2, **changes}),
    )


@pytest.fixture(scope="module")
def stack():
    images, labels = make_phantom(2, 64, 64, seed=0)
    return images.astype(np.float32) / 255, (labels > 0).astype(np.uint8)


@pytest.fixture(autouse=True)
def few_repeats(monkeypatch):
    monkeypatch.setattr(benchmark_inference, "LATENCY_CALLS", 2)


@pytest.fixture
def no_compiler(monkeypatch):
    """Compiling takes a minute; here it fails as it does without a compiler."""

    def fail(*_, **__):
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setattr(torch, "compile", fail)


def test_the_papers_work_is_counted():
    forward, step = training_operations(ExperimentConfig())
    assert forward == pytest.approx(300.86e9, rel=1e-4)
    first_convolution = 2 * 570**2 * 64 * 9  # needs no gradient of its input
    assert step == 3 * forward - first_convolution


def test_repeats_fill_the_time_and_the_warm_up_is_left_out():
    calls = []

    def call():
        calls.append(None)
        time.sleep(0.2 if len(calls) == 1 else 0.01)

    timing = measure(call, "cpu", seconds=0.1, warm_up=2)
    assert timing.fastest >= 0.01
    assert timing.mean < 0.1
    assert len(calls) == timing.repeats + 2
    assert 3 <= timing.repeats <= 10
    assert measure(call, "cpu", seconds=1e-9, warm_up=1, least=2).repeats == 2


def test_every_training_variant_is_a_row_and_skipped_ones_say_why(stack, no_compiler):
    images, labels = stack
    rows = list(benchmark_training(Bench("cpu", 0.01), small_config(), normalised(images), labels))
    names = [row.name for row in rows if row.group == "training"]
    assert set(v.name for v in VARIANTS) <= set(names)
    by_name = {(row.name, row.conditions.get("batch")): row for row in rows}
    assert by_name["TF32", 1].skipped == "a format of GPUs"
    assert by_name["+ CUDA graph", 1].skipped == "needs a GPU"
    assert by_name["+ compiled, no graph", 1].skipped == "RuntimeError: no compiler"
    done = [row for row in rows if row.group == "training" and not row.skipped]
    assert {row.conditions["batch"] for row in done} == {1, 2, 4, 8}
    assert all(row.measures["median_seconds"] > 0 for row in done)
    share = by_name["+ fused optimiser: forward and backward alone", 1].measures
    assert share["sampling_ratio"] == share["sampling_seconds"] / share["median_seconds"]


def test_every_inference_variant_is_a_row_with_its_distance_from_float32(stack, no_compiler):
    images, _ = stack
    model = UNet(base_channels=2, dropout=0.0).eval()
    rows = {
        row.name: row for row in benchmark_inference.benchmark_inference(Bench("cpu", 0.01), model, normalised(images))
    }
    assert rows["float32"].measures["max_difference_probability"] == 0
    assert rows["float32"].measures["other_class_ratio"] == 0
    assert 0 < rows["bfloat16"].measures["max_difference_probability"] < 0.2
    assert rows["+ channels last, eight slices"].conditions == {"batch": 8}
    assert rows["one batch a slice"].measures["stack_seconds"] > 0
    assert set(ON_CPU) - {EAGER.name} <= set(rows)


def test_a_slice_predictor_is_the_overlap_tile_of_one_tile(stack):
    image = normalised(stack[0])[0, :50, :50]
    model = UNet(base_channels=2).eval()
    predictor = SlicePredictor(model, Variant("", "float32", channels_last=False), 50, "cpu")
    want = predict_overlap_tile(lambda x: model(x).softmax(dim=1), torch.from_numpy(image), tile=52, stride=48)[1]
    np.testing.assert_allclose(predictor.host(image[None])[0], want, atol=1e-6)


def test_symmetries_are_eight_and_are_undone():
    image = torch.arange(9).view(3, 3)
    assert len({tuple(transform(image, *s).flatten().tolist()) for s in SYMMETRIES}) == 8
    assert all(torch.equal(restore(transform(image, *s), *s), image) for s in SYMMETRIES)


def test_the_mean_over_symmetries_ignores_how_the_slice_lies(stack):
    image = normalised(stack[0])[0, :52, :52]
    predictor = SlicePredictor(UNet(base_channels=2).eval(), Variant("", "float32", batch=8), 52, "cpu")
    turned = predictor.symmetric(np.rot90(image).copy())
    np.testing.assert_allclose(turned, np.rot90(predictor.symmetric(image)), atol=1e-5)


def test_a_missing_library_is_a_row_that_says_so(stack, monkeypatch):
    monkeypatch.setattr(benchmark_alternatives.importlib.util, "find_spec", lambda name: None)
    model = UNet(base_channels=2).eval()
    rows = list(benchmark_alternatives.benchmark_alternatives(Bench("cpu", 0.01), model, normalised(stack[0])))
    assert [row.skipped for row in rows[2:]] == ["monai is not installed"] * 2 + [
        "segmentation_models_pytorch is not installed"
    ] * 2
    assert all(row.measures["megapixel_seconds"] > 0 for row in rows[:2])


def test_ceilings_are_rates_of_the_work_over_the_time(monkeypatch):
    monkeypatch.setitem(PRODUCT_SIDE, "cpu", 64)
    monkeypatch.setitem(COPY_BYTES, "cpu", 2**16)
    bench = Bench("cpu", 0.01)
    rows = list(ceilings(bench))
    product = rows[0].measures
    assert bench.rates["bfloat16"] == 2 * 64**3 / product["fastest_seconds"]
    assert product["teraflop_per_second"] == bench.rates["bfloat16"] / 1e12
    assert rows[1].skipped == "a format of GPUs"
    assert "tf32" not in bench.rates
    copy = rows[3].measures
    assert copy["gigabyte_per_second"] == 2 * 2**16 / copy["fastest_seconds"] / 1e9


def test_no_row_begins_when_the_time_is_used_up():
    row = Bench("cpu", 1.0, until=-math.inf).row("training", "late", {}, lambda: pytest.fail("it began"))
    assert row.skipped == "the time for the whole benchmark was used up"


def test_a_row_that_takes_too_long_to_get_ready_is_stopped():
    def build():
        with time_limit(0.05):
            time.sleep(5)

    assert Bench("cpu", 1.0).row("training", "slow", {}, build).skipped == "not ready after 0 s"
    with time_limit(0.02):
        pass
    time.sleep(0.05)  # and nothing happens later


def test_rows_become_records_one_by_one(tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    rows = [
        Row(
            "training", "float32", {"batch": 1}, {"median_seconds": 0.5, "broken_ratio": math.nan}, {"compiled": False}
        ),
        Row("training", "TF32", {"batch": 1}, {}, {}, "a format of GPUs"),
    ]
    how = {"device": "cpu", "seed": 3, "data": {"x": "y"}, "path": path, "until": time.monotonic() + 119}
    for count, _ in enumerate(benchmark.record_each(iter(rows), **how), 1):
        assert len(records.read(path)) == count
    done, skipped = records.read(path)
    assert done.conditions == {"group": "training", "batch": 1}
    assert done.measures == {"median_seconds": 0.5}
    assert done.provenance["config"] == {"compiled": False}
    assert skipped.conditions["skipped"] == "a format of GPUs"
    printed = capsys.readouterr().out
    assert re.search(r"training: TF32 {'batch': 1} a format of GPUs \(at most about 11\d s left\)", printed)


def test_the_command_measures_what_was_chosen(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "benchmark_weight_map", lambda stack: [{"operation": "weight map", "seconds": 0.1}])
    arguments = SimpleNamespace(
        training=False,
        inference=False,
        metrics=False,
        weight_map=True,
        seconds=None,
        weights=None,
        device="cpu",
        data=None,
        seed=0,
        out=tmp_path,
    )
    example = Example(np.eye(2)[None], np.eye(2)[None], "synthetic", {})
    monkeypatch.setattr(benchmark, "load_example", lambda folder: example)
    assert benchmark.run(arguments) == 0
    (record,) = records.read(tmp_path / "records.jsonl")
    assert (record.name, record.conditions, record.measures) == (
        "weight map",
        {"group": "weight map"},
        {"seconds": 0.1},
    )
    assert "| weight map | 100 ms |" in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_replayed_graph_learns_what_plain_calls_learn(stack, optimizer):
    rate = {"sgd": 2e-3, "adam": 1e-4}[optimizer]  # Adam's steps are as long where a gradient is but noise
    recipe = paper_recipe(small_config(optimizer=optimizer, steps=12, learning_rate=rate))
    want, plain = train(recipe, *stack, seed=5, device="cuda")
    got, replayed = train(recipe, *stack, seed=5, device="cuda", graphed=True)
    assert replayed.loss == pytest.approx(plain.loss, rel=1e-2)  # algorithms may differ, draws and dropout may not
    for (name, a), b in zip(want.state_dict().items(), got.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0.05, atol=1e-2, msg=name)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_replay_draws_the_dropout_of_its_seed():
    ones = torch.ones(4096, device="cuda")
    graphed = Graphed(lambda: torch.nn.functional.dropout(ones, 0.5), "cuda")

    def draw(call, seed):
        torch.manual_seed(seed)
        return call().clone()

    for _ in range(4):
        draw(graphed, 0)
    assert torch.equal(draw(graphed, 1), draw(graphed.function, 1))
    assert not torch.equal(draw(graphed, 1), draw(graphed, 2))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_fused_optimiser_resumes_to_the_same_weights(stack, optimizer, tmp_path):
    whole = paper_recipe(small_config(optimizer=optimizer))
    want, _ = train(whole, *stack, seed=5, graphed=True)
    half = replace(whole, steps=whole.steps // 2)
    train(half, *stack, seed=5, graphed=True, folder=tmp_path)
    got, _ = train(whole, *stack, seed=5, graphed=True, folder=tmp_path, resume=True)
    for (name, a), b in zip(want.state_dict().items(), got.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_made_for_graphs_learn_what_plain_steps_learn(stack, optimizer):
    recipe = paper_recipe(small_config(optimizer=optimizer))
    want, plain = train(recipe, *stack, seed=5)
    got, captured = train(recipe, *stack, seed=5, graphed=True)
    assert captured.loss == pytest.approx(plain.loss, rel=1e-4)
    for (name, a), b in zip(want.state_dict().items(), got.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)


def test_a_capturable_optimiser_keeps_its_learning_rate_tensor():
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.5, momentum=0.9)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
    make_capturable(optimizer, "cpu")
    rate = optimizer.param_groups[0]["lr"]
    set_learning_rate(optimizer, 0.125)
    assert rate is optimizer.param_groups[0]["lr"]
    assert float(rate) == 0.125


def test_the_parts_of_a_step_can_be_called_alone(stack):
    images, labels = stack
    for variant in (VARIANTS[0], EAGER):
        prepared = prepare(variant, small_config(), normalised(images), labels, "cpu")
        for call in (prepared.step, prepared.network, prepared.sampling):
            call()


class FakeCuda:
    """Streams and graphs without a device; `log` says what was computed, captured and replayed."""

    def __init__(self):
        self.log, self.capturing = [], False

    def Stream(self, *_):
        return SimpleNamespace(wait_stream=lambda other: self.log.append("wait"))

    current_stream = Stream

    @contextmanager
    def stream(self, stream):
        yield

    def CUDAGraph(self):
        return SimpleNamespace(replay=lambda: self.log.append("replay"))

    @contextmanager
    def graph(self, captured, stream):
        self.capturing = True
        try:
            yield
        except ValueError as error:
            raise RuntimeError("ending the capture failed too") from error
        self.capturing = False

    def set_stream(self, stream):
        self.log.append("stream given back")


def test_a_graph_is_captured_after_the_plain_calls_and_every_call_computes_once(monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setattr(graph.torch, "cuda", cuda)

    def function():
        cuda.log.append("capture" if cuda.capturing else "compute")
        return "result"

    graphed = Graphed(function, "cuda", warm_up=2)
    assert [graphed() for _ in range(5)] == ["result"] * 5
    plain = ["wait", "compute", "wait"]
    assert cuda.log == [*plain, *plain, "capture", "replay", "replay", "replay"]


def test_a_capture_that_fails_tells_what_failed_first(monkeypatch):
    cuda = FakeCuda()
    monkeypatch.setattr(graph.torch, "cuda", cuda)

    def function():
        raise ValueError("the step itself")

    with pytest.raises(ValueError, match="the step itself"):
        Graphed(function, "cuda", warm_up=0)()
    assert cuda.log == ["stream given back"]


def test_unavailable_is_the_reason_itself():
    def build():
        raise Unavailable("needs a GPU")

    assert Bench("cpu", 1.0).row("g", "n", {}, build).skipped == "needs a GPU"
