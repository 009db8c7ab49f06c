"""The network that predict runs: a layer in eager Paddle, or an exported folder in a faster runtime."""

import importlib.util

import numpy as np
import paddle
from paddle.nn import functional as F
from paddleseg.core import infer
from paddleseg.cvlibs import SegBuilder
from paddleseg.transforms import Normalize
from paddleseg.utils import logger

from paddle_pointrend.cli.inference import predict_logits
from paddle_pointrend.data.transforms import RGBToBGR
from paddle_pointrend.deploy.deploy_file import DeployFile, is_exported
from paddle_pointrend.deploy.description import describe_data
from paddle_pointrend.deploy.export import ExportError, export_model
from paddle_pointrend.deploy.predictor import Predictor
from paddle_pointrend.deploy.runtimes import (
    RUNTIMES,
    RuntimeLoadError,
    check_installed,
    check_precision,
    fastest_runtime,
    installed_runtimes,
    load_runtime,
    runtimes_computing_in,
)
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.paddleseg.configs import load_config
from paddle_pointrend.paddleseg.models import load_model

MANY_IMAGES = 20  # from here on it pays to export the model first, which takes seconds


class LayerNetwork:
    """A layer in eager Paddle."""

    def __init__(self, layer):
        self._layer = layer

    def predict_labels(self, data, options):
        """Labels uint8 [H, W] at the size that the image had before its transforms.

        Args:
            data: what PaddleSeg's `preprocess` made of the image.
            options: of `inference_options`.
        """
        return _labels_of(predict_logits(self._layer, data["img"], data["trans_info"], options))

    def predictor(self, transforms, window, stride):
        """A Predictor with this layer and PaddleSeg's transforms. UsageError for transforms that it does not do."""
        normalization = _normalization_of(transforms)
        return Predictor.from_model(self._layer, **normalization, window=window, window_stride=stride)


class ExportedNetwork:
    """An exported folder in one of the other runtimes.

    Args:
        folder: what export wrote.
        runtime: a name of RUNTIMES, None for the fastest that reads it.
        device: "cpu" or "gpu"; None for the CPU, or the GPU where there is one and the runtime uses it.
        precision: a name of PRECISIONS.
        options: of `inference_options`.

    Raises:
        UsageError: the folder, runtime or precision cannot be used, or not with these options.
    """

    def __init__(self, folder, runtime, device, precision, options):
        try:
            self._makes_labels = DeployFile.read(folder).makes_labels
            runtime = runtime or fastest_runtime(folder, precision)
            device = device or ("gpu" if runtime == "paddle-inference" and "gpu" in paddle.get_device() else "cpu")
            self._runtime = load_runtime(runtime, folder, device=device, precision=precision)
        except ValueError as error:
            raise UsageError(one_line(error)) from error
        if self._makes_labels and (options["augment"] or options["is_slide"]):
            raise UsageError(
                f"{folder} makes labels, which --aug_pred and --is_slide cannot average: export it with --output logits"
            )
        self._folder = folder
        logger.info(f"Runtime: {runtime} on {device} in {precision}")

    def predict_labels(self, data, options):
        """As LayerNetwork's."""
        if not self._makes_labels:
            return _labels_of(predict_logits(self._run, data["img"], data["trans_info"], options))
        labels = self._run(data["img"])[0]
        return infer.reverse_transform(labels, data["trans_info"]).squeeze((0, 1)).numpy().astype("uint8")

    def predictor(self, transforms, window, stride):
        """A Predictor on this folder, which notes its transforms. UsageError if it does not predict in parts."""
        try:
            predictor = Predictor(self._folder, runtime=self._runtime, window=window, window_stride=stride)
            predictor.check_predicts_in_parts()
        except ValueError as error:
            raise UsageError(one_line(error)) from error
        return predictor

    def _run(self, x):
        """What PaddleSeg's inference functions take for a model: images in, a list of logits [N, K, H, W] out.

        Or labels [N, 1, H, W]; both at the images' size, even if the network was exported for another one.
        """
        output = paddle.to_tensor(self._runtime(x.numpy()))
        if self._makes_labels:
            output = output.unsqueeze(1).astype("float32")
        if output.shape[2:] != x.shape[2:]:
            output = F.interpolate(output, x.shape[2:], mode="nearest" if self._makes_labels else "bilinear")
        return [output]


def load_config_and_layer(args):
    """(config, its SegBuilder, the layer with trained weights); None for the layer if --model_path is exported.

    An exported network's own val transforms take the place of the config's.

    Raises:
        UsageError: no weights, weights that do not fit, a config that is wrong or not of the exported network.
    """
    config = load_config(args.config, opts=args.opts)
    if not args.model_path or not is_exported(args.model_path):
        return config, SegBuilder(config), load_model(config, args.model_path)
    try:
        deploy = DeployFile.read(args.model_path)
    except RuntimeLoadError as error:
        raise UsageError(one_line(error)) from error
    exported, num_classes = deploy.num_classes, (config.dic.get("model") or {}).get("num_classes")
    if num_classes not in (exported, None):
        raise UsageError(f"{args.model_path} has {exported} classes, the model of --config {args.config} {num_classes}")
    dataset, transforms = config.dic.setdefault("val_dataset", {}), deploy.transforms
    if dataset.get("transforms") != transforms:
        logger.warning(f"{args.model_path} was exported with other val transforms than the config's: its own are used")
        dataset["transforms"] = transforms
    return config, SegBuilder(config), None


def load_network(args, layer, config, options, *, device, many, folder):
    """The network in the runtime of --runtime, or the default.

    The default is the fastest runtime that is installed and computes in --precision; but trained weights stay in eager
    Paddle where there is little to predict in fp32, on another device than the CPU, and where the export fails.

    Args:
        args: parsed arguments.
        layer, config: of `load_config_and_layer`.
        options: of `inference_options`.
        device: the name of Paddle's device.
        many: whether there is much to predict.
        folder: where to export trained weights to.

    Raises:
        UsageError: a runtime that is not installed or does not fit.
    """
    if layer is None:
        if args.runtime == "paddle":
            raise UsageError(f"--runtime paddle runs trained weights (.pdparams), but {args.model_path} is exported")
        return ExportedNetwork(args.model_path, args.runtime, args.device, args.precision, options)
    runtime = args.runtime or _default_runtime(args.precision, many and device == "cpu")
    try:
        check_precision(runtime, args.precision)
        check_installed(runtime)
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    if runtime == "paddle":
        return LayerNetwork(layer)
    logger.info(f"Exporting the model for {runtime}; --runtime paddle runs it as it is")
    try:
        _export(layer, config, folder, RUNTIMES[runtime].format)
    except ExportError as error:
        if args.runtime or args.precision != "fp32":
            raise UsageError(f"--runtime {runtime}: the model cannot be exported: {one_line(error)}") from error
        logger.warning(f"The model cannot be exported, so eager Paddle runs it: {one_line(error)}")
        return LayerNetwork(layer)
    return ExportedNetwork(folder, runtime, args.device, args.precision, options)


def _default_runtime(precision, export_pays):
    """The fastest runtime, installed or not for another precision than fp32; paddle where no export pays."""
    if precision != "fp32":
        return runtimes_computing_in(precision)[0]
    if not export_pays:
        return "paddle"
    has_onnx = importlib.util.find_spec("paddle2onnx") is not None
    return next(name for name in installed_runtimes() if has_onnx or RUNTIMES[name].format != "onnx")


def _export(layer, config, folder, file_format):
    export_model(layer, folder, format=file_format, **describe_data(config.dic))


def _labels_of(logits):
    return logits.argmax(axis=1).squeeze(0).numpy().astype("uint8")


def _normalization_of(transforms):
    """mean and std in pixel values, and channels, of PaddleSeg's transforms in the order that they have.

    Raises:
        UsageError: there are others than one Normalize and RGBToBGR.
    """
    kinds = [type(transform) for transform in transforms]
    if kinds not in ([Normalize], [RGBToBGR, Normalize]):
        raise UsageError(
            "an image that is read in parts is only normalised, but the val transforms are "
            f"{', '.join(kind.__name__ for kind in kinds) or 'none'}: --opts val_dataset.transforms=... changes them"
        )
    mean, std = (np.broadcast_to(values * 255.0, 3).tolist() for values in (transforms[-1].mean, transforms[-1].std))
    return {"mean": mean, "std": std, "channels": "bgr" if kinds[0] is RGBToBGR else "rgb"}
