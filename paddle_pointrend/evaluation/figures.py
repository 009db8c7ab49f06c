"""Pictures of one sample: its panels, the window that is enlarged, the points of each step, the README's picture.

Pictures are RGB uint8; label maps are integers [H, W].
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from paddle_pointrend.evaluation import visualize

# The enlarged window has the full picture's shape divided by this, and is shown as large as the full picture.
ZOOM = 5


class SubdivisionStep(NamedTuple):
    """One step of the refinement: the points it predicted again, and the size of the map it did so on.

    coords: floats [P, 2], (x, y) in [0, 1]. size: (height, width) in cells.
    """

    coords: np.ndarray
    size: tuple[int, int]


@dataclass
class Sample:
    """One image of the report.

    image: RGB uint8 [H, W, 3]. truth, coarse, refined: integers [H, W]; of a model with one prediction coarse is None,
    and refined is that prediction. steps: `SubdivisionStep`s or equal tuples, first step first. note: what the report
    says of it. Raises ValueError if they are not of one size.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    coarse: np.ndarray | None
    refined: np.ndarray
    steps: list[SubdivisionStep] = field(default_factory=list)
    note: str = ""

    def __post_init__(self) -> None:
        parts = {part: getattr(self, part) for part in ("image", "truth", "coarse", "refined")}
        sizes = {name: np.shape(part)[:2] for name, part in parts.items() if part is not None}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"sample {self.name!r} has parts of different sizes: {sizes}, expected one (H, W)")


def comparison_figure(sample: Sample, palette: np.ndarray, *, zoom: int = ZOOM, panel_width: int = 480) -> np.ndarray:
    """Puts image, truth, coarse and refined in a row, and below each the window where refinement corrects most pixels.

    Args:
        sample: a `Sample` with a coarse prediction; its steps are not used.
        palette: [K, 3] RGB.
        zoom: how much larger the window is shown; its sides are the picture's divided by this.
        panel_width: width of each of the four panels in pixels.

    Returns:
        RGB uint8, about [1.5 * panel_width + titles, 4 * panel_width + gaps, 3] for a 4:3 image.
    """
    panels = sample_panels(sample, palette)
    window = zoom_window((sample.refined == sample.truth) & (sample.coarse != sample.truth), zoom)
    height, width = sample.truth.shape
    size = (panel_width, max(1, round(panel_width * height / width)))
    full = [
        cv2.resize(
            visualize.draw_frame(panel, *window),
            size,
            interpolation=cv2.INTER_AREA if panel_width < width else cv2.INTER_NEAREST,
        )
        for panel in panels
    ]
    enlarged = [cv2.resize(panel[window], size, interpolation=cv2.INTER_NEAREST) for panel in panels]
    first = visualize.side_by_side(full, panel_names(sample))
    gap = np.full((8, first.shape[1], 3), 255, np.uint8)
    return np.vstack([first, gap, visualize.side_by_side(enlarged)])


def panel_names(sample: Sample) -> list[str]:
    """Names what `sample_panels` draws."""
    return ["image", "truth", *(["prediction"] if sample.coarse is None else ["coarse", "refined"])]


def sample_panels(sample: Sample, palette: np.ndarray) -> list[np.ndarray]:
    """Draws the image, the truth and the predictions."""
    parts = [sample.truth, sample.refined] if sample.coarse is None else [sample.truth, sample.coarse, sample.refined]
    return [sample.image, *(visualize.colorize(part, palette) for part in parts)]


def zoom_window(mask: np.ndarray, zoom: int = ZOOM) -> tuple[slice, slice]:
    """Finds the window with the most true pixels, the picture's sides divided by zoom, at least 8 pixels."""
    height, width = mask.shape
    return visualize.busiest_window(mask, max(8, height // zoom), max(8, width // zoom))


def draw_step(image: np.ndarray, step: SubdivisionStep, max_side: int) -> np.ndarray:
    """Draws the points of one step over the image in pale grey, at most max_side pixels long."""
    coords, size = step
    # On a picture this wide one dot is about one pixel of the screen, whatever the image's size was.
    side = min(max_side, 960)
    factor = side / max(image.shape[:2])
    width, height = (max(1, round(length * factor)) for length in image.shape[1::-1])
    # Half a cell across: neighbouring points stay apart, and the few points of a small map are still seen.
    radius = min(3, max(1, round(width / size[1] / 4)))
    ground = visualize.dim(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), 0.5)
    return visualize.draw_points(ground, coords, color=(214, 70, 0), radius=radius)
