"""Image in, label map out: a trained network behind one interface, whatever runtime runs it.

    predictor = Predictor("output/export")
    labels = predictor.predict(image)                      # image uint8 [H, W, 3] in RGB, labels uint8 [H, W]
    predictor.predict_file("city.tif", "city_labels.tif")  # from disk to disk, an image of any size

K: classes. Windows and strides are (width, height), as PaddleSeg's crop_size and stride.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.deploy.deploy_file import DeployFile, normalization
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.pipeline import Pipeline
from paddle_pointrend.deploy.preprocessing import Preprocess, Preprocessing, only_normalizes
from paddle_pointrend.deploy.rasters import open_raster, write_label_map
from paddle_pointrend.deploy.runtimes import EagerRuntime, Runtime, fastest_runtime, load_runtime
from paddle_pointrend.inference.options import InferenceOptions

if TYPE_CHECKING:
    from paddle import nn
    from paddleseg.cvlibs import Config


class Predictor:
    """Predicts with an exported network; `from_model` does with a layer, `from_config` with a config and weights.

    Args:
        folder: what `paddle-pointrend export` wrote.
        runtime: "openvino", "onnxruntime" or "paddle-inference", or an object that load_runtime made; by default the
            fastest one that is installed and reads the folder.
        num_threads: threads on CPU; by default OMP_NUM_THREADS, else all processors that this process may use.
        device: "cpu", or "gpu" (not measured).
        precision: None for that of the export, "fp32" or "int8"; "bf16" with openvino: see load_runtime.
        window: (width, height) in pixels; an image that is larger is predicted in a sliding window of this size. None
            predicts every image whole; only predict_file then slides, by DEFAULT_WINDOW.
        window_stride: (width, height) between two windows; three quarters of the window by default.
        scales, flip_horizontal, flip_vertical: test-time augmentation, as of InferenceOptions.
        preprocess: in the place of the folder's transforms, see `Preprocess`; needed where they are others than
            Normalize, RGBToBGR and a RandomResize that is not random.

    Raises:
        RuntimeLoadError: the folder cannot be used, no runtime that reads it is installed, or the processor has not
            that precision.
        ValueError: unknown names; mistaken options, as of InferenceOptions, or augmentation of a network that makes
            labels.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        runtime: str | Runtime | None = None,
        num_threads: int | None = None,
        device: str = "cpu",
        precision: str | None = None,
        window: Sequence[int] | None = None,
        window_stride: Sequence[int] | None = None,
        scales: Sequence[float] = (1.0,),
        flip_horizontal: bool = False,
        flip_vertical: bool = False,
        preprocess: Preprocess | None = None,
    ):
        options = InferenceOptions(scales, flip_horizontal, flip_vertical, window, window_stride)
        deploy = DeployFile.read(folder)
        if deploy.finds_instances:
            raise RuntimeLoadError(f"{folder} holds a network of instances, which InstancePredictor runs")
        if preprocess is None:
            preprocess = Preprocessing.of_export(deploy, folder)
        if deploy.makes_labels and options.augments:
            raise ValueError(f"{folder} makes labels, which augmentation cannot average: export with --output logits")
        if runtime is None:
            runtime = fastest_runtime(folder, precision)
        if isinstance(runtime, str):
            runtime = load_runtime(runtime, folder, num_threads=num_threads, device=device, precision=precision)
        self._set_up(runtime, Pipeline(preprocess, options, deploy.makes_labels), deploy.palette)

    @classmethod
    def from_model(
        cls,
        layer: nn.Layer,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        channels: str = "rgb",
        palette: Sequence[Sequence[int]] | np.ndarray | None = None,
        window: Sequence[int] | None = None,
        window_stride: Sequence[int] | None = None,
        scales: Sequence[float] = (1.0,),
        flip_horizontal: bool = False,
        flip_vertical: bool = False,
    ) -> Predictor:
        """Makes a predictor that runs a layer in eager Paddle, on the device that Paddle is set to.

        Args:
            layer: its first output is the logits; it is put into eval mode.
            mean, std: of the input's channels, in pixel values 0 to 255: the input is (pixel - mean) / std.
            channels: "rgb" or "bgr", the order that the network reads.
            palette: [K, 3] RGB, the colours in predict_file's label maps; PASCAL VOC's by default.
            window, window_stride, scales, flip_horizontal, flip_vertical: as above.
        """
        options = InferenceOptions(scales, flip_horizontal, flip_vertical, window, window_stride)
        predictor = cls.__new__(cls)
        predictor._set_up(EagerRuntime(layer), Pipeline(Preprocessing(mean, std, channels), options), palette)
        return predictor

    @classmethod
    def from_config(
        cls,
        config: str | os.PathLike | Config,
        weights: str | os.PathLike,
        opts: Sequence[str] = (),
        *,
        runtime: str | None = "paddle",
        num_threads: int | None = None,
        device: str | None = None,
        precision: str = "fp32",
        window: Sequence[int] | None = None,
        window_stride: Sequence[int] | None = None,
        scales: Sequence[float] = (1.0,),
        flip_horizontal: bool = False,
        flip_vertical: bool = False,
    ) -> Predictor:
        """Makes a predictor of a config's model with trained weights; images go through its val transforms.

        Needs PaddleSeg.

        Args:
            config: a YAML file, or what `load_config` read.
            weights: as of `load_model`.
            opts: changes of the YAML file, "KEY=VALUE" strings.
            runtime: "paddle" for eager Paddle, another name exports the model first, which takes seconds. None for the
                fastest one, and eager Paddle where the model cannot be exported or computes on another device than the
                CPU.
            num_threads: as above; not of eager Paddle, which takes OMP_NUM_THREADS.
            device: as above; by default the one that Paddle is set to, where the runtime computes on it.
            precision, window, window_stride, scales, flip_horizontal, flip_vertical: as above.

        Raises:
            UsageError, CheckpointError: as of `load_model`; transforms that cannot be built.
            ExportError: the model cannot be exported for the runtime.
            RuntimeLoadError, ValueError: as above.
        """
        import paddle

        from paddle_pointrend.deploy.description import describe_data
        from paddle_pointrend.deploy.trained_weights import runtime_of_layer
        from paddle_pointrend.paddleseg import load_model
        from paddle_pointrend.paddleseg.configs import as_config
        from paddle_pointrend.paddleseg.preprocessing import channels_first, val_preprocessing

        options = InferenceOptions(scales, flip_horizontal, flip_vertical, window, window_stride)
        if device is not None and runtime in (EagerRuntime.name, None):
            paddle.set_device(device)
        config = as_config(config, opts)
        data = describe_data(config.dic)
        preprocess: Preprocess = val_preprocessing(config)
        if preprocess.image_channels == 3 and only_normalizes(data["transforms"]):
            preprocess = Preprocessing(**normalization(data["transforms"]))
        predictor, folder = cls.__new__(cls), ""
        if runtime != EagerRuntime.name:
            folder = tempfile.mkdtemp(prefix="paddle-pointrend-")  # runtimes read it again for images of another size
            weakref.finalize(predictor, shutil.rmtree, folder, ignore_errors=True)
        loaded = runtime_of_layer(
            channels_first(load_model(config, weights)),
            runtime,
            folder,
            transforms=data["transforms"],
            num_threads=num_threads,
            device=device,
            precision=precision,
        )
        predictor._set_up(loaded, Pipeline(preprocess, options), data.get("palette"))
        return predictor

    def _set_up(self, runtime, pipeline, palette):
        self.runtime = runtime
        self.palette = np.asarray(default_palette(255) if palette is None else palette, np.uint8)
        self._pipeline = pipeline

    @property
    def image_channels(self) -> int:
        """How many channels the images have that it takes: 3, RGB; 1, grey, for a config with img_channels 1."""
        return self._pipeline.preprocess.image_channels

    def predict(
        self, images: np.ndarray | Sequence[np.ndarray], *, batch_size: int = 4
    ) -> np.ndarray | list[np.ndarray]:
        """Predicts label maps of images.

        Args:
            images: one image uint8 [H, W, 3] in RGB (cv2.imread gives BGR: reverse its last axis), or a list of images
                of any sizes. In grey, [H, W], for a config with img_channels 1.
            batch_size: images of one size, or windows, that go through the network together.

        Returns:
            uint8 [H, W], or a list of them in the order of the images. (A network that was exported with --output label
            and an output size makes labels of that size.)

        Raises:
            ValueError: an image of another kind; more than 256 classes; an image larger than the window if the network
                was exported with --output label.
        """
        return self._pipeline.labels(self.runtime, images, batch_size)

    def predict_logits(
        self, images: np.ndarray | Sequence[np.ndarray], *, batch_size: int = 4
    ) -> np.ndarray | list[np.ndarray]:
        """As `predict`, but logits float32 [K, H, W]. ValueError if the network was exported with --output label."""
        if self._pipeline.makes_labels:
            raise ValueError("this network makes labels, not logits: export it with --output logits")
        return self._pipeline.logits(self.runtime, images, batch_size)

    def predict_file(
        self,
        source: str | os.PathLike,
        target: str | os.PathLike,
        *,
        palette: Sequence[Sequence[int]] | np.ndarray | None = None,
        progress: bool = True,
    ) -> None:
        """Predicts a picture on disk into a label map on disk, in a sliding window; neither is ever whole in memory.

        The label map is a tiled, deflate-compressed TIFF of 8 bits with a palette, and lies on Earth where the picture
        lies. It appears whole or not at all. Needs rasterio, the "large" extra.

        Args:
            source: a picture that GDAL reads, of three bands of 8 bits: red, green, blue.
            target: the TIFF file to write; its folder exists.
            palette: [K, 3] RGB instead of the network's.
            progress: whether to show a progress bar.

        Raises:
            RasterError: the source is no such picture, or rasterio is not installed; RasterWriteError, one of its kind:
                the target cannot be written.
            ValueError: as of `check_predicts_in_parts`; OutputError, one of its kind: a network that has more than 256
                classes or was exported for one output size.
        """
        self.check_predicts_in_parts()
        palette = np.asarray(self.palette if palette is None else palette)
        with open_raster(source) as picture:
            size = picture.height, picture.width
            with (
                write_label_map(target, size, palette, picture.place) as write,
                tqdm(total=size[0], desc="predicting", unit="row", disable=not progress) as bar,
            ):
                for rows in self._pipeline.labels_by_rows(self.runtime, picture.read_rows, size):
                    write(rows)
                    bar.update(len(rows))

    def check_predicts_in_parts(self) -> None:
        """Raises ValueError if predict_file cannot be done: the network makes labels, or more than a normalisation of
        pixels comes before it."""
        self._pipeline.check_in_parts()
