"""Pictures of label maps: colours, overlays, points, and where two predictions differ.

Every picture is RGB uint8 [H, W, 3]; every function returns a new array and leaves its input alone.
Label maps are integers [H, W]; point coordinates are (x, y) in [0, 1] x [0, 1], a pixel's centre at (i + 0.5) / size.
"""

from collections.abc import Sequence

import cv2
import numpy as np

IGNORED_COLOR = (0, 0, 0)
# Green and red as asked of a difference map, but far apart in brightness too, for readers who confuse the hues.
RIGHT_COLOR = (60, 200, 90)
WRONG_COLOR = (200, 20, 40)
BOTH_WRONG_COLOR = (245, 205, 60)
POINT_COLOR = (255, 140, 0)


def colorize(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Draws each class in its colour; values outside [0, K), the ignored ones among them, are black.

    Args:
        label: integers [H, W].
        palette: [K, 3] RGB in 0..255.
    """
    label, palette = _check_label(label), _check_palette(palette)
    table = np.vstack([palette, np.array([IGNORED_COLOR], np.uint8)])
    known = (label >= 0) & (label < len(palette))
    return table[np.where(known, label, len(palette))]


def overlay(image: np.ndarray, label: np.ndarray, palette: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Lays the coloured label map over the image; where the label is outside [0, K) the image shows unchanged.

    Args:
        image: RGB uint8 [H, W, 3].
        label: integers [H, W].
        palette: [K, 3] RGB.
        alpha: share of the colour, 0 (image only) to 1 (colour only).
    """
    image, label = _check_image(image), _check_label(label)
    _check_same_size(image=image, label=label)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}, expected 0 to 1")
    mixed = cv2.addWeighted(image, 1 - alpha, colorize(label, palette), alpha, 0)
    known = (label >= 0) & (label < len(palette))
    return np.where(known[..., None], mixed, image)


def dim(image: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """Turns the image pale grey, as a ground for colours: strength 0 keeps its contrast, 1 is plain white."""
    grey = cv2.cvtColor(_check_image(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.repeat((grey + (255 - grey) * strength).astype(np.uint8)[..., None], 3, axis=2)


def draw_points(
    image: np.ndarray, coords: np.ndarray, *, color: tuple[int, int, int] = POINT_COLOR, radius: int = 0
) -> np.ndarray:
    """Draws points over an image, small enough that thousands leave the picture visible.

    Args:
        image: RGB uint8 [H, W, 3].
        coords: floats [P, 2], (x, y) in [0, 1]; points outside are not drawn.
        color: RGB.
        radius: 0 draws one pixel a point, r a disc of 2r + 1 pixels across. Of 8192 points on a 480x360 picture, 0
            covers 5 %, 1 up to a quarter.
    """
    image, coords = _check_image(image), np.asarray(coords)
    if coords.ndim != 2 or coords.shape[1] != 2:
        raise ValueError(f"coords has shape {coords.shape}, expected [P, 2]: pass one image's points")
    if radius < 0:
        raise ValueError(f"radius is {radius}, expected 0 or more pixels")
    height, width = image.shape[:2]
    inside = np.all((coords >= 0) & (coords <= 1), axis=1)
    pixels = np.floor(coords[inside] * (width, height)).astype(np.int64)
    pixels = np.minimum(pixels, (width - 1, height - 1))
    dots = np.zeros((height, width), np.uint8)
    dots[pixels[:, 1], pixels[:, 0]] = 1
    if radius:
        steps = np.arange(-radius, radius + 1)
        disc = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.uint8)
        dots = cv2.dilate(dots, disc)
    return np.where(dots[..., None] > 0, np.array(color, np.uint8), image)


def difference_map(
    coarse: np.ndarray,
    refined: np.ndarray,
    truth: np.ndarray,
    *,
    ignore_index: int = 255,
    image: np.ndarray | None = None,
) -> tuple[np.ndarray, dict[str, int]]:
    """Shows where refined differs from coarse, and which of the two is right.

    Green: refined is right. Red: coarse was right, refinement spoiled it. Yellow: both are wrong. The rest, and every
    ignored pixel, shows the image in pale grey, or white.

    Args:
        coarse, refined, truth: integers [H, W].
        ignore_index: pixels with this truth are neither coloured nor counted.
        image: RGB uint8 [H, W, 3] to show underneath, or None.

    Returns:
        (picture, counts): counts has "refined_right", "coarse_right", "both_wrong", "different" (their sum) and
        "counted" (all pixels that are not ignored), in pixels.
    """
    coarse, refined, truth = (_check_label(part) for part in (coarse, refined, truth))
    _check_same_size(coarse=coarse, refined=refined, truth=truth)
    counted = truth != ignore_index
    different = counted & (coarse != refined)
    kinds = {
        "refined_right": (different & (refined == truth), RIGHT_COLOR),
        "coarse_right": (different & (coarse == truth), WRONG_COLOR),
        "both_wrong": (different & (refined != truth) & (coarse != truth), BOTH_WRONG_COLOR),
    }
    picture = _ground(image, truth)
    for where, color in kinds.values():
        picture[where] = color
    counts = {name: int(where.sum()) for name, (where, _) in kinds.items()}
    return picture, {**counts, "different": int(different.sum()), "counted": int(counted.sum())}


def error_map(
    pred: np.ndarray, truth: np.ndarray, *, ignore_index: int = 255, image: np.ndarray | None = None
) -> np.ndarray:
    """Draws wrong pixels in red over white or the image in pale grey; ignored pixels are never wrong.

    Args:
        pred, truth: integers [H, W].
        image: RGB uint8 [H, W, 3] to show underneath, or None.
    """
    pred, truth = _check_label(pred), _check_label(truth)
    _check_same_size(prediction=pred, truth=truth)
    picture = _ground(image, truth)
    picture[(pred != truth) & (truth != ignore_index)] = WRONG_COLOR
    return picture


def busiest_window(mask: np.ndarray, height: int, width: int) -> tuple[slice, slice]:
    """Finds the window of a given size that holds the most true pixels (the first such one).

    Args:
        mask: bool [H, W].
        height, width: the window's size in pixels; cut to the mask's.

    Returns:
        (rows, columns): two slices.
    """
    mask = np.asarray(mask, bool)
    height, width = min(height, mask.shape[0]), min(width, mask.shape[1])
    total = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    top, left = (int(i) for i in np.unravel_index(np.argmax(sums), sums.shape))
    return slice(top, top + height), slice(left, left + width)


def draw_frame(
    picture: np.ndarray, rows: slice, columns: slice, *, color: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """Draws a thin frame, dark inside and out so that it shows on any ground, around a window of two slices."""
    framed = _check_image(picture).copy()
    thickness = max(1, round(max(framed.shape[:2]) / 400))
    first, last = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
    cv2.rectangle(framed, first, last, (0, 0, 0), 3 * thickness)
    cv2.rectangle(framed, first, last, color, thickness)
    return framed


def side_by_side(
    panels: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    gap: int = 8,
    background: tuple[int, int, int] = (255, 255, 255),
) -> np.ndarray:
    """Puts panels of equal height in a row, with a title above each.

    Args:
        panels: RGB uint8 [H, W_i, 3] each.
        titles: one ASCII text a panel (OpenCV's fonts have no more), or None for no title line.
        gap: pixels between two panels.
        background: RGB of gap and title line; titles are black or white, whichever reads better on it.

    Returns:
        RGB uint8 [H + title line, sum of W_i + gaps, 3].
    """
    panels = [_check_image(panel) for panel in panels]
    if not panels:
        raise ValueError("no panels given, expected at least one picture")
    heights = {panel.shape[0] for panel in panels}
    if len(heights) > 1:
        raise ValueError(f"the panels are {sorted(heights)} pixels high, expected one height: resize them first")
    if titles is not None and len(titles) != len(panels):
        raise ValueError(f"{len(titles)} titles for {len(panels)} panels, expected one each")
    if titles is not None:
        panels = [
            np.vstack([title_bar(title, panel.shape[1], background=background), panel])
            for title, panel in zip(titles, panels)
        ]
    space = np.full((panels[0].shape[0], gap, 3), background, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, space)][:-1])


def title_bar(
    text: str, width: int, *, height: int = 28, background: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """Writes one line of centred ASCII text, shrunk to fit the width: RGB uint8 [height, width, 3]."""
    # Drawn four times too large and averaged down: OpenCV's strokes are coarse at this size.
    scale, font = 4, cv2.FONT_HERSHEY_SIMPLEX
    ink = (0, 0, 0) if sum(background) > 382 else (255, 255, 255)
    canvas = np.full((scale * height, scale * width, 3), background, np.uint8)
    size = scale * height / 28 * 0.55
    (text_width, _), _ = cv2.getTextSize(text, font, size, 2 * scale)
    if text_width > 0.96 * canvas.shape[1]:
        size *= 0.96 * canvas.shape[1] / text_width
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, 2 * scale)
    start = ((canvas.shape[1] - text_width) // 2, (canvas.shape[0] + text_height) // 2)
    cv2.putText(canvas, text, start, font, size, ink, max(1, round(1.4 * scale)), cv2.LINE_AA)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _ground(image, label):
    if image is None:
        return np.full((*label.shape, 3), 255, np.uint8)
    _check_same_size(image=_check_image(image), truth=label)
    return dim(image)


def _check_image(image):
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"picture is {image.dtype} {image.shape}, expected uint8 [H, W, 3] (RGB)")
    return image


def _check_label(label):
    label = np.asarray(label)
    if label.ndim != 2 or label.dtype.kind not in "iub":
        raise ValueError(f"label map is {label.dtype} {label.shape}, expected integers [H, W]")
    return label.astype(np.int64)


def _check_palette(palette):
    palette = np.asarray(palette)
    if palette.ndim != 2 or palette.shape[1] != 3 or not len(palette):
        raise ValueError(f"palette has shape {palette.shape}, expected [K, 3]")
    if palette.min() < 0 or palette.max() > 255:
        raise ValueError(f"palette holds {palette.min()} to {palette.max()}, expected 0 to 255")
    return palette.astype(np.uint8)


def _check_same_size(**arrays):
    sizes = {name: array.shape[:2] for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError("sizes differ: " + ", ".join(f"{name} {size}" for name, size in sizes.items()))
