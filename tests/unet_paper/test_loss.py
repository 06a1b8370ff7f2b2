"""The loss against its closed form and against writing Equation 1 out."""

import math

import numpy as np
import pytest
import torch

from unet_paper.errors import InputError
from unet_paper.loss import weighted_cross_entropy


def test_closed_form_for_two_pixels():
    # p = softmax(0, ln 3) = (1/4, 3/4)
    logits = torch.tensor([0.0, math.log(3.0)]).view(1, 2, 1, 1).expand(1, 2, 1, 2)
    loss = weighted_cross_entropy(logits, torch.tensor([[[0, 1]]]), torch.tensor([[[2.0, 6.0]]]))
    expected = (2 * math.log(4) + 6 * math.log(4 / 3)) / 8
    assert abs(loss.item() - expected) < 1e-6


def test_equal_to_equation_1_written_out():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 4, 5, 6)) * 5
    labels = rng.integers(0, 4, (3, 5, 6))
    weights = rng.uniform(0, 10, (3, 5, 6))
    energy = 0.0
    for n, y, x in np.ndindex(labels.shape):
        p = np.exp(a[n, :, y, x]) / np.exp(a[n, :, y, x]).sum()
        energy -= weights[n, y, x] * np.log(p[labels[n, y, x]])
    loss = weighted_cross_entropy(torch.tensor(a), torch.tensor(labels), torch.tensor(weights))
    assert abs(loss.item() - energy / weights.sum()) < 1e-5


def test_only_the_ratio_of_weights_matters_and_weight_zero_is_ignored():
    torch.manual_seed(0)
    logits, labels = torch.randn(1, 2, 4, 4), torch.randint(0, 2, (1, 4, 4))
    weights = torch.rand(1, 4, 4)
    weights[0, 0] = 0
    loss = weighted_cross_entropy(logits, labels, weights)
    torch.testing.assert_close(weighted_cross_entropy(logits, labels, 7 * weights), loss)
    torch.testing.assert_close(weighted_cross_entropy(logits[:, :, 1:], labels[:, 1:], weights[:, 1:]), loss)


def test_the_gradient_is_weight_times_probability_minus_truth():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    labels, weights = torch.randint(0, 2, (1, 3, 3)), torch.rand(1, 3, 3)
    weighted_cross_entropy(logits, labels, weights).backward()
    truth = torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2)
    expected = weights / weights.sum() * (logits.softmax(1) - truth)
    torch.testing.assert_close(logits.grad, expected)


def test_logits_in_bfloat16_are_computed_on_in_float32():
    torch.manual_seed(0)
    logits = (100 * torch.randn(1, 2, 8, 8)).bfloat16()
    labels, weights = torch.randint(0, 2, (1, 8, 8)), torch.rand(1, 8, 8)
    loss = weighted_cross_entropy(logits, labels, weights)
    assert loss.dtype == torch.float32
    assert loss == weighted_cross_entropy(logits.float(), labels, weights)


def test_weights_in_float16_are_summed_in_float32():
    logits, labels = torch.zeros(1, 2, 388, 388, requires_grad=True), torch.zeros(1, 388, 388, dtype=torch.int64)
    loss = weighted_cross_entropy(logits, labels, torch.ones(1, 388, 388, dtype=torch.float16))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad.abs().max() > 0


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (4, 5), (3, 1, 1)])
def test_weights_that_would_be_repeated_are_refused(shape):
    with pytest.raises(InputError, match=r"labels \(3, 4, 5\); both must be"):
        weighted_cross_entropy(torch.zeros(3, 2, 4, 5), torch.zeros(3, 4, 5, dtype=torch.int64), torch.ones(shape))
