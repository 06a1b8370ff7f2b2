"""Steps as CUDA graphs: captured once, replayed to the same result; the learning rate stays where a graph reads it."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_scripts.phantom import make_phantom
from unet_paper import graph
from unet_paper.config import ExperimentConfig, NetworkConfig, TrainingConfig
from unet_paper.graph import Graphed, make_capturable, set_learning_rate
from unet_paper.optimizer import MomentumSGD
from unet_paper.recipe import paper_recipe
from unet_paper.train import Descent

OPTIMIZERS = {"sgd": MomentumSGD, "adam": torch.optim.Adam}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_replayed_graph_learns_what_plain_calls_learn(optimizer):
    images, labels = make_phantom(2, 64, 64, seed=0)
    stack = images.astype(np.float32) / 255, (labels > 0).astype(np.uint8)
    rate = {"sgd": 2e-3, "adam": 1e-4}[optimizer]  # Adam's steps are as long where a gradient is but noise
    training = TrainingConfig(input_size=188, steps=12, warmup_steps=2, optimizer=optimizer, learning_rate=rate)
    recipe = paper_recipe(ExperimentConfig(network=NetworkConfig(base_channels=2), training=training))
    plain, replayed = (Descent(recipe, *stack, seed=5, device="cuda", graphed=graphed) for graphed in (False, True))
    for step in range(recipe.steps):  # algorithms may differ, draws and dropout may not
        torch.testing.assert_close(replayed(step), plain(step), rtol=1e-2, atol=0)
    assert replayed.descend.graph is not None
    for (name, a), b in zip(plain.model.state_dict().items(), replayed.model.state_dict().values()):
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


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_capturable_optimiser_keeps_its_learning_rate_tensor_and_learns_the_same(optimizer):
    weights = {kind: torch.nn.Parameter(torch.arange(1.0, 5.0)) for kind in ("plain", "capturable")}
    made = {kind: OPTIMIZERS[optimizer]([weight], lr=0.5) for kind, weight in weights.items()}
    make_capturable(made["capturable"], "cpu")
    place = made["capturable"].param_groups[0]["lr"]
    for rate in (0.25, 0.125, 0.5):
        for kind, weight in weights.items():
            set_learning_rate(made[kind], rate)
            (weight**2).sum().backward()
            made[kind].step()
            made[kind].zero_grad()
    assert made["plain"].param_groups[0]["lr"] == float(place) == 0.5
    assert place is made["capturable"].param_groups[0]["lr"]
    torch.testing.assert_close(weights["capturable"], weights["plain"])


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
        except (ValueError, RuntimeError) as error:
            raise RuntimeError("ending the capture failed too") from error
        finally:
            self.capturing = False

    def set_stream(self, stream):
        self.log.append("stream given back")


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setattr(graph.torch, "cuda", fake)
    return fake


def test_a_graph_is_captured_after_the_plain_calls_and_every_call_computes_once(cuda):
    def function():
        cuda.log.append("capture" if cuda.capturing else "compute")
        return "result"

    graphed = Graphed(function, "cuda", warm_up=2)
    assert [graphed() for _ in range(5)] == ["result"] * 5
    plain = ["wait", "compute", "wait"]
    assert cuda.log == [*plain, *plain, "capture", "replay", "replay", "replay"]


def test_a_capture_that_fails_tells_what_failed_first(cuda):
    def function():
        raise ValueError("the step itself")

    with pytest.raises(ValueError, match="the step itself"):
        Graphed(function, "cuda", warm_up=0)()
    assert cuda.log == ["stream given back"]


def test_a_device_that_cannot_capture_computes_plainly(cuda):
    def function():
        if cuda.capturing:
            raise RuntimeError("no such operation in a capture")
        return "result"

    graphed = Graphed(function, "cuda", warm_up=0)
    with pytest.warns(UserWarning, match="no such operation in a capture"):
        assert graphed() == "result"
    assert graphed() == "result"
    assert cuda.log == ["stream given back"]
