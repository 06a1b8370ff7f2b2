"""Stochastic gradient descent with momentum in the form of Caffe, which the paper used (section 3, S21).

The learning rate is part of the velocity: ``v = momentum * v + rate * gradient; w = w - v``. In PyTorch's
form it multiplies the velocity, so that what was gathered at a low rate is used at the later, higher one.
The two agree only while the rate is constant.
"""

from collections.abc import Callable, Iterable

import torch


class MomentumSGD(torch.optim.Optimizer):
    """Momentum as in Caffe.

    Parameters
    ----------
    params : iterable of Parameter or of dict
    lr : float or Tensor
        Learning rate; a tensor without dimensions lets it change between replays of a CUDA graph.
    momentum : float
    weight_decay : float
        Factor of the weights that is added to their gradient.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), section 3, doi:10.1007/978-3-319-24574-4_28. Jia et al. (2014),
    Caffe, doi:10.1145/2647868.2654889.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
    >>> optimizer = MomentumSGD([weight], lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     weight.grad = torch.tensor([1.0])
    ...     optimizer.step()
    ...     print(weight.item(), optimizer.state[weight]["velocity"].item())
    0.5 0.5
    -0.25 0.75
    """

    def __init__(
        self, params: Iterable, lr: float | torch.Tensor, momentum: float = 0.99, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> object:
        """Update the parameters that have a gradient; returns what `closure`, if given, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if not weights:
                continue
            for w in weights:
                if not self.state[w]:
                    self.state[w]["velocity"] = torch.zeros_like(w)
            gradients = [w.grad for w in weights]
            velocities = [self.state[w]["velocity"] for w in weights]
            if group["weight_decay"]:
                gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, torch._foreach_mul(gradients, group["lr"]))
            torch._foreach_sub_(weights, velocities)
        return loss
