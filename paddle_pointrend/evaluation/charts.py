"""Line charts as inline SVG for the HTML report: no library, no script, colours from the page's style."""

import html
import math

import numpy as np


def curve_svg(name: str, iterations: np.ndarray, values: np.ndarray) -> str:
    """Draws a line chart as inline SVG that takes its colours from the page: axes, ticks, and the last value in words.

    Long curves are drawn twice: every value faintly, and a running mean over a twentieth of them on top.

    Args:
        name: the chart's title. iterations, values: numbers [n] each.
    """
    x, y = np.asarray(iterations, np.float64).ravel(), np.asarray(values, np.float64).ravel()
    if x.shape != y.shape:
        raise ValueError(f"curve {name!r} has {x.size} iterations and {y.size} values, expected the same number")
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if not x.size:
        return f'<svg viewBox="0 0 420 40" role="img"><text x="8" y="24">{html.escape(name)}: no values</text></svg>'
    left, top, width, height = 58, 34, 346, 170
    x_ticks, y_ticks = _ticks(min(x.min(), 0), x.max()), _ticks(y.min(), y.max())
    across = left + (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0]) * width
    down = top + height - (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0]) * height
    parts = [f'<text class="name" x="{left}" y="18">{html.escape(name)}</text>']
    parts.append(f'<text x="{left + width}" y="18" text-anchor="end">last {_number(y[-1])}</text>')
    for i, tick in enumerate(y_ticks):
        level = top + height - i * height / (len(y_ticks) - 1)
        parts.append(f'<path class="grid" d="M{left} {level:.1f}h{width}"/>')
        parts.append(f'<text x="{left - 8}" y="{level + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for i, tick in enumerate(x_ticks):
        at = left + i * width / (len(x_ticks) - 1)
        parts.append(f'<text x="{at:.1f}" y="{top + height + 18}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<path class="axis" d="M{left} {top}v{height}h{width}"/>')
    parts.append(f'<text x="{left + width / 2:.1f}" y="{top + height + 38}" text-anchor="middle">iteration</text>')
    span = max(1, x.size // 20)
    if x.size == 1:
        parts.append(f'<circle class="dot" cx="{across[0]:.1f}" cy="{down[0]:.1f}" r="3"/>')
    elif span == 1:
        parts.append(_path("line", across, down))
    else:
        kernel = np.ones(span) / span
        parts.append(_path("faint", across, down))
        parts.append(_path("line", np.convolve(across, kernel, "valid"), np.convolve(down, kernel, "valid")))
    return f'<svg viewBox="0 0 420 250" role="img" aria-label="{html.escape(name)}">{"".join(parts)}</svg>'


def _ticks(low, high):
    """At most seven round numbers, evenly spaced, that enclose low and high."""
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * unit for unit in (1, 2, 2.5, 5, 10) if power * unit >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _path(kind, x, y):
    points = " ".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y))
    return f'<path class="{kind}" d="M{points}"/>'


def _number(value):
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.7g}"
