"""CUDA graphs: what is computed, captured and replayed, with a device that is not there and with one that is."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from small_training import small_recipe, small_stack

from unet_paper import graph
from unet_paper.graph import Graphed, make_capturable, set_learning_rate
from unet_paper.train import Descent

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class FakeCuda:
    """Streams and graphs without a device; `log` says what was computed, captured and replayed."""

    def __init__(self):
        self.log, self.capturing = [], False

    def Stream(self, *_):
        return SimpleNamespace(device="cuda", wait_stream=lambda other: self.log.append("wait"))

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
    monkeypatch.setattr(graph, "WARM_UP", 0)
    return fake


def test_a_graph_is_captured_after_the_plain_calls_and_every_call_computes_once(cuda, monkeypatch):
    monkeypatch.setattr(graph, "WARM_UP", 2)

    def function():
        cuda.log.append("capture" if cuda.capturing else "compute")
        return "result"

    graphed = Graphed(function, "cuda")
    assert [graphed() for _ in range(5)] == ["result"] * 5
    plain = ["wait", "compute", "wait"]
    assert cuda.log == [*plain, *plain, "capture", "replay", "replay", "replay"]


def test_a_function_that_cannot_be_captured_is_called_plainly_from_then_on(cuda):
    def function():
        if cuda.capturing:
            raise RuntimeError("waits for the device")
        cuda.log.append("compute")
        return "result"

    graphed = Graphed(function, "cuda")
    with pytest.warns(UserWarning, match="no CUDA graph could be captured: waits for the device"):
        assert graphed() == "result"
    assert graphed() == "result"
    assert cuda.log == ["stream given back", "compute", "compute"]


def test_an_error_of_the_function_itself_is_told_and_not_that_of_the_capture(cuda):
    def function():
        raise ValueError("the step itself")

    with pytest.raises(ValueError, match="the step itself"):
        Graphed(function, "cuda")()
    assert cuda.log == ["stream given back"]


def test_on_the_cpu_every_call_is_plain():
    calls = []
    graphed = Graphed(lambda: calls.append("computed"), "cpu")
    graphed()
    graphed()
    assert calls == ["computed", "computed"]


def test_a_capturable_optimiser_keeps_its_learning_rate_tensor():
    optimizer = torch.optim.Adam([torch.ones(1, requires_grad=True)], lr=0.5)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
    make_capturable(optimizer, "cpu")
    (group,) = optimizer.param_groups
    rate = group["lr"]
    set_learning_rate(optimizer, 0.125)
    assert rate is group["lr"]
    assert float(rate) == 0.125
    assert (group["capturable"], group["fused"], group["foreach"]) == (True, True, False)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_made_for_graphs_learn_what_plain_steps_learn(optimizer):
    plain, capturable = (Descent(small_recipe(optimizer=optimizer), *small_stack(), seed=5) for _ in range(2))
    make_capturable(capturable.optimizer, "cpu")
    for step in range(6):
        assert capturable(step).item() == pytest.approx(plain(step).item(), rel=1e-4)
    for (name, a), b in zip(plain.model.state_dict().items(), capturable.model.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5, msg=name)


@needs_a_gpu
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_replayed_graph_learns_what_plain_calls_learn(optimizer):
    rate = {"sgd": 4e-3, "adam": 1e-4}[optimizer]  # Adam's steps are as long where a gradient is but noise
    recipe = small_recipe(optimizer=optimizer, learning_rate=rate, steps=12)
    plain, graphed = (Descent(recipe, *small_stack(), seed=5, device="cuda", graphed=on) for on in (False, True))
    for step in range(12):  # algorithms may differ, draws and dropout may not
        assert graphed(step).item() == pytest.approx(plain(step).item(), rel=1e-2)
    assert graphed.descend.graph is not None
    for (name, a), b in zip(plain.model.state_dict().items(), graphed.model.state_dict().values()):
        torch.testing.assert_close(a, b, rtol=0.05, atol=1e-2, msg=name)


@needs_a_gpu
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
