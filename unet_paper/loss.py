"""The energy of Equation 1: pixel-wise softmax and cross entropy, weighted by the weight map.

The paper prints E = sum w(x) log p_l(x)(x); the sign that makes it an energy to minimise is added,
and the sum is divided by the sum of the weights (S3).
"""

import torch
import torch.nn.functional as F

from unet_paper.errors import InputError


def weighted_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the pixel-wise softmax cross entropy.

    Parameters
    ----------
    logits : Tensor, float, (N, C, H, W)
        Activations a_k(x) of the last layer; computed on in float32.
    labels : Tensor, int64, (N, H, W)
        True class l(x) of every pixel.
    weights : Tensor, float, (N, H, W)
        Weight map w(x); its sum must be positive. Computed on in float32.

    Returns
    -------
    Tensor, float32, ()
        ``sum_x w(x) (-log p_{l(x)}(x)) / sum_x w(x)``, in nats.

    Raises
    ------
    InputError
        If labels and weights differ in shape.

    References
    ----------
    Ronneberger, Fischer, Brox (2015), section 3, Equation 1, doi:10.1007/978-3-319-24574-4_28.

    Examples
    --------
    Equal activations for two classes cost log 2 at every pixel, whatever the weights:

    >>> labels = torch.tensor([[[0, 1]]])
    >>> weights = torch.tensor([[[1.0, 5.0]]])
    >>> round(float(weighted_cross_entropy(torch.zeros(1, 2, 1, 2), labels, weights)), 6)
    0.693147
    """
    if weights.shape != labels.shape:
        raise InputError(f"weights are {tuple(weights.shape)} and labels {tuple(labels.shape)}; both must be (N, H, W)")
    weights = weights.float()  # in float16 a tile's sum is infinite
    cost = F.cross_entropy(logits.float(), labels, reduction="none")  # (N, H, W)
    return (weights * cost).sum() / weights.sum()
