"""Runtimes that run a network on images: OpenVINO, ONNX Runtime, Paddle Inference and eager Paddle.

All are one kind of object: `runtime(images float32 [N, C, H, W]) -> array`, logits float32 [N, K, H, W] or labels uint8
[N, H, W] as the network was exported; the array is the caller's own. `runtime.name` is its name in RUNTIMES. Packages
are imported when a runtime of theirs is made, not before.
"""

import functools
import importlib.util
import os
import pathlib

import numpy as np
import yaml

from paddle_pointrend.environment import processors

# Fastest first, as docs/benchmarks.md measured.
RUNTIMES = ("onnxruntime", "openvino", "paddle-inference", "paddle")
# The format of exported folder that each reads; eager Paddle runs a layer, not a folder.
FORMATS = {"openvino": "onnx", "onnxruntime": "onnx", "paddle-inference": "paddle"}
# Which of them compute in it; the first is the fastest. bf16, bfloat16, rounds to 8 bits: labels change at boundaries.
PRECISIONS = {"fp32": RUNTIMES, "bf16": ("openvino",)}
_PACKAGES = {"openvino": "openvino", "onnxruntime": "onnxruntime", "paddle-inference": "paddle", "paddle": "paddle"}
_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
_DEPLOY_FILE = "deploy.yaml"
_DEPLOY_KEYS = ("Deploy", "format", "output", "num_classes", "channels", "mean", "std", "palette")


class RuntimeLoadError(ValueError):
    """An exported folder or a runtime that cannot be used; the message says why and what to do."""


def installed_runtimes():
    """The names of RUNTIMES whose packages are installed, fastest first."""
    return tuple(name for name in RUNTIMES if importlib.util.find_spec(_PACKAGES[name]) is not None)


def check_installed(name):
    """Raises RuntimeLoadError, which says how to install it, if one of RUNTIMES is not installed."""
    if name not in installed_runtimes():
        raise RuntimeLoadError(_install_hint(name))


def check_precision(name, precision):
    """Raises ValueError if one of RUNTIMES does not compute in that precision, one of PRECISIONS."""
    able = _runtimes_of(precision)
    if name not in able:
        raise ValueError(f"{name} does not compute in {precision} here, only {', '.join(able)} does")


def _runtimes_of(precision):
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def fastest_runtime(folder, precision="fp32"):
    """The name of the fastest installed runtime that reads an exported folder and computes in that precision.

    Raises:
        RuntimeLoadError: no such folder, or none of the runtimes that read its format is installed.
        ValueError: an unknown precision.
    """
    file_format = read_deploy_file(folder)["format"]
    readers = [name for name in _runtimes_of(precision) if FORMATS.get(name) == file_format]
    if not readers:
        raise RuntimeLoadError(f"{folder} is in format {file_format}, for {precision} export with --format onnx")
    for name in readers:
        if name in installed_runtimes():
            return name
    raise RuntimeLoadError(f"{folder} is in format {file_format}, {_install_hint(readers[-1])}")


def load_runtime(name, folder, *, num_threads=None, device="cpu", precision="fp32"):
    """A runtime that runs the network of an exported folder.

    Args:
        name: "openvino", "onnxruntime" or "paddle-inference".
        folder: what `paddle-pointrend export` wrote, in the format that the runtime reads: onnx for the first two,
            paddle for the last.
        num_threads: threads on CPU; by default OMP_NUM_THREADS, and where that is not set the processors that this
            process may use.
        device: "cpu", or "gpu" for paddle-inference, which is written as Paddle's documentation says and was not
            measured.
        precision: "fp32", or "bf16" for openvino on a processor that has units for bfloat16: several times as fast with
            AMX, and labels differ where two classes are about equal (docs/benchmarks.md).

    Raises:
        RuntimeLoadError: a runtime that is not installed, a folder that it does not read, bf16 on a processor without
            bfloat16.
        ValueError: an unknown runtime, device or precision, or two that do not go together; num_threads below 1.
    """
    if name not in FORMATS:
        eager = "; eager Paddle runs a layer, see EagerRuntime" if name == "paddle" else ""
        raise ValueError(f"runtime is {name!r}, expected one of {', '.join(FORMATS)}{eager}")
    if device not in ("cpu", "gpu"):
        raise ValueError(f"device is {device!r}, expected 'cpu' or 'gpu'")
    if device == "gpu" and name != "paddle-inference":
        raise ValueError(f"{name} runs on device 'cpu' here; paddle-inference and paddle run on 'gpu' too")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"num_threads is {num_threads}, expected at least 1")
    check_precision(name, precision)
    file_format = read_deploy_file(folder)["format"]
    if file_format != FORMATS[name]:
        raise RuntimeLoadError(
            f"{folder} is in format {file_format}, {name} reads {FORMATS[name]}: export with --format {FORMATS[name]}"
        )
    check_installed(name)
    num_threads = num_threads or _default_threads()
    if name == "openvino":
        return OpenVINORuntime(folder, num_threads, precision)
    if name == "onnxruntime":
        return ONNXRuntime(folder, num_threads)
    return PaddleInferenceRuntime(folder, num_threads, device)


def is_exported(folder):
    """Whether this is an exported folder: one that holds a deploy.yaml."""
    return (pathlib.Path(folder) / _DEPLOY_FILE).is_file()


def read_deploy_file(folder):
    """The dict in an exported folder's deploy.yaml, with all the keys that prediction needs.

    Raises:
        RuntimeLoadError: there is none, or not one that `paddle-pointrend export` wrote.
    """
    file = pathlib.Path(folder) / _DEPLOY_FILE
    if not file.is_file():
        raise RuntimeLoadError(
            f"{folder} holds no {_DEPLOY_FILE}, expected a folder that paddle-pointrend export wrote"
        )
    try:
        deploy = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RuntimeLoadError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    missing = [key for key in _DEPLOY_KEYS if key not in (deploy if isinstance(deploy, dict) else {})]
    if missing:
        raise RuntimeLoadError(f"{file} has no {', '.join(missing)}, expected what paddle-pointrend export writes")
    if deploy["format"] not in FORMATS.values():
        raise RuntimeLoadError(f"{file}: format is {deploy['format']!r}, expected 'onnx' or 'paddle'")
    return deploy


class _SizeWatcher:
    """Runs a network compiled for any size, and one compiled for its size alone where images keep coming in one size.

    That is 5 to 10 % faster. Compiling takes a second or two, so it waits for the third image of a size in a row, and
    twice as long each time that another size has come in between. There is one compiled network at a time.

    Args:
        compile_for: a function shape -> function of images; the shape is [N, C, H, W], or None for any.
    """

    def __init__(self, compile_for):
        self._compile_for = compile_for
        self._run = compile_for(None)
        self._compiled = self._latest = None
        self._count, self._patience = 0, 3

    def __call__(self, images):
        self._count = self._count + 1 if images.shape == self._latest else 1
        self._latest = images.shape
        if self._compiled is not None and self._compiled != images.shape:
            self._patience *= 2
            self._compile(None)
        elif self._compiled is None and self._count == self._patience:
            self._compile(images.shape)
        return self._run(images)

    def _compile(self, shape):
        self._run = None  # its memory goes before the next one's comes
        self._run, self._compiled = self._compile_for(shape), shape


class OpenVINORuntime:
    """OpenVINO on CPU; images and logits are float32, whatever precision it computes in between."""

    name = "openvino"

    def __init__(self, folder, num_threads, precision="fp32"):
        # On processors with bfloat16 units OpenVINO rounds to it unless told otherwise, which changes label maps.
        hints = {"fp32": "f32", "bf16": "bf16"}
        options = {"INFERENCE_PRECISION_HINT": hints[precision], "PERFORMANCE_HINT": "LATENCY"}
        options["INFERENCE_NUM_THREADS"] = num_threads
        file = _existing(folder, "model.onnx")
        if precision == "bf16" and not has_bfloat16():
            raise RuntimeLoadError(
                "precision is 'bf16', but this processor has no units for bfloat16 (AMX or AVX512_BF16): use 'fp32'"
            )

        def compile_for(shape):
            model = _openvino_core().read_model(str(file))
            if shape is not None:
                model.reshape(list(shape))
            self.network = compiled = _openvino_core().compile_model(model, "CPU", options)
            # share_outputs is off: the result is a copy, not the memory that the next call writes.
            return lambda images: compiled(np.ascontiguousarray(images), share_outputs=False)[0]

        self._run = _load(file, self.name, lambda: _SizeWatcher(compile_for))

    def __call__(self, images):
        return self._run(images)


def has_bfloat16():
    """Whether this processor has units for bfloat16, as OpenVINO sees it."""
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _openvino_core():
    """The one OpenVINO Core of this process, never deleted.

    A Core's CPU plugin gives the thread a stack for signal handlers, and takes it away when the Core goes. Of two Cores
    that go in the order in which they came, the second leaves the thread with the first one's, which is unmapped: the
    next signal that Python handles ends the process (OpenVINO 2026.4.1 on processors with AMX).
    """
    import openvino

    return openvino.Core()


class ONNXRuntime:
    """ONNX Runtime on CPU."""

    name = "onnxruntime"

    def __init__(self, folder, num_threads):
        import onnxruntime

        file = _existing(folder, "model.onnx")
        names = []  # of the input's dimensions

        def compile_for(shape):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = num_threads
            options.enable_mem_pattern = (
                False  # a plan of all memory in advance takes half as much again, and no less time
            )
            options.log_severity_level = 3  # errors; it warns of constants that paddle2onnx left over
            for name, size in zip(names, shape or ()):
                if isinstance(name, str):
                    options.add_free_dimension_override_by_name(name, size)
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            network_input = session.get_inputs()[0]
            names[:] = names or network_input.shape
            return lambda images: session.run(None, {network_input.name: np.ascontiguousarray(images)})[0]

        self._run = _load(file, self.name, lambda: _SizeWatcher(compile_for))

    def __call__(self, images):
        return self._run(images)


class PaddleInferenceRuntime:
    """Paddle Inference: oneDNN on CPU; on device "gpu" as its documentation says, not measured."""

    name = "paddle-inference"

    def __init__(self, folder, num_threads, device="cpu"):
        import paddle
        from paddle import inference

        if device == "gpu" and not paddle.is_compiled_with_cuda():
            raise RuntimeLoadError("device is 'gpu', but this Paddle is built for CPU: install paddlepaddle-gpu")
        file = _existing(folder, "model.json")
        config = inference.Config(str(file), str(_existing(folder, "model.pdiparams")))
        config.disable_glog_info()
        if device == "gpu":
            config.enable_use_gpu(256, 0)  # 256 MB to start with, GPU 0
        else:
            config.enable_mkldnn()
            config.set_mkldnn_cache_capacity(10)  # oneDNN keeps primitives of every input size
            config.set_cpu_math_library_num_threads(num_threads)
            if _placement_fails(paddle.__version__):
                config.delete_pass("onednn_placement_pass")
        self._predictor = _load(file, self.name, lambda: inference.create_predictor(config))
        self._input = self._predictor.get_input_handle(self._predictor.get_input_names()[0])
        self._output = self._predictor.get_output_handle(self._predictor.get_output_names()[0])

    def __call__(self, images):
        self._input.copy_from_cpu(np.ascontiguousarray(images))
        self._predictor.run()
        return self._output.copy_to_cpu()


class EagerRuntime:
    """A layer of Paddle, as it is; of a list of outputs the first counts.

    The number of threads is OMP_NUM_THREADS as it was when Paddle was imported. A device "gpu" is set with
    paddle.set_device, for the whole process, and was not measured.

    Args:
        layer: put into eval mode.
        device: "cpu", "gpu" or another of Paddle's; None for the one that is set.
    """

    name = "paddle"

    def __init__(self, layer, device=None):
        import paddle

        if device is not None:
            paddle.set_device(device)
        layer.eval()
        self._layer = layer

    def __call__(self, images):
        import paddle

        with paddle.no_grad():
            outputs = self._layer(paddle.to_tensor(images))
        return (outputs[0] if isinstance(outputs, (list, tuple)) else outputs).numpy()


def _placement_fails(version):
    """Whether this Paddle cannot run interpolations that onednn_placement_pass has put into oneDNN.

    "ConvertPirAttribute2RuntimeAttribute not support ArrayAttribute<DoubleAttribute>", at the first run, of sizes given
    as scale factors and as tensors alike: measured on 3.3.1; 3.3.0 has it and 3.2.2 and the develop branch do not,
    says https://github.com/PaddlePaddle/Paddle/issues/77340. Without the pass convolutions still run in oneDNN, and the
    results are float32's.
    """
    return version.split(".")[:2] == ["3", "3"]


def _default_threads():
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else processors()


def _install_hint(name):
    if name not in _EXTRAS:
        return f"{name} is not installed: see PaddlePaddle's installation guide"
    return f'{name} is not installed: pip install -c constraints.txt -e ".[{_EXTRAS[name]}]"'


def _existing(folder, name):
    file = pathlib.Path(folder) / name
    if not file.is_file():
        raise RuntimeLoadError(f"{folder} holds no {name}, which its {_DEPLOY_FILE} promises: export it again")
    return file


def _load(file, name, make):
    try:
        return make()
    except Exception as error:  # each runtime has exceptions of its own for a damaged file
        raise RuntimeLoadError(f"{name} cannot read {file}: {' '.join(str(error).split())}") from error
