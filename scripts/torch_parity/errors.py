"""How far our arrays are from the reference's."""

import numpy as np

TOLERANCE = 2e-5  # of the standard deviation of the reference's map


def map_errors(ours: np.ndarray, theirs: np.ndarray) -> dict[str, object]:
    """Measures how far a map is from the reference's, in units of the reference's standard deviation."""
    difference, scale = np.abs(ours - theirs), float(theirs.std())
    if difference.ndim == 4:  # a pixel counts as its worst channel
        difference = difference.max(axis=1)
    return {
        "shape": list(theirs.shape),
        "max_error": float(difference.max()),
        "max_relative": float(difference.max()) / scale,
        "relative_l2": relative_l2(ours, theirs),
        "share_within": float((difference <= TOLERANCE * scale).mean()),
    }


def relative_l2(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Measures the L2 norm of the difference in relation to the reference's; the largest value if that is zero."""
    norm = np.linalg.norm(theirs.astype("float64"))
    return float(np.linalg.norm(ours.astype("float64") - theirs) / norm) if norm else float(np.abs(ours).max())


def cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Measures the cosine of the angle between two arrays, flattened."""
    ours, theirs = ours.astype("float64").ravel(), theirs.astype("float64").ravel()
    return float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)))


def share_of_common(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Measures which share of the reference's indices [N, P] ours has too, in whatever order."""
    return float(np.mean([np.isin(b, a).mean() for a, b in zip(ours, theirs)]))


def aligned_points(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], step: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the values at points that both sides chose, in the same order: two arrays [C, common points].

    Args:
        ours, theirs: stages.
        step: "step1", ...
        name: "coords", "fine", "coarse" or "logits".
    """
    pairs = []
    for i, (a, b) in enumerate(zip(ours[f"{step}.indices"], theirs[f"{step}.indices"])):
        _, in_ours, in_theirs = np.intersect1d(a, b, return_indices=True)
        rows = ours[f"{step}.{name}"][i], theirs[f"{step}.{name}"][i]
        if name == "coords":
            rows = rows[0].T, rows[1].T
        pairs.append((rows[0][:, in_ours], rows[1][:, in_theirs]))
    return tuple(np.concatenate(side, axis=1) for side in zip(*pairs))
