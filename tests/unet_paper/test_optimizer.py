"""Momentum against the formula of Caffe and PyTorch's."""

import numpy as np
import pytest
import torch

from unet_paper.optimizer import MomentumSGD

RATES = [0.01, 0.3, 0.3, 0.002]


def trajectory(make, rates, gradients, start):
    weight = torch.nn.Parameter(torch.tensor(start))
    optimizer = make([weight])
    for rate, gradient in zip(rates, gradients):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    return weight.detach().numpy()


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_learning_rate_is_part_of_the_velocity(decay):
    generator = np.random.default_rng(0)
    start, gradients = generator.normal(size=(3, 2)), generator.normal(size=(len(RATES), 3, 2))
    w, v = start.copy(), np.zeros_like(start)
    for rate, gradient in zip(RATES, gradients):
        v = 0.9 * v + rate * (gradient + decay * w)
        w = w - v
    got = trajectory(lambda p: MomentumSGD(p, lr=1.0, momentum=0.9, weight_decay=decay), RATES, gradients, start)
    np.testing.assert_allclose(got, w, rtol=1e-12)


def test_it_is_pytorchs_at_a_constant_rate_and_not_at_a_changing_one():
    generator = np.random.default_rng(1)
    start, gradients = generator.normal(size=5), generator.normal(size=(4, 5))
    for rates, same in (([0.1] * 4, True), (RATES, False)):
        ours = trajectory(lambda p: MomentumSGD(p, lr=1.0, momentum=0.9), rates, gradients, start)
        pytorch = trajectory(lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9), rates, gradients, start)
        assert np.allclose(ours, pytorch, rtol=1e-12) == same


def test_a_rate_on_the_device_and_a_frozen_weight_are_accepted():
    weight, frozen = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = MomentumSGD([weight, frozen], lr=torch.tensor(0.5))
    weight.grad = torch.ones(1)
    optimizer.step()
    assert (weight.item(), frozen.item()) == (0.5, 1.0)


def test_a_closure_is_called_with_gradients_and_a_group_without_any_stays():
    weight, frozen = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    optimizer = MomentumSGD([{"params": [weight]}, {"params": [frozen]}], lr=0.5)

    def closure():
        loss = (3 * weight).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 3
    assert (weight.item(), frozen.item()) == (-0.5, 1.0)
