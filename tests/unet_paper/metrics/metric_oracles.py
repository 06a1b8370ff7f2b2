"""The definitions of the metrics as plain loops over pixels: slow, obvious, for tiny images only."""

import math
from collections import Counter, deque

import numpy as np

SIDES = ((0, -1), (-1, 0), (0, 1), (1, 0))  # left, up, right, down as (y, x)
EIGHT = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))
RADIUS = 20


def pixels(image):
    """All (y, x), column by column."""
    return [(y, x) for x in range(image.shape[1]) for y in range(image.shape[0])]


def around(image, y, x, steps):
    """Neighbours inside the image."""
    height, width = image.shape
    return [(y + dy, x + dx) for dy, dx in steps if 0 <= y + dy < height and 0 <= x + dx < width]


def components(foreground, steps=SIDES):
    """Connected components by flood fill, numbered from 1."""
    labels, number = np.zeros(foreground.shape, int), 0
    for start in pixels(foreground):
        if foreground[start] and labels[start] == 0:
            number += 1
            labels[start] = number
            todo = [start]
            while todo:
                for neighbour in around(foreground, *todo.pop(), steps):
                    if foreground[neighbour] and labels[neighbour] == 0:
                        labels[neighbour] = number
                        todo.append(neighbour)
    return labels


def thin(segments):
    """Border thinning, one pixel of the queue after another."""
    if not segments.any():
        return np.ones_like(segments)
    grown = segments.copy()
    queue = deque(p for p in pixels(grown) if grown[p] == 0 and any(segments[q] for q in around(grown, *p, SIDES)))
    queued = set(queue)
    while queue:
        pixel = queue.popleft()
        neighbours = around(grown, *pixel, SIDES)
        for neighbour in neighbours:
            if grown[neighbour] == 0 and neighbour not in queued:
                queued.add(neighbour)
                queue.append(neighbour)
        labels = {int(grown[neighbour]) for neighbour in neighbours} - {0}
        if len(labels) == 1:
            grown[pixel] = labels.pop()
    return grown


def pairs(cells, segments):
    """TP, FP, FN over all ordered pairs of pixels inside ground-truth cells, each with itself as well."""
    inside = [p for p in pixels(cells) if cells[p] > 0]
    counts = Counter()
    for p in inside:
        for q in inside:
            one_segment = p == q or (segments[p] == segments[q] and segments[p] > 0)
            counts[bool(cells[p] == cells[q]), one_segment] += 1
    return counts[True, True], counts[False, True], counts[True, False]


def rand_f_score(tp, fp, fn):
    """F-score of the pairs; 0 without a cell."""
    return 2 * tp / (2 * tp + fp + fn) if tp + fn else 0.0


def information(cells, segments):
    """H(T), H(S), H(T, S) with every membrane pixel of the proposal a segment of its own."""
    inside = [p for p in pixels(cells) if cells[p] > 0]
    truth = [int(cells[p]) for p in inside]
    proposal = [int(segments[p]) if segments[p] else p for p in inside]

    def entropy(values):
        return -sum(n / len(inside) * math.log(n / len(inside)) for n in Counter(values).values())

    return entropy(truth), entropy(proposal), entropy(list(zip(truth, proposal)))


def information_f_score(truth, proposal, joint):
    """F-score of the mutual information, 0 where an entropy vanishes."""
    if truth < 1e-9 or proposal < 1e-9:
        return 0.0
    return 2 * (truth + proposal - joint) / (truth + proposal)


def is_simple(patch):
    """Does flipping the centre of a 3 x 3 patch preserve topology (4-connected cells, 8-connected membrane)?"""
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    foreground = components(patch & ring)
    touching = {int(foreground[p]) for p in ((0, 1), (1, 0), (1, 2), (2, 1))} - {0}
    return len(touching) == 1 and components(~patch & ring, EIGHT).max() == 1


def warp(truth, probability, threshold):
    """The warped ground truth and the pixels that still differ from the proposal."""
    warped = np.pad(truth, 1)
    proposal = np.pad(probability.astype(np.float64) > threshold, 1)
    before = None
    while True:
        mismatches = [p for p in pixels(warped) if warped[p] != proposal[p]]
        if len(mismatches) in (0, before):
            return warped[1:-1, 1:-1], [(y - 1, x - 1) for y, x in mismatches]
        before = len(mismatches)

        def distance(pixel):
            return np.float32(abs(float(probability[pixel[0] - 1, pixel[1] - 1]) - threshold))

        for y, x in sorted(mismatches, key=distance, reverse=True):  # stable
            if is_simple(warped[y - 1 : y + 2, x - 1 : x + 2]):
                warped[y, x] = not warped[y, x]


def mismatch_type(warped, y, x):
    """Row of the mismatch table for one pixel."""
    labels = components(warped)
    ids = {int(labels[p]) for p in around(labels, y, x, EIGHT)}
    is_cell = bool(warped[y, x])
    if len(ids) > 2:
        return "split" if is_cell else "merge"
    if ids <= {0}:
        return "object deletion" if is_cell else "object addition"
    if len(ids) == 1:
        return "hole addition" if is_cell else "hole deletion"
    if not is_cell:
        return "hole addition"
    padded, y, x = np.pad(warped, RADIUS), y + RADIUS, x + RADIUS
    reach = max(warped.shape) + RADIUS if min(warped.shape) < RADIUS else RADIUS  # a small image is taken whole
    top, left = max(y - reach, 0), max(x - reach, 0)
    window, y, x = padded[top : y + reach + 1, left : x + reach + 1].copy(), y - top, x - left
    window[y, x] = False
    labels = components(window)
    return "split" if len({int(labels[p]) for p in around(labels, y, x, EIGHT)}) > 2 else "hole deletion"
