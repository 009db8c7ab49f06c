"""Slow NumPy references of a Mask R-CNN's parts, written from the definitions and not from the package's code."""

import math

import numpy as np


def iou(a, b):
    """Intersection over union of two boxes x1 y1 x2 y2."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def nms(boxes, scores, groups, threshold):
    """Places of the boxes kept, best first; of equal scores the first one."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(groups[i] != groups[j] or iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def roi_align(features, box, size, stride, sampling_ratio):
    """One box [4] of one map [C, H, W]: [C, size, size]; each cell is the mean of a grid of bilinear samples."""
    x1, y1, x2, y2 = (value / stride - 0.5 for value in box)
    cell_width, cell_height = (x2 - x1) / size, (y2 - y1) / size
    columns, rows = (sampling_ratio or math.ceil(cell) for cell in (cell_width, cell_height))
    out = np.zeros((len(features), size, size))
    for i in range(size):
        for j in range(size):
            samples = [
                _sample(
                    features, x1 + (j + (m + 0.5) / columns) * cell_width, y1 + (i + (k + 0.5) / rows) * cell_height
                )
                for k in range(rows)
                for m in range(columns)
            ]
            if samples:
                out[:, i, j] = np.mean(samples, axis=0)
    return out


def _sample(features, x, y):
    """Bilinear at pixel coordinates; the border goes on for one pixel, further outside lie zeros."""
    height, width = features.shape[1:]
    if not (-1 <= x <= width and -1 <= y <= height):
        return np.zeros(len(features))
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    upper = features[:, top, left] * (1 - x + left) + features[:, top, right] * (x - left)
    lower = features[:, bottom, left] * (1 - x + left) + features[:, bottom, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


def match(ious, low, high, low_quality):
    """(match, label) of every column of ious [M, N]: 1 from `high` on, 0 below `low`, else -1."""
    results = []
    for j in range(ious.shape[1]):
        best = max(range(len(ious)), key=lambda i: (ious[i, j], -i))
        label = 1 if ious[best, j] >= high else 0 if ious[best, j] < low else -1
        if low_quality and any(ious[i, j] == ious[i].max() for i in range(len(ious))):
            label = 1
        results.append((best, label))
    return results


def decode(delta, reference, weights):
    """The box that a delta leads to."""
    width, height = reference[2] - reference[0], reference[3] - reference[1]
    x = reference[0] + width / 2 + delta[0] / weights[0] * width
    y = reference[1] + height / 2 + delta[1] / weights[1] * height
    width *= math.exp(min(delta[2] / weights[2], math.log(1000 / 16)))
    height *= math.exp(min(delta[3] / weights[3], math.log(1000 / 16)))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def binary_cross_entropy(logits, targets):
    """Of each logit, float64."""
    logits = np.asarray(logits, np.float64)
    return np.logaddexp(0, logits) - logits * targets
