"""Slow NumPy references, written from the definitions and not from the package's code."""

import itertools

import numpy as np


def scatter(x, index, updates, axis):
    out = x.copy()
    for position in itertools.product(*map(range, index.shape)):
        target = list(position)
        target[axis] = index[position]
        out[tuple(target)] = updates[position]
    return out


def point_sample(features, coords, mode="bilinear"):
    """[N, C, H, W] at (x, y) in [0, 1], pixel centres at (i + 0.5) / size, zero outside; no nearest ties."""
    num_images, channels, height, width = features.shape
    out = np.zeros((num_images, channels, coords.shape[1]))
    for n, p in itertools.product(range(num_images), range(coords.shape[1])):
        column, row = coords[n, p, 0] * width, coords[n, p, 1] * height
        if mode == "nearest":
            weighted = [(int(np.floor(row)), int(np.floor(column)), 1.0)]
        else:
            left, top = int(np.floor(column - 0.5)), int(np.floor(row - 0.5))
            right_share, bottom_share = column - 0.5 - left, row - 0.5 - top
            weighted = [
                (top, left, (1 - bottom_share) * (1 - right_share)),
                (top, left + 1, (1 - bottom_share) * right_share),
                (top + 1, left, bottom_share * (1 - right_share)),
                (top + 1, left + 1, bottom_share * right_share),
            ]
        for i, j, weight in weighted:
            if 0 <= i < height and 0 <= j < width:
                out[n, :, p] += weight * features[n, :, i, j]
    return out


def uncertainty(logits):
    """Second-best minus best over axis 1, which is kept."""
    if logits.shape[1] == 1:
        return -np.abs(logits)
    ordered = np.sort(logits, axis=1)
    return ordered[:, -2:-1] - ordered[:, -1:]


def resize_bilinear(x, size):
    """[N, C, H, W] to [N, C, *size]: pixel centres at (i + 0.5) / size, the border goes on outwards."""
    return _resize_axis(_resize_axis(x, 2, size[0]), 3, size[1])


def _resize_axis(x, axis, new_size):
    size = x.shape[axis]
    source = np.clip((np.arange(new_size) + 0.5) * size / new_size - 0.5, 0, size - 1)
    low = np.floor(source).astype(int)
    high = np.minimum(low + 1, size - 1)
    shape = [1] * x.ndim
    shape[axis] = new_size
    share = (source - low).reshape(shape)
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def resize_nearest(x, size):
    rows = np.arange(size[0]) * x.shape[2] // size[0]
    columns = np.arange(size[1]) * x.shape[3] // size[1]
    return x[:, :, rows][:, :, :, columns]


def convolve(x, weight, bias=None, *, stride=1, dilation=1):
    """Odd kernel, zero padding that keeps size / stride, rounded up."""
    pad = dilation * (weight.shape[2] // 2)
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((x.shape[0], weight.shape[0], -(-height // stride), -(-width // stride)))
    for i, j in itertools.product(range(weight.shape[2]), range(weight.shape[3])):
        rows, columns = i * dilation, j * dilation
        shifted = padded[:, :, rows : rows + height : stride, columns : columns + width : stride]
        out += np.einsum("oc,nchw->nohw", weight[:, :, i, j], shifted)
    return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def transposed_convolve(x, weight):
    """Kernel 4, stride 2, padding 1: each pixel paints weight [in, out, 4, 4] around its 2x2 of a doubled map."""
    num_images, _, height, width = x.shape
    out = np.zeros((num_images, weight.shape[1], 2 * height + 2, 2 * width + 2))
    for row, column in itertools.product(range(height), range(width)):
        painted = np.einsum("nc,coij->noij", x[:, :, row, column], weight)
        out[:, :, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += painted
    return out[:, :, 1:-1, 1:-1]


def max_pool(x, window, stride):
    """Windows of 2 begin at the pixel, windows of 3 lie around it; cut off at the borders, sizes rounded up."""
    height, width = x.shape[2:]
    out = np.zeros((*x.shape[:2], -(-height // stride), -(-width // stride)))
    for i, j in itertools.product(range(out.shape[2]), range(out.shape[3])):
        top, left = i * stride - window // 3, j * stride - window // 3
        cell = x[:, :, max(top, 0) : top + window, max(left, 0) : left + window]
        out[:, :, i, j] = cell.max(axis=(2, 3))
    return out


def point_mlp(fine, coarse, weights, biases, coarse_in_every_layer):
    """[N, C, P] and [N, K, P] through layers of weights [out, in]; ReLU after all but the last."""
    x = np.concatenate([fine, coarse], axis=1)
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        x = np.einsum("oc,ncp->nop", weight, x) + bias.reshape(1, -1, 1)
        if i < len(weights) - 1:
            x = np.maximum(x, 0)
            if coarse_in_every_layer:
                x = np.concatenate([x, coarse], axis=1)
    return x


def subdivide(logits, coarse, fine, num_points, mlp):
    """One step of inference: doubled, the most uncertain pixels predicted again by mlp(fine, coarse)."""
    height, width = 2 * logits.shape[2], 2 * logits.shape[3]
    logits = resize_bilinear(logits, (height, width))
    unsure = uncertainty(logits).reshape(len(logits), -1)
    for n in range(len(logits)):
        for place in np.argsort(-unsure[n])[:num_points]:
            row, column = divmod(int(place), width)
            coords = np.array([[[(column + 0.5) / width, (row + 0.5) / height]]])
            point = mlp(point_sample(fine[n : n + 1], coords), point_sample(coarse[n : n + 1], coords))
            logits[n, :, row, column] = point[0, :, 0]
    return logits


def cross_entropy(logits, targets, weight=None, ignore_index=255):
    """Weighted mean over the targets that are not ignored. logits [M, K], targets [M]."""
    logits = logits.astype(np.float64)
    total = weights = 0.0
    for row, target in zip(logits, targets):
        if target != ignore_index:
            w = 1.0 if weight is None else weight[target]
            total += w * (np.log(np.exp(row - row.max()).sum()) + row.max() - row[target])
            weights += w
    return total / weights


def numeric_gradient(function, x, step=1e-5):
    """Central differences of a scalar function of a float64 array."""
    gradient = np.zeros_like(x)
    for position in itertools.product(*map(range, x.shape)):
        shifted = x.copy()
        shifted[position] += step
        above = function(shifted)
        shifted[position] -= 2 * step
        gradient[position] = (above - function(shifted)) / (2 * step)
    return gradient
