"""Image in, label map out: a trained network behind one interface, whatever runtime runs it.

    predictor = Predictor("output/export")
    labels = predictor.predict(image)                      # image uint8 [H, W, 3] in RGB, labels uint8 [H, W]
    predictor.predict_file("city.tif", "city_labels.tif")  # from disk to disk, an image of any size

K: classes. Windows and strides are (width, height), as PaddleSeg's crop_size and stride.
"""

import cv2
import numpy as np
from tqdm import tqdm

from paddle_pointrend.data.palettes import default_palette
from paddle_pointrend.data.transforms import RandomResize
from paddle_pointrend.deploy.deploy_file import DeployFile
from paddle_pointrend.deploy.errors import RuntimeLoadError
from paddle_pointrend.deploy.rasters import open_raster, write_label_map
from paddle_pointrend.deploy.runtimes import EagerRuntime, fastest_runtime, load_runtime
from paddle_pointrend.deploy.sliding_window import OutputError, slide, slide_whole

DEFAULT_WINDOW = (1024, 1024)  # of predict_file
_MOST_CLASSES = 256  # in a label map of 8 bits


class Predictor:
    """Predicts with an exported network; `Predictor.from_model` does with a layer.

    Args:
        folder: what `paddle-pointrend export` wrote.
        runtime: "openvino", "onnxruntime" or "paddle-inference", or an object that load_runtime made; by default the
            fastest one that is installed and reads the folder.
        num_threads: threads on CPU; by default OMP_NUM_THREADS, else all processors that this process may use.
        device: "cpu", or "gpu" with paddle-inference (not measured).
        precision: "fp32", or "bf16" with openvino: see load_runtime.
        window: (width, height) in pixels; an image that is larger is predicted in a sliding window of this size. None
            predicts every image whole; only predict_file then slides, by DEFAULT_WINDOW.
        window_stride: (width, height) between two windows; three quarters of the window by default.

    Raises:
        RuntimeLoadError: the folder cannot be used, no runtime that reads it is installed, or the processor has not
            that precision.
        ValueError: unknown names; sizes below 1, or a stride larger than the window.
    """

    def __init__(
        self,
        folder,
        *,
        runtime=None,
        num_threads=None,
        device="cpu",
        precision="fp32",
        window=None,
        window_stride=None,
    ):
        deploy = DeployFile.read(folder)
        resize = _resize_of(deploy.transforms, folder)
        if resize and deploy.makes_labels:
            raise RuntimeLoadError(f"the transforms of {folder} resize the image, so export it with --output logits")
        if runtime is None:
            runtime = fastest_runtime(folder, precision)
        if isinstance(runtime, str):
            runtime = load_runtime(runtime, folder, num_threads=num_threads, device=device, precision=precision)
        self._set_up(runtime, vars(deploy), resize, window, window_stride)

    @classmethod
    def from_model(cls, layer, *, mean, std, channels="rgb", palette=None, window=None, window_stride=None):
        """A predictor that runs a layer in eager Paddle, on the device that Paddle is set to (not measured on a GPU).

        Args:
            layer: its first output is the logits; it is put into eval mode.
            mean, std: of the input's channels, in pixel values 0 to 255: the input is (pixel - mean) / std.
            channels: "rgb" or "bgr", the order that the network reads.
            palette: [K, 3] RGB, the colours in predict_file's label maps; PASCAL VOC's by default.
            window, window_stride: as above.
        """
        predictor = cls.__new__(cls)
        palette = default_palette(255) if palette is None else palette
        deploy = {"output": "logits", "mean": mean, "std": std, "channels": channels, "palette": palette}
        predictor._set_up(EagerRuntime(layer), deploy, None, window, window_stride)
        return predictor

    def _set_up(self, runtime, deploy, resize, window, window_stride):
        self.runtime = runtime
        self.palette = np.asarray(deploy["palette"], np.uint8)
        self._mean, self._std, self._reverse = _normalization(deploy["mean"], deploy["std"], deploy["channels"])
        self._makes_labels = deploy["output"] == "label"
        self._resize = resize
        self._slides = window is not None
        self._window, self._stride = _window_and_stride(window, window_stride)

    def predict(self, images, *, batch_size=4):
        """Label maps of images.

        Args:
            images: one image uint8 [H, W, 3] in RGB (cv2.imread gives BGR: reverse its last axis), or a list of images
                of any sizes.
            batch_size: images of one size, or windows, that go through the network together.

        Returns:
            uint8 [H, W], or a list of them in the order of the images. (A network that was exported with --output label
            and an output size makes labels of that size.)

        Raises:
            ValueError: an image of another kind; more than 256 classes; an image larger than the window if the network
                was exported with --output label.
        """
        return _predict_by_size(images, batch_size, lambda batch: self._labels(batch, batch_size))

    def predict_logits(self, images, *, batch_size=4):
        """As `predict`, but logits float32 [K, H, W]. ValueError if the network was exported with --output label."""
        if self._makes_labels:
            raise ValueError("this network makes labels, not logits: export it with --output logits")
        return _predict_by_size(images, batch_size, lambda batch: self._logits(batch, batch_size))

    def predict_file(self, source, target, *, palette=None, progress=True):
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
            ValueError: a network that makes labels or resizes its images; OutputError, one of its kind: one that has
                more than 256 classes or was exported for one output size.
        """
        self.check_predicts_in_parts()
        palette = self.palette if palette is None else palette
        with open_raster(source) as picture:
            size = picture.height, picture.width
            with (
                write_label_map(target, size, palette, picture.place) as write,
                tqdm(total=size[0], desc="predicting", unit="row", disable=not progress) as bar,
            ):
                for rows in self._slide_labels(picture.read_rows, size):
                    write(rows)
                    bar.update(len(rows))

    def check_predicts_in_parts(self):
        """Raises ValueError if predict_file cannot be done with this network: it makes labels or resizes its images."""
        self._check_slides()
        if self._resize:
            raise ValueError(
                "this network's val transforms resize the image, which needs the whole of it; "
                "export it with a config whose val transforms only normalise"
            )

    def _labels(self, images, batch_size):
        """uint8 [N, H, W] of images [N, H, W, 3]."""
        if not self._is_too_large(images):
            outputs = self._run(images) if self._makes_labels else self._logits(images, batch_size).argmax(axis=1)
            return outputs.astype(np.uint8)
        self._check_slides()
        if self._resize:
            return self._logits(images, batch_size).argmax(axis=1).astype(np.uint8)
        rows = [list(self._slide_labels(_row_reader(image), image.shape[:2], batch_size)) for image in images]
        return np.stack([np.concatenate(parts) for parts in rows])

    def _logits(self, images, batch_size):
        """float32 [N, K, H, W] of images [N, H, W, 3], whatever size the network takes and makes."""
        height, width = images.shape[1:3]
        if self._resize:
            images = np.stack([_resized(image, self._resize) for image in images])
        if self._is_too_large(images):
            slid = [
                slide_whole(self._run, image, self._window, self._stride, batch_size=batch_size) for image in images
            ]
            logits = np.stack(slid)
        else:
            logits = self._run(images)
        if logits.shape[2:] == (height, width):
            return logits
        # Bilinear between pixel centres, as PaddleSeg's reverse_transform.
        return np.stack([[cv2.resize(plane, (width, height)) for plane in planes] for planes in logits])

    def _slide_labels(self, read_rows, size, batch_size=1):
        """Yields the labels of an image's next rows, uint8 [any number, W], from top to bottom."""
        for _, x, logits in slide(self._run, read_rows, size, self._window, self._stride, batch_size=batch_size):
            if x == 0:
                rows = np.empty((logits.shape[1], size[1]), np.uint8)
            end = x + logits.shape[2]
            rows[:, x:end] = logits.argmax(axis=0)
            if end == size[1]:
                yield rows

    def _run(self, pixels):
        """The network's output of uint8 [N, h, w, 3]."""
        if self._reverse:
            pixels = pixels[..., ::-1]
        x = (pixels.astype(np.float32) - self._mean) / self._std
        output = self.runtime(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
        if output.ndim == 4 and output.shape[1] > _MOST_CLASSES:
            raise OutputError(f"the network has {output.shape[1]} classes, label maps hold at most {_MOST_CLASSES}")
        return output

    def _is_too_large(self, images):
        return self._slides and any(side > most for side, most in zip(images.shape[1:3], self._window))

    def _check_slides(self):
        if self._makes_labels:
            raise ValueError("labels cannot be averaged where windows overlap: export with --output logits")


def _predict_by_size(images, batch_size, predict):
    """Runs predict on batches of images of one size; results in the order of the images."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    if isinstance(images, np.ndarray) and images.ndim != 4:
        return _predict_by_size([images], batch_size, predict)[0]
    places = {}
    for i, image in enumerate(images):
        places.setdefault(_check_image(image).shape, []).append(i)
    results = [None] * len(images)
    for same in places.values():
        for start in range(0, len(same), batch_size):
            batch = same[start : start + batch_size]
            for i, result in zip(batch, predict(np.stack([images[i] for i in batch]))):
                results[i] = result
    return results


def _check_image(image):
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"the image is {found}, expected an array uint8 [H, W, 3] in RGB")
    if 0 in image.shape:
        raise ValueError(f"the image is {list(image.shape)}: it has no pixels")
    return image


def _row_reader(image):
    return lambda y1, y2: image[y1:y2]


def _resized(image, resize):
    """An image uint8 [H, W, 3] through a transform that keeps 8 bits."""
    return resize({"img": image.astype(np.float32), "trans_info": []})["img"].astype(np.uint8)


def _resize_of(transforms, folder):
    """The RandomResize among an exported network's transforms that has nothing random, or None.

    Raises:
        RuntimeLoadError: there are others than it, Normalize and RGBToBGR.
    """
    resize = None
    for transform in transforms:
        options = {key: value for key, value in transform.items() if key != "type"}
        if transform["type"] == "RandomResize" and list(options.pop("ratio_range", [1, 1])) == [1, 1]:
            resize = RandomResize(**options)
        elif transform["type"] not in ("Normalize", "RGBToBGR"):
            raise RuntimeLoadError(
                f"the transforms of {folder} have {transform}, which the predictor does not do; "
                "export with a config whose val transforms only normalise, or use paddle-pointrend predict"
            )
    return resize


def _normalization(mean, std, channels):
    """(mean and std float32 [3], whether the network reads BGR)."""
    for name, values in (("mean", mean), ("std", std)):
        if np.shape(values) != (3,):
            raise ValueError(f"{name} is {values}, expected three numbers: only images of three channels are predicted")
    if 0 in list(std):
        raise ValueError(f"std is {std}, expected no 0")
    if channels not in ("rgb", "bgr"):
        raise ValueError(f"channels is {channels!r}, expected 'rgb' or 'bgr'")
    return np.asarray(mean, np.float32), np.asarray(std, np.float32), channels == "bgr"


def _window_and_stride(window, stride):
    """Both as (height, width), checked; the defaults where they are None."""
    if window is None and stride is not None:
        raise ValueError(f"window_stride is {stride} without a window")
    window = _two_sides("window", DEFAULT_WINDOW if window is None else window)
    stride = [max(1, side * 3 // 4) for side in window] if stride is None else _two_sides("window_stride", stride)
    if any(step > side for step, side in zip(stride, window)):
        raise ValueError(f"window_stride {stride} is larger than the window {window}: it leaves gaps")
    return window[::-1], stride[::-1]


def _two_sides(name, sides):
    if np.shape(sides) != (2,) or not all(isinstance(side, (int, np.integer)) and side >= 1 for side in sides):
        raise ValueError(f"{name} is {sides!r}, expected (width, height), whole numbers of at least 1")
    return list(sides)
