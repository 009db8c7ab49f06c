"""Segmentation measures from counts: confusion matrix, IoU, accuracy and boundary IoU.

Everything is kept as int64 counts until the last moment, so that a dataset can be measured image by image, by several
processes, in any order, with the same result to the last bit.

Shapes: H, W image size; K number of classes. "..." means any shape, the same for prediction and label.
"""

import cv2
import numpy as np


def joint_histogram(pred, label, num_classes, ignore_index=255):
    """How often each pair of label and prediction occurs, with one pass over the pixels.

    Args:
        pred: integers [...], predicted classes. Values outside [0, K) are counted in the last column.
        label: integers [...], true classes. Values outside [0, K) are counted in the last row.
        num_classes: K.
        ignore_index: pixels with this label are left out, whatever was predicted there. May lie in [0, K).

    Returns:
        int64 [K+1, K+1]; rows are labels, columns are predictions.

    Raises:
        TypeError: pred or label does not hold integers.
        ValueError: pred and label differ in shape, or num_classes < 1.
    """
    pred, label = _integer_pair(pred, label, num_classes)
    size = num_classes + 1
    # The ignored pixels get a row of their own that is cut off afterwards: cheaper than compressing both arrays.
    row = np.where(label == ignore_index, size, _clip_to_outside(label, num_classes))
    counts = np.bincount((row * size + _clip_to_outside(pred, num_classes)).ravel(), minlength=(size + 1) * size)
    return counts.reshape(size + 1, size)[:size]


def class_areas(pred, label, num_classes, ignore_index=255):
    """Intersection, prediction and label area of each class: PaddleSeg's `calculate_area`, from one histogram.

    Equal to `paddleseg.utils.metrics.calculate_area` in every case, two odd ones included: a pixel whose label lies
    outside [0, K) but is not ignored counts in the prediction's area, and an `ignore_index` inside [0, K) counts in
    the label area of that class (and nowhere else).

    Args:
        pred, label, num_classes, ignore_index: as in `joint_histogram`.

    Returns:
        (intersection, prediction area, label area), each int64 [K], in pixels.
    """
    histogram = joint_histogram(pred, label, num_classes, ignore_index)
    label_area = histogram[:-1].sum(axis=1)
    if 0 <= ignore_index < num_classes:
        label_area[ignore_index] = np.size(label) - histogram.sum()
    return np.diagonal(histogram)[:-1].copy(), histogram[:, :-1].sum(axis=0), label_area


def confusion_matrix(pred, label, num_classes, ignore_index=255):
    """Pixel counts by true and predicted class.

    Args:
        pred: integers [...] in [0, K), except where the label is ignored: there anything may stand.
        label: integers [...] in [0, K) or ignore_index.
        num_classes: K.
        ignore_index: pixels with this label are left out.

    Returns:
        int64 [K, K]; rows are labels, columns are predictions.

    Raises:
        TypeError: pred or label does not hold integers.
        ValueError: a value outside its range (the message names it), or different shapes.
    """
    histogram = joint_histogram(pred, label, num_classes, ignore_index)
    outside_labels, outside_preds = histogram[-1].sum(), histogram[:, -1].sum()
    if outside_labels or outside_preds:
        pred, label = np.asarray(pred), np.asarray(label)
        name, values, count = "label", label[label != ignore_index], outside_labels
        if not outside_labels:
            name, values, count = "prediction", pred[label != ignore_index], outside_preds
        found = np.unique(values[(values < 0) | (values >= num_classes)])
        shown = ", ".join(str(value) for value in found[:8]) + (", ..." if found.size > 8 else "")
        raise ValueError(
            f"{name} holds {shown} ({count} pixels), expected values in [0, {num_classes})"
            + (f" or ignore_index={ignore_index}" if name == "label" else "")
            + ": check num_classes, ignore_index and the label files"
        )
    return histogram[:-1, :-1].copy()


def class_iou(confusion):
    """Intersection over union of each class.

    Args:
        confusion: int [K, K], rows are labels.

    Returns:
        float64 [K] in [0, 1]; NaN where a class occurs neither in the labels nor in the predictions.
    """
    confusion = _square(confusion)
    hits = np.diagonal(confusion)
    return _ratio(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def mean_iou(confusion):
    """Mean IoU over the classes that occur in the labels or in the predictions of the dataset.

    This is mmsegmentation's convention (nanmean). PaddleSeg's `mean_iou` counts an absent class as 0 and divides by K;
    the two agree whenever every class occurs.

    Returns:
        float in [0, 1]; NaN if no pixel was counted.
    """
    return _nanmean(class_iou(confusion))


def class_accuracy(confusion):
    """Share of each class's true pixels that were found (its recall).

    mmsegmentation's "Acc" and PaddleSeg's "Class Recall"; PaddleSeg's "Acc" is the pixel accuracy.

    Returns:
        float64 [K] in [0, 1]; NaN where a class does not occur in the labels.
    """
    confusion = _square(confusion)
    return _ratio(np.diagonal(confusion), confusion.sum(axis=1))


def mean_accuracy(confusion):
    """Mean of `class_accuracy` over the classes that occur in the labels (mmsegmentation's mAcc).

    Returns:
        float in [0, 1]; NaN if no pixel was counted.
    """
    return _nanmean(class_accuracy(confusion))


def pixel_accuracy(confusion):
    """Share of all counted pixels that are right: float in [0, 1], NaN if no pixel was counted."""
    confusion = _square(confusion)
    return float(_ratio(np.trace(confusion), confusion.sum()))


def boundary_width(height, width, dilation_ratio=0.02):
    """The boundary's width d in pixels: dilation_ratio of the image diagonal, rounded, at least 1."""
    if not dilation_ratio > 0:
        raise ValueError(f"dilation_ratio is {dilation_ratio}, expected a number > 0 (the paper takes 0.02)")
    return max(1, round(dilation_ratio * float(np.hypot(height, width))))


def boundary_areas(pred, label, num_classes, ignore_index=255, dilation_ratio=0.02):
    """Intersection and union of each class's boundary regions, the two counts that boundary IoU divides.

    A class's boundary region is the part of its mask within d pixels (chessboard distance) of the mask's outline, the
    image border included, inside the mask only: the authors' `mask_to_boundary`. Ignored pixels are taken out of both
    masks first and are never counted; so next to an ignored area both masks end on the same line.
    Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", section 4.

    Args:
        pred: integers [H, W] in [0, K), anything where the label is ignored.
        label: integers [H, W] in [0, K) or ignore_index.
        num_classes: K.
        ignore_index: pixels with this label are left out.
        dilation_ratio: d as a share of the image diagonal.

    Returns:
        (intersection, union), each int64 [K], in pixels.

    Raises:
        ValueError: not [H, W], or values outside their range.
    """
    confusion_matrix(pred, label, num_classes, ignore_index)
    return _boundary_areas(np.asarray(pred), np.asarray(label), num_classes, ignore_index, dilation_ratio)


def _boundary_areas(pred, label, num_classes, ignore_index, dilation_ratio):
    if label.ndim != 2:
        raise ValueError(f"prediction and label have shape {label.shape}, expected [H, W]: pass one image at a time")
    if label.size == 0:
        return np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    dtype = np.uint8 if num_classes < 255 else np.uint16
    ignored = label == ignore_index
    label, pred = label.astype(dtype), pred.astype(dtype)
    label[ignored] = num_classes
    pred[ignored] = num_classes

    distance = boundary_width(*label.shape, dilation_ratio)
    in_label = _near_other_class(label, distance, num_classes)
    in_pred = _near_other_class(pred, distance, num_classes)
    bins = num_classes + 1
    label_area = np.bincount(label[in_label], minlength=bins)[:num_classes]
    pred_area = np.bincount(pred[in_pred], minlength=bins)[:num_classes]
    both = np.bincount(label[in_label & in_pred & (label == pred)], minlength=bins)[:num_classes]
    return both, label_area + pred_area - both


def _near_other_class(classes, distance, outside):
    """bool [H, W]: a pixel of another class, or the image border, lies within `distance` (chessboard).

    The masks of all classes tile the image, so one look at the label map answers for all of them: instead of d
    erosions of K masks, a 3x3 minimum and maximum find the pixels at distance 1, and those within d - 1 of such a
    pixel are the ones at distance d. A box sum does the latter in time that does not depend on d.
    """
    padded = cv2.copyMakeBorder(classes, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=outside)
    kernel = np.ones((3, 3), np.uint8)
    edges = (cv2.erode(padded, kernel) != cv2.dilate(padded, kernel))[1:-1, 1:-1].astype(np.uint8)
    if distance == 1:
        return edges.astype(bool)
    side = 2 * distance - 1
    near = cv2.boxFilter(edges, cv2.CV_32S, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return near > 0


class SegmentationMetrics:
    """All measures of a dataset, image by image; what several processes counted can be added up.

    `summary()` gives numbers in [0, 1]; see `mean_iou` for what the means run over.
    """

    def __init__(self, num_classes, ignore_index=255, dilation_ratio=0.02):
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.dilation_ratio = dilation_ratio
        self._counts = {
            "confusion": np.zeros((num_classes, num_classes), np.int64),
            "boundary_intersection": np.zeros(num_classes, np.int64),
            "boundary_union": np.zeros(num_classes, np.int64),
        }

    def update(self, pred, label):
        """Counts one image: integers [H, W] each. Raises as `confusion_matrix` does, and then counts nothing."""
        confusion = confusion_matrix(pred, label, self.num_classes, self.ignore_index)
        intersection, union = _boundary_areas(
            np.asarray(pred), np.asarray(label), self.num_classes, self.ignore_index, self.dilation_ratio
        )
        self._counts["confusion"] += confusion
        self._counts["boundary_intersection"] += intersection
        self._counts["boundary_union"] += union

    def merge(self, other):
        """Adds what `other` has counted; both must have been made with the same settings."""
        for name in ("num_classes", "ignore_index", "dilation_ratio"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise ValueError(f"cannot merge metrics: {name} is {mine} here and {theirs} there")
        for name, count in other.state().items():
            self._counts[name] += count

    def state(self):
        """The counts, as a dict of int64 arrays (copies). States of several processes may be summed key by key."""
        return {name: count.copy() for name, count in self._counts.items()}

    def load_state(self, state):
        """Replaces the counts by `state` (see `state`). Raises ValueError if a key is missing or a shape differs."""
        expected = {name: count.shape for name, count in self._counts.items()}
        found = {name: np.shape(count) for name, count in state.items()}
        if found != expected:
            raise ValueError(f"state has {found}, expected {expected}: was it made with another num_classes?")
        self._counts = {name: np.array(count, np.int64) for name, count in state.items()}

    def summary(self):
        """The measures, ready for JSON: floats in [0, 1], None where there is nothing to measure.

        Returns:
            dict with "miou", "macc", "acc" (pixel accuracy), "boundary_iou", and the lists of length K "class_iou",
            "class_acc", "class_boundary_iou".
        """
        confusion = self._counts["confusion"]
        boundary = _ratio(self._counts["boundary_intersection"], self._counts["boundary_union"])
        return {
            "miou": _or_none(mean_iou(confusion)),
            "macc": _or_none(mean_accuracy(confusion)),
            "acc": _or_none(pixel_accuracy(confusion)),
            "boundary_iou": _or_none(_nanmean(boundary)),
            "class_iou": [_or_none(value) for value in class_iou(confusion)],
            "class_acc": [_or_none(value) for value in class_accuracy(confusion)],
            "class_boundary_iou": [_or_none(value) for value in boundary],
        }


def summary_rows(summaries, class_names=None):
    """The rows that both the text table and the report show.

    Args:
        summaries: dict from a prediction's name to what `SegmentationMetrics.summary` returned.
        class_names: K names, or None for "class 0", "class 1", ...

    Returns:
        list of (row name, [value or None for each prediction]), values in [0, 1]: the four means, then IoU and
        boundary IoU of each class.
    """
    if not summaries:
        raise ValueError("no summaries given: pass at least one, e.g. {'refined': metrics.summary()}")
    parts = list(summaries.values())
    counts = sorted({len(part["class_iou"]) for part in parts})
    if len(counts) > 1:
        raise ValueError(f"the summaries have {counts} classes, expected the same number in each")
    names = [f"class {i}" for i in range(counts[0])] if class_names is None else list(class_names)
    if len(names) != counts[0]:
        raise ValueError(f"class_names has {len(names)} names, the summaries have {counts[0]} classes")
    means = [("mIoU", "miou"), ("mAcc", "macc"), ("pixel accuracy", "acc"), ("boundary IoU", "boundary_iou")]
    rows = [(title, [part[key] for part in parts]) for title, key in means]
    for title, key in (("IoU", "class_iou"), ("boundary IoU", "class_boundary_iou")):
        rows += [(f"{title}: {name}", [part[key][i] for part in parts]) for i, name in enumerate(names)]
    return rows


def comparison_table(summaries, class_names=None):
    """A plain-text table in percent: a column for each prediction, and with two of them the second minus the first.

    Args:
        summaries, class_names: as in `summary_rows`.

    Returns:
        str of several lines without a trailing newline; "-" where there is nothing to measure.
    """
    cells = [["", *summaries] + (["difference"] if len(summaries) == 2 else [])]
    for title, values in summary_rows(summaries, class_names):
        row = [title] + ["-" if value is None else f"{100 * value:.2f}" for value in values]
        if len(values) == 2:
            row.append("-" if None in values else f"{100 * (values[1] - values[0]):+.2f}")
        cells.append(row)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])])
        for row in cells
    ]
    rule = "-" * len(lines[0])
    # The four means come first; a rule sets them apart from the classes.
    return "\n".join([lines[0], rule, *lines[1:5], rule, *lines[5:]])


def _integer_pair(pred, label, num_classes):
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}, expected at least 1")
    pred, label = np.asarray(pred), np.asarray(label)
    for name, array in (("prediction", pred), ("label", label)):
        if array.dtype.kind not in "iub":
            raise TypeError(f"{name} has dtype {array.dtype}, expected integers: apply argmax or astype first")
    if pred.shape != label.shape:
        raise ValueError(f"prediction has shape {pred.shape}, label has {label.shape}, expected the same")
    return pred, label


def _clip_to_outside(values, num_classes):
    # Read as unsigned, a negative number is a huge one, so that one minimum catches both sides.
    return np.minimum(values.astype(np.int64).view(np.uint64), np.uint64(num_classes)).view(np.int64)


def _square(confusion):
    confusion = np.asarray(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise ValueError(f"confusion matrix has shape {confusion.shape}, expected [K, K]")
    return confusion


def _ratio(part, whole):
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _nanmean(values):
    return float(np.mean(values[~np.isnan(values)])) if not np.all(np.isnan(values)) else float("nan")


def _or_none(value):
    return None if np.isnan(value) else float(value)
