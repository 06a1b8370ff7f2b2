"""Border thinning: the membrane of a proposal shrinks to lines one pixel wide (Arganda-Carreras et al. 2015).

A binary watershed, not a skeleton: the cells grow into the membrane in the order of a queue, and a
pixel where two cells meet becomes line. The order decides who gets a pixel, so it is part of the
definition. Applied to the proposal only, before V_Rand and V_Info.
"""

import numpy as np

from unet_paper.compiled import compiled


def thin_borders(segments: np.ndarray) -> np.ndarray:
    """Grow the segments of one slice until only one-pixel lines of membrane remain between them.

    Parameters
    ----------
    segments : ndarray of int, shape (H, W)
        4-connected components of the proposal, numbered from 1; 0 is membrane.

    Returns
    -------
    ndarray of int32, shape (H, W)
        The grown segments; 0 is line. Without any segment the whole slice is segment 1.

    Notes
    -----
    The queue starts with the membrane pixels that have a 4-neighbour in a segment, column by column. A
    pixel taken from it appends its untouched neighbours (left, up, right, down) and then takes the label
    of its labelled neighbours if these agree; it stays 0, a line, if there is none or more than one.

    References
    ----------
    I. Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, Frontiers in Neuroanatomy 9:142, 2015, doi:10.3389/fnana.2015.00142.

    Examples
    --------
    >>> import numpy as np
    >>> thin_borders(np.array([[1, 0, 0, 0, 2], [1, 0, 0, 0, 2]]))
    array([[1, 1, 0, 2, 2],
           [1, 1, 0, 2, 2]], dtype=int32)
    """
    if not segments.any():
        return np.ones(segments.shape, np.int32)
    grown = np.pad(np.ascontiguousarray(segments, np.int32), 1)  # _grow works on its flat view
    queued = np.ones(grown.shape, bool)  # nothing outside the slice is ever appended
    queued[1:-1, 1:-1] = False
    _grow(grown, queued, np.empty(segments.size, np.int64))
    return grown[1:-1, 1:-1]


@compiled
def _grow(grown, queued, queue):
    height, width = grown.shape
    labels, seen = grown.ravel(), queued.ravel()
    steps = (-1, -width, 1, width)  # left, up, right, down
    appended = 0
    for x in range(1, width - 1):
        for y in range(1, height - 1):
            pixel = y * width + x
            if labels[pixel] == 0:
                for step in steps:
                    if labels[pixel + step] > 0:
                        seen[pixel] = True
                        queue[appended] = pixel
                        appended += 1
                        break
    taken = 0
    while taken < appended:
        pixel = queue[taken]
        taken += 1
        label = 0  # -1 once two segments have met
        for step in steps:
            neighbour = pixel + step
            other = labels[neighbour]
            if other > 0:
                label = other if label == 0 or label == other else -1
            elif not seen[neighbour]:
                seen[neighbour] = True
                queue[appended] = neighbour
                appended += 1
        labels[pixel] = max(label, 0)
