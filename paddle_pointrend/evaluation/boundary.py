"""Boundary IoU: how well a segmentation follows the outlines, from counts of pixels.

Source: Cheng et al. 2021, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation".
Shapes: H, W image size; K number of classes.
"""

import cv2
import numpy as np

from paddle_pointrend.evaluation.confusion import confusion_matrix


def boundary_width(height: int, width: int, dilation_ratio: float = 0.02) -> int:
    """Returns the boundary's width d in pixels: dilation_ratio of the image diagonal, rounded, at least 1."""
    if not dilation_ratio > 0:
        raise ValueError(f"dilation_ratio is {dilation_ratio}, expected a number > 0 (the paper takes 0.02)")
    return max(1, round(dilation_ratio * float(np.hypot(height, width))))


def boundary_areas(
    pred: np.ndarray,
    label: np.ndarray,
    num_classes: int,
    ignore_index: int = 255,
    dilation_ratio: float = 0.02,
) -> tuple[np.ndarray, np.ndarray]:
    """Counts intersection and union of each class's boundary regions, which boundary IoU divides.

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
    return unchecked_boundary_areas(np.asarray(pred), np.asarray(label), num_classes, ignore_index, dilation_ratio)


def unchecked_boundary_areas(
    pred: np.ndarray, label: np.ndarray, num_classes: int, ignore_index: int, dilation_ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Does the work of `boundary_areas` for values that `confusion_matrix` has checked."""
    if label.ndim != 2:
        raise ValueError(f"prediction and label have shape {label.shape}, expected [H, W]: pass one image at a time")
    if label.size == 0:
        return np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    dtype = np.uint8 if num_classes < 255 else np.uint16
    ignored = label == ignore_index
    label, pred = label.astype(dtype), pred.astype(dtype)
    label[ignored] = num_classes
    pred[ignored] = num_classes

    distance = boundary_width(label.shape[0], label.shape[1], dilation_ratio)
    in_label = _near_other_class(label, distance, num_classes)
    in_pred = _near_other_class(pred, distance, num_classes)
    bins = num_classes + 1
    label_area = np.bincount(label[in_label], minlength=bins)[:num_classes]
    pred_area = np.bincount(pred[in_pred], minlength=bins)[:num_classes]
    both = np.bincount(label[in_label & in_pred & (label == pred)], minlength=bins)[:num_classes]
    return both, label_area + pred_area - both


def _near_other_class(classes, distance, outside):
    """Marks where a pixel of another class, or the image border, lies within `distance` (chessboard): bool [H, W].

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
