"""paddle-pointrend attach: the config that puts PointRend on a trained model, which stays as it is."""

import copy
import inspect
import os
import pathlib
import shlex
import tempfile

import paddle
import yaml
from paddleseg.cvlibs import SegBuilder
from paddleseg.utils import logger

from paddle_pointrend import PointRendSeg
from paddle_pointrend.cli.common import positive_float, positive_int
from paddle_pointrend.errors import UsageError, one_line
from paddle_pointrend.files import check_writable, write_whole
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, load_config
from paddle_pointrend.paddleseg.models import WEIGHTS, load_trained_weights

ITERS = 1000
LEARNING_RATE = 0.001
SIZES = ((97, 131), (110, 200))  # of the images that show whether a model runs at any size
DIVISORS = (1, 2, 4, 8, 16, 32, 64)

_HEAD = """\
PointRend on the trained {host} of {config}. It stays as it is, only the point head learns.
  {train}
  {val}
{reads}
Optimizer and schedule are the point head's, whatever the model was trained with. The head is small and begins with the
model's own prediction, on features that do not change: so the training is short.
Expected time: not measured. Expected score: not measured.
"""


def add_arguments(parser):
    """The command's arguments."""
    add = parser.add_argument
    add("output", metavar="OUT.yml", help="where to write the new config")
    add("--config", required=True, help="YAML config of the trained model")
    add("--model_path", required=True, help="its weights, a .pdparams file or the folder that holds it")
    add("--iters", type=positive_int, help=f"iterations, default: {ITERS}, or the config's where those are fewer")
    add("--learning_rate", type=positive_float, default=LEARNING_RATE, help=f"default: {LEARNING_RATE}")
    add("--coarse", metavar="PATH", help="the sublayer whose output is the coarse logits, instead of the one found")
    add(
        "--fine",
        metavar="PATH",
        action="append",  # a list of them would take OUT.yml as one
        help="the sublayer whose output is the fine features, instead of the one found; once for each, fine to coarse",
    )


def run(args):
    """Writes the config, after it was built and run; returns the exit code."""
    config = load_config(args.config)
    _check_output(args.output, args.config)
    host = copy.deepcopy(config.dic["model"])  # before it is built, which adds to it
    base = _load_base(args, config)
    changes = _changes(args, config, host)
    model = _build_changed(args, changes)
    if _bits(model.segmentor) != _bits(base):
        raise UsageError(f"--config {args.config}: {_name(base)} does not load all of its `pretrained` weights")
    changes["model"].update(_measured(model, args))
    reads = _describe(model)
    train, val = _commands(args, changes["iters"])
    head = _HEAD.format(
        host=_name(base), config=args.config, reads=reads, train=" \\\n    ".join(train), val=" \\\n    ".join(val)
    )
    _write(args, head, changes)
    logger.info(f"Wrote {args.output}, PointRend on {_name(base)}.\n{reads}")
    logger.info(f"To train the point head, then to compare coarse and refined:\n{' '.join(train)}\n{' '.join(val)}")
    return 0


def _check_output(output, config):
    """Before the work rather than after it: UsageError for a file that cannot be, or should not be, written."""
    if not output.endswith((".yml", ".yaml")):
        raise UsageError(f"OUT must end in .yml, which PaddleSeg looks for; got {output}")
    if os.path.realpath(output) in map(os.path.realpath, _files(config)):
        raise UsageError(f"{output} is what --config {config} is read from; choose another OUT")
    try:
        pathlib.Path(output).absolute().parent.mkdir(parents=True, exist_ok=True)
        check_writable(output)
    except OSError as error:
        raise UsageError(f"{output}: cannot write this file: {error.strerror}") from error


def _files(config):
    """A config and what it inherits from; all of them could be read."""
    bases = yaml.load(pathlib.Path(config).read_text(encoding="utf-8"), yaml.FullLoader).get("_base_", [])
    bases = [bases] if isinstance(bases, str) else bases
    return [config, *(file for base in bases for file in _files(os.path.join(os.path.dirname(config), base)))]


def _load_base(args, config):
    """The trained model. UsageError if it cannot be one that PointRend is put on."""
    drop_pretrained(config.dic["model"])
    base = build(SegBuilder(config), args.config, "model")
    if isinstance(base, PointRendSeg):
        raise UsageError(f"--config {args.config}: its model is a PointRendSeg already")
    if "pretrained" not in inspect.signature(type(base).__init__).parameters:
        raise UsageError(
            f"--config {args.config}: {_name(base)} has no argument `pretrained`, which would bring its weights"
        )
    load_trained_weights(base, args.model_path, config.dic["model"].get("num_classes"))
    return base


def _changes(args, config, host):
    """What the new config changes, a dict in the order of writing. host: the model in the trained model's config."""
    drop_pretrained(host)
    num_classes = host.pop("num_classes", None) or SegBuilder(config).train_dataset_class.NUM_CLASSES
    folder = os.path.isdir(args.model_path)
    weights = os.path.join(args.model_path, WEIGHTS) if folder else args.model_path
    model = {
        "type": "PointRendSeg",
        "num_classes": num_classes,
        "segmentor": {"type": host.pop("type"), "num_classes": num_classes, **host, "pretrained": weights},
    }
    taps = {name: paths for name, paths in (("coarse", args.coarse), ("fine", args.fine)) if paths}
    if taps:
        model["taps"] = taps
    model["freeze_segmentor"] = True
    model["point_head"] = {"start_from_coarse": True}
    loss = {"type": "PointSampledCrossEntropyLoss"}
    weight = next(iter(config.loss_cfg["types"]), {}).get("weight")
    if isinstance(weight, list):  # the classes go on to weigh what they weighed
        loss["weight"] = weight
    schedule = {"learning_rate": args.learning_rate, "end_lr": 0, "power": 0.9}
    new = {
        "model": model,
        "loss": {"types": [loss], "coef": [1]},
        "optimizer": {"type": "AdamW", "weight_decay": 0.01},
        "lr_scheduler": {"type": "PolynomialDecay", **schedule},
    }
    iters = args.iters or min(ITERS, config.iters)
    return {"iters": iters, **{key: {"_inherited_": False, **value} for key, value in new.items()}}


def _build_changed(args, changes):
    """The new config's model, read from YAML as it will be."""
    with tempfile.TemporaryDirectory() as folder:
        draft = pathlib.Path(folder, "draft.yml")
        draft.write_text(_dump({"_base_": os.path.abspath(args.config), **changes}), encoding="utf-8")
        config = load_config(str(draft))
    return build(SegBuilder(config), args.config, "model")


def _measured(model, args):
    """Options of PointRendSeg as measured with the trained weights: nothing is left to find with random ones."""
    options = {}
    if model.taps is not None:
        options["taps"] = {"coarse": model.taps.coarse, "fine": model.taps.fine}
        if model.taps.coarse is None:  # the model's output
            del options["taps"]["coarse"]
    divisor = _find_size_divisor(model, args)
    return {**options, "size_divisor": divisor} if divisor > 1 else options


@paddle.no_grad()
def _find_size_divisor(model, args):
    """The smallest with which the model runs at any size; UsageError if none does."""
    model.eval()
    channels = getattr(model.taps or model.segmentor, "in_channels", 3)
    for model.size_divisor in DIVISORS:
        try:
            for size in SIZES:
                model(paddle.zeros([1, channels, *size]))
            return model.size_divisor
        except Exception as error:  # whatever a model fails with at a size that it does not take
            failure = error
    raise UsageError(f"--config {args.config}: with PointRend the model fails: {one_line(failure)}") from failure


def _describe(model):
    """Where coarse logits and fine features come from, in words."""
    source = model.taps or model.segmentor
    coarse, fine = "forward_features", ["forward_features"] * len(source.fine_channels)
    if model.taps is not None:
        coarse, fine = source.coarse or "the model's output", source.fine
    strides = getattr(source, "fine_strides", ["?"] * len(fine))
    maps = [
        f"{path} ({channels} channels, stride {stride})"
        for path, channels, stride in zip(fine, source.fine_channels, strides)
    ]
    lines = [
        f"Coarse logits: {coarse} (stride {source.coarse_stride}). Fine features: {', '.join(maps)}.",
        f"Subdivision steps: {len(model.num_subdivision_points)}.",
    ]
    if model.size_divisor > 1:
        lines[1] += f" Images are padded to multiples of {model.size_divisor}, because it does not run at every size."
    return "\n".join(lines)


def _commands(args, iters):
    """The commands that come next, train and val, in two parts each."""
    save_dir = f"output/{pathlib.Path(args.output).stem}"
    ends = (["--save_dir", save_dir], ["--model_path", f"{save_dir}/iter_{iters}/{WEIGHTS}"])
    starts = (["paddle-pointrend", command, "--config", args.output] for command in ("train", "val"))
    return [[shlex.join(start), shlex.join(end)] for start, end in zip(starts, ends)]


def _write(args, head, changes):
    # Between real folders: "../" after a symbolic link leads elsewhere.
    folder, name = os.path.split(args.config)
    base = os.path.join(os.path.realpath(folder), name)
    base = pathlib.Path(os.path.relpath(base, os.path.dirname(os.path.realpath(args.output)))).as_posix()
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    parts = [comment, _dump({"_base_": base})]
    parts += [_dump({key: value}) for key, value in changes.items()]
    try:
        write_whole(args.output, "\n".join(parts).encode())
    except OSError as error:
        raise UsageError(f"{args.output}: cannot write this file: {error.strerror}") from error


class _Dumper(yaml.SafeDumper):
    """As the other configs are written: no anchors, lists indented, those of numbers on one line."""

    def ignore_aliases(self, data):
        return True

    def represent_sequence(self, tag, sequence, flow_style=None):
        return super().represent_sequence(tag, sequence, not any(isinstance(item, (dict, list)) for item in sequence))

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


def _dump(content):
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _bits(model):
    return {key: tensor.numpy().tobytes() for key, tensor in model.state_dict().items()}


def _name(model):
    return type(model).__name__
