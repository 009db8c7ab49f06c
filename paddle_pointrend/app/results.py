"""A prediction as HTML: two maps under a slider, the window where they differ most, points, classes, measures.

Pictures stand in the HTML itself, so that no file of a visitor's photograph is written.
"""

from __future__ import annotations

import html

import numpy as np

from paddle_pointrend.app.networks import Network, Prediction
from paddle_pointrend.errors import UsageError
from paddle_pointrend.evaluation import SegmentationMetrics, comparison_table
from paddle_pointrend.evaluation.figures import draw_step, zoom_window
from paddle_pointrend.evaluation.report_parts import class_legend, data_uri
from paddle_pointrend.evaluation.visualize import difference_map, overlay

STYLE = """
.compare{position:relative;max-width:960px;margin:4px 0 16px}
.compare img{display:block;width:100%;height:auto;image-rendering:pixelated}
.compare .over{position:absolute;top:0;left:0;clip-path:inset(0 0 0 var(--at))}
.compare .line{position:absolute;top:0;height:calc(100% - 28px);left:var(--at);width:2px;background:#fff}
.compare input{width:100%;height:24px;margin:4px 0 0;display:block}
#compare-window{max-width:480px}
.steps{display:flex;flex-wrap:wrap;gap:12px}.steps figure{margin:0;flex:1 1 260px;max-width:480px}
.steps img{width:100%}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0;padding:0}
.legend i{display:inline-block;width:14px;height:14px;margin-right:6px;border-radius:3px;vertical-align:-2px}
.problem{border-left:4px solid #c8142a;padding:8px 12px}
.scores{overflow-x:auto}
"""
IGNORED = 255
_ALPHA = 0.6


def describe_problem(message: str) -> str:
    """Writes what is wrong in the place of a result."""
    return f'<p class="problem" role="alert">{html.escape(message)}</p>'


def describe_prediction(
    network: Network, image: np.ndarray, prediction: Prediction, truth: np.ndarray | None = None
) -> str:
    """Writes all there is to see of a prediction.

    Args:
        network: that made it.
        image: RGB uint8 [H, W, 3].
        prediction: of the image.
        truth: integers [H, W] in [0, K) or 255, or None.

    Raises:
        UsageError: values of the truth that are no classes.
    """
    maps = [prediction.refined] if prediction.coarse is None else [prediction.coarse, prediction.refined]
    measures = "" if truth is None else _measures(network, prediction, truth)
    height, width = image.shape[:2]
    parts = [f"<p>{width} x {height}, <b>{prediction.seconds:.2f} s</b></p>"]
    pictures = [overlay(image, labels, network.palette, _ALPHA) for labels in maps]
    if prediction.coarse is None:
        parts.append(_compare([image, *pictures], ("照片 photograph", "预测 prediction"), "whole"))
    else:
        names = ("粗糙 coarse", "精细 refined")
        parts.append(_compare(pictures, names, "whole"))
        different = prediction.coarse != prediction.refined
        if different.any():
            window = zoom_window(different)
            enlarged = [picture[window] for picture in pictures]
            parts += [
                f"<p>{different.mean():.2%} 的像素不同，差别最多的窗口：of the pixels differ; most of them here:</p>",
                _compare(enlarged, names, "window"),
            ]
    present = np.unique(np.concatenate([labels.ravel() for labels in maps]))
    parts.append(class_legend([network.class_names[i] for i in present], network.palette[present]))
    parts.append(measures)
    if truth is not None and prediction.coarse is not None:
        picture, _ = difference_map(prediction.coarse, prediction.refined, truth, ignore_index=IGNORED, image=image)
        caption = "绿：精细正确，红：粗糙正确，黄：都错。green: refined is right, red: coarse was, yellow: neither"
        parts.append(f'<div class="steps">{_figure(picture, caption)}</div>')
    figures = "".join(
        _figure(
            draw_step(image, step, 960),
            f"第 {number} 步 step {number}: {len(step.coords)} points, {step.size[1]} x {step.size[0]}",
        )
        for number, step in enumerate(prediction.steps, start=1)
    )
    parts.append(f'<div class="steps">{figures}</div>')
    return "".join(parts)


def _compare(pictures, names, which):
    """Two pictures of one size on top of each other, and the slider that moves the line between them."""
    first, second = (data_uri(picture, "png") for picture in pictures)
    move = "this.parentNode.style.setProperty('--at', this.value + '%')"
    return (
        f'<div class="compare" id="compare-{which}" style="--at:50%"><img src="{first}" alt="{names[0]}">'
        f'<img class="over" src="{second}" alt="{names[1]}"><span class="line"></span>'
        f'<input type="range" min="0" max="100" value="50" oninput="{move}" '
        f'aria-label="{names[0]} | {names[1]}"></div>'
    )


def _figure(picture, caption):
    return f'<figure><img src="{data_uri(picture, "png")}" alt=""><figcaption>{caption}</figcaption></figure>'


def _measures(network, prediction, truth):
    columns = {"coarse": prediction.coarse, "refined": prediction.refined}
    summaries = {}
    for name, labels in columns.items():
        if labels is not None:
            metrics = SegmentationMetrics(len(network.class_names), IGNORED)
            try:
                metrics.update(labels, truth)
            except ValueError as error:
                raise UsageError(f"the label does not fit: {error}") from error
            summaries[name] = metrics.summary()
    return f'<pre class="scores">{html.escape(comparison_table(summaries, network.class_names))}</pre>'
