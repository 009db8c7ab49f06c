"""Confusion matrix, IoU and accuracy of a semantic segmentation, as counts of pixels until the last moment.

Shapes: K number of classes. "..." means any shape, the same for prediction and label.
"""

import numpy as np


def joint_histogram(pred: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    """Counts how often each pair of label and prediction occurs, in one pass over the pixels.

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


def class_areas(
    pred: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int = 255
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts each class's intersection, prediction and label area: PaddleSeg's `calculate_area`, from one histogram.

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


def confusion_matrix(pred: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    """Counts pixels by true and predicted class.

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


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Computes the intersection over union of each class.

    Args:
        confusion: int [K, K], rows are labels.

    Returns:
        float64 [K] in [0, 1]; NaN where a class occurs neither in the labels nor in the predictions.
    """
    confusion = _square(confusion)
    hits = np.diagonal(confusion)
    return nan_ratio(hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def mean_iou(confusion: np.ndarray) -> float:
    """Averages the IoU over the classes that occur in the labels or in the predictions of the dataset.

    This is mmsegmentation's convention (nanmean). PaddleSeg's `mean_iou` counts an absent class as 0 and divides by K;
    the two agree whenever every class occurs.

    Returns:
        float in [0, 1]; NaN if no pixel was counted.
    """
    return nan_mean(class_iou(confusion))


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Computes the share of each class's true pixels that were found (its recall).

    mmsegmentation's "Acc" and PaddleSeg's "Class Recall"; PaddleSeg's "Acc" is the pixel accuracy.

    Returns:
        float64 [K] in [0, 1]; NaN where a class does not occur in the labels.
    """
    confusion = _square(confusion)
    return nan_ratio(np.diagonal(confusion), confusion.sum(axis=1))


def mean_accuracy(confusion: np.ndarray) -> float:
    """Averages `class_accuracy` over the classes that occur in the labels (mmsegmentation's mAcc).

    Returns:
        float in [0, 1]; NaN if no pixel was counted.
    """
    return nan_mean(class_accuracy(confusion))


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Computes the share of all counted pixels that are right: float in [0, 1], NaN if no pixel was counted."""
    confusion = _square(confusion)
    return float(nan_ratio(np.trace(confusion), confusion.sum()))


def nan_ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divides element by element; NaN where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def nan_mean(values: np.ndarray) -> float:
    """Averages what is not NaN; NaN if nothing is."""
    return float(np.mean(values[~np.isnan(values)])) if not np.all(np.isnan(values)) else float("nan")


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
