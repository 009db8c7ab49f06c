"""The page in Gradio: what it asks for, what it does with an upload, how it is served."""

from __future__ import annotations

import os
import pathlib
import tempfile
from typing import TYPE_CHECKING

from paddle_pointrend.app.networks import Network
from paddle_pointrend.app.results import STYLE, describe_prediction, describe_problem
from paddle_pointrend.app.uploads import read_photograph, read_truth
from paddle_pointrend.data.images import ImageError
from paddle_pointrend.errors import UsageError, one_line

if TYPE_CHECKING:
    import gradio

FORGET_AFTER = 600  # seconds that a visitor's photograph stays in memory
_FEWEST_POINTS, _MOST_POINTS = 64, 32768  # that the slider goes to
# A number typed beside a slider counts when its field is left, for Gradio; here at Enter too.
_LEAVE_AT_ENTER = """() => document.addEventListener("keydown", event => {
    if (event.key === "Enter" && event.target.matches("input[type=number]")) event.target.blur();
})"""
_NO_THRESHOLD = 0.0  # the slider's left end: every point is predicted again


def serve(network: Network, *, host: str = "127.0.0.1", port: int = 7860, max_megabytes: int = 20) -> None:
    """Serves the page until it is interrupted. Nothing is loaded from or told to another server.

    Args:
        network: of `load_network`.
        host: "127.0.0.1" answers this machine alone, "0.0.0.0" every network that it is in.
        port: of the page.
        max_megabytes: the most that an uploaded file may have.

    Raises:
        UsageError: Gradio is not installed; the host or port cannot be used.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import
    try:
        import gradio
    except ImportError as error:
        raise UsageError('the page needs Gradio: pip install -c constraints-app.txt -e ".[cpu,app]"') from error
    with tempfile.TemporaryDirectory(prefix="paddle-pointrend-app-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        page = build_page(network)
        page.queue(max_size=20)
        try:
            page.launch(
                server_name=host,
                server_port=port,
                max_file_size=max_megabytes * 2**20,
                css=STYLE,
                js=_LEAVE_AT_ENTER,
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                footer_links=[],
                share=False,
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
                ssr_mode=False,
                quiet=True,
                prevent_thread_lock=True,
            )
        except (OSError, OverflowError) as error:
            raise UsageError(f"--host {host} --port {port}: {one_line(error)}") from error
        print(f"The page is at http://{host}:{port}; Ctrl+C ends it", flush=True)
        try:
            page.block_thread()
        finally:
            page.close()


def build_page(network: Network) -> gradio.Blocks:
    """Builds the page; `serve` serves it."""
    import gradio as gr

    has_steps = network.default_points is not None
    with gr.Blocks(title="paddle_pointrend", analytics_enabled=False, delete_cache=(60, 60)) as page:
        gr.Markdown("## PointRend\n上传照片，拖动滑块比较。Upload a photograph, move the slider.")
        photograph, truth = gr.State(time_to_live=FORGET_AFTER), gr.State(time_to_live=FORGET_AFTER)
        with gr.Row():
            photograph_file = gr.File(label="照片 photograph", file_types=["image"], elem_id="photograph", height=120)
            truth_file = gr.File(
                label="标注 PNG，可选 label, optional", file_types=["image"], elem_id="truth", height=120
            )
        with gr.Row(visible=has_steps):
            own = network.default_points or _FEWEST_POINTS
            points = gr.Slider(
                min(_FEWEST_POINTS, own),
                max(_MOST_POINTS, own),
                own,
                step=_FEWEST_POINTS,
                label="每步点数 points a step",
                elem_id="points",
            )
            threshold = gr.Slider(
                _NO_THRESHOLD,
                10,
                network.default_threshold or _NO_THRESHOLD,
                step=0.1,
                label="间隔阈值，0 为不限 margin up to which points are predicted again, 0: all",
                elem_id="threshold",
            )
        result = gr.HTML(elem_id="result")
        visit = _Visit(network)
        settings = [photograph, truth, points, threshold]
        shared = {"concurrency_id": "network", "concurrency_limit": 1, "api_visibility": "private"}
        photograph_file.upload(
            visit.take_photograph,
            [photograph_file, points, threshold],
            [photograph_file, photograph, truth, result],
            **shared,
        )
        truth_file.upload(
            visit.take_truth, [truth_file, photograph, points, threshold], [truth_file, truth, result], **shared
        )
        for control in (points, threshold):
            control.release(visit.predict, settings, result, **shared)
    return page


class _Visit:
    """What the page's events do. Files are given back as None: they are gone."""

    def __init__(self, network: Network):
        self.network = network

    def take_photograph(self, path, num_points, threshold):
        try:
            photograph = read_photograph(_own_upload(path))
        except ImageError as error:
            return None, None, None, describe_problem(str(error))
        return None, photograph, None, self.predict(photograph, None, num_points, threshold)

    def take_truth(self, path, photograph, num_points, threshold):
        if photograph is None:
            _own_upload(path).unlink(missing_ok=True)
            return None, None, describe_problem("请先上传照片。Upload the photograph first, then its label.")
        try:
            truth = read_truth(_own_upload(path), photograph)
        except (ImageError, UsageError) as error:
            return None, None, describe_problem(str(error))
        return None, truth, self.predict(photograph, truth, num_points, threshold)

    def predict(self, photograph, truth, num_points, threshold):
        if photograph is None:
            return describe_problem("请上传照片。Upload a photograph; after ten minutes it is forgotten.")
        image, margin = photograph.pixels, None if threshold == _NO_THRESHOLD else float(threshold)
        try:
            prediction = self.network.predict(image, int(num_points), margin)
        except Exception as error:  # each runtime has exceptions of its own
            return describe_problem(f"the network fails on this picture: {one_line(error)}")
        try:
            return describe_prediction(self.network, image, prediction, truth)
        except UsageError as error:
            return describe_problem(str(error))


def _own_upload(path):
    """The path, if it lies in the folder of this page's uploads: what is read here is deleted too."""
    upload = pathlib.Path(path).resolve()
    if not upload.is_relative_to(pathlib.Path(os.environ["GRADIO_TEMP_DIR"]).resolve()):
        raise ValueError(f"{upload} was not uploaded here")
    return upload
