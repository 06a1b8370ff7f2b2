"""Cells of a probability map, numbered: the segmentation that the challenge scores with V_Rand and V_Info.

The map is cut at one threshold, the 4-connected components of each slice are its cells, and the membrane
between them is thinned to lines of one pixel. Slices are independent, as in the paper: nothing links the
cells of neighbouring slices.
"""

import numpy as np
import numpy.typing as npt

from unet_paper.errors import InputError
from unet_paper.metrics._common import THRESHOLDS, unit_interval
from unet_paper.metrics._proposal import Proposal


def segment(probability: npt.ArrayLike, *, threshold: float) -> npt.NDArray[np.unsignedinteger]:
    """Number the cells of a cell-probability map, slice by slice.

    Parameters
    ----------
    probability : array_like, shape (Z, H, W) or (H, W)
        Probability of cell: float in [0, 1], bool, or uint8, which counts as value / 255; in float32, to which
        float64 is rounded first, as the challenge's program has it.
    threshold : float
        A pixel belongs to a cell if its probability is above this value, from 0 to 1, where 1 stands for the
        challenge's last threshold, just below it.

    Returns
    -------
    ndarray of uint16, or uint32 where a slice has more than 65,535 cells, shape of `probability`
        0 is membrane; the cells of each slice are numbered from 1.

    Raises
    ------
    InputError
        If the map is empty or of another shape, a probability lies outside [0, 1], a uint8 map holds only
        0 and 1, or the threshold is outside its range.

    Notes
    -----
    A slice without any pixel above the threshold is one cell, since the thinning leaves no membrane: the
    challenge scores it so.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    >>> segment([[0.9, 0.1, 0.3, 0.2, 0.8], [0.9, 0.1, 0.1, 0.2, 0.6]], threshold=0.5)
    array([[1, 1, 0, 2, 2],
           [1, 1, 0, 2, 2]], dtype=uint16)
    """
    probability = np.asarray(probability)
    if probability.ndim not in (2, 3) or probability.size == 0:
        raise InputError(f"probability must be a non-empty (H, W) or (Z, H, W), not of shape {probability.shape}")
    if threshold is None or not 0 <= threshold <= 1:
        raise InputError(f"the threshold is {threshold}; it must be from 0 to 1")
    threshold = min(threshold, THRESHOLDS[-1])
    planes = unit_interval(probability).reshape(-1, *probability.shape[-2:])
    labels = np.stack([Proposal(None, plane, threshold).thinned_segments for plane in planes])
    dtype = np.promote_types(np.uint16, np.min_scalar_type(labels.max()))
    return labels.astype(dtype).reshape(probability.shape)
