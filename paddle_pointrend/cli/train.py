"""paddle-pointrend train: PaddleSeg's trainer, with its flags."""

import pathlib
import shlex

import paddle
from paddleseg.core import train
from paddleseg.cvlibs import SegBuilder
from paddleseg.utils import logger, train_profiler, utils

from paddle_pointrend.cli.common import (
    add_common_arguments,
    make_save_dir,
    non_negative_int,
    positive_int,
    random_seed,
    set_device,
)
from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg import checkpoints, profiler
from paddle_pointrend.paddleseg.configs import build, load_config
from paddle_pointrend.paddleseg.datasets import StopOnError, check_files, check_samples
from paddle_pointrend.paddleseg.distributed import rank_and_size
from paddle_pointrend.paddleseg.models import WEIGHTS


def add_arguments(parser):
    """The command's arguments, named as in PaddleSeg's tools/train.py."""
    add_common_arguments(parser)
    add = parser.add_argument
    add("--save_dir", default="output", help="folder for checkpoints, default: output")
    add("--num_workers", type=non_negative_int, default=0, help="processes that read data, default: 0, this one")
    add("--do_eval", action="store_true", help="evaluate at every --save_interval and keep best_model")
    add("--use_vdl", action="store_true", help="write curves for VisualDL into --save_dir")
    add("--use_ema", action="store_true", help="also keep an exponential moving average of the weights")
    add(
        "--resume_model",
        metavar="auto|FOLDER",
        help="go on from the newest whole checkpoint in --save_dir, or FOLDER",
    )
    add("--iters", type=positive_int, help="iterations, instead of the config's")
    add(
        "--batch_size",
        type=positive_int,
        help="images of each process and iteration, instead of the config's",
    )
    add("--learning_rate", type=float, help="instead of the config's")
    add(
        "--save_interval",
        type=positive_int,
        default=1000,
        help="iterations between checkpoints, default: 1000",
    )
    add("--log_iters", type=positive_int, default=10, help="iterations between log lines, default: 10")
    add("--keep_checkpoint_max", type=int, default=5, help="checkpoints to keep, default: 5")
    add("--seed", type=random_seed, help="seed of everything random: a run repeats exactly on the same machine")
    add("--precision", choices=["fp32", "fp16"], default="fp32", help="fp16 is automatic mixed precision")
    add(
        "--amp_level",
        choices=["O1", "O2"],
        default="O1",
        help="of mixed precision; O2 keeps weights in fp16 too",
    )
    add(
        "--profiler_options",
        metavar="KEY=VALUE; ...",
        help="profile some iterations and stop, e.g. 'batch_range=[10,20]; profile_path=profile.json'",
    )
    add("--repeats", type=positive_int, default=1, help="times each epoch goes through the images, default: 1")
    add("--to_static_training", action="store_true", help="train the model as a static graph")


def run(args):
    """Trains; returns the exit code."""
    profiler_options = _parse_profiler_options(args.profiler_options)
    device = set_device(args.device)
    config = load_config(
        args.config,
        learning_rate=args.learning_rate,
        iters=args.iters,
        batch_size=args.batch_size,
        opts=args.opts,
    )
    make_save_dir(args.save_dir)
    # Optimizer states go by parameter names, which Paddle numbers: from 0, whatever was built before.
    with paddle.utils.unique_name.guard():
        model, train_dataset, val_dataset, optimizer, losses = _build_parts(args, config, device)
        resume_model = checkpoints.folder_to_resume(model, args.resume_model, args.save_dir)
        if resume_model is not None and checkpoints.iteration_of(resume_model) >= config.iters:
            logger.info(f"{resume_model} has all of the {config.iters} iterations: nothing to train")
            _say_what_next(args, resume_model)
            return 0
        _prepare_profiler(profiler_options, config.iters, resume_model)
        try:
            _train(args, config, model, resume_model, train_dataset, val_dataset, optimizer, losses)
        except (RuntimeError, ValueError) as error:
            if not any(known in str(error) for known in ("length of logits_list", "size_divisor is")):
                raise
            raise UsageError(f"--config {args.config}: {error}") from error
    _say_what_next(args, pathlib.Path(args.save_dir) / f"iter_{config.iters}")
    return 0


def _parse_profiler_options(text):
    """ProfilerOptions; None where there are none, or a PaddleSeg that needed no mend reads them itself."""
    if text is None or train_profiler.add_profiler_step is not profiler.add_profiler_step:
        return None
    try:
        return profiler.parse_options(text)
    except ValueError as error:
        raise UsageError(f"--profiler_options {error}") from error


def _prepare_profiler(options, iters, resume_model):
    profiler.forget()  # an earlier training's in this process
    if options is None:
        return
    done = 0 if resume_model is None else checkpoints.iteration_of(resume_model)
    try:
        profiler.check_options(options, iters - done)
    except ValueError as error:
        raise UsageError(f"--profiler_options {error}") from error


def _train(args, config, model, resume_model, train_dataset, val_dataset, optimizer, losses):
    train(
        model,
        train_dataset,
        val_dataset=val_dataset,
        optimizer=optimizer,
        save_dir=args.save_dir,
        iters=config.iters,
        batch_size=config.batch_size,
        resume_model=None if resume_model is None else str(resume_model),
        save_interval=args.save_interval,
        log_iters=args.log_iters,
        num_workers=args.num_workers,
        use_vdl=args.use_vdl,
        use_ema=args.use_ema,
        losses=losses,
        keep_checkpoint_max=args.keep_checkpoint_max,
        test_config=config.test_config,
        precision=args.precision,
        amp_level=args.amp_level,
        profiler_options=args.profiler_options,
        to_static_training=args.to_static_training or config.to_static_training,
    )


def _build_parts(args, config, device):
    """(model, train_dataset, val_dataset or None, optimizer, losses), seeded and checked."""
    rank, size = rank_and_size()
    builder = SegBuilder(config)
    train_dataset = build(builder, args.config, "train_dataset")
    if hasattr(train_dataset, "file_list"):
        train_dataset.file_list = train_dataset.file_list * args.repeats
    share = -(-len(train_dataset) // size)
    if share < config.batch_size:
        # PaddleSeg drops the last, smaller batch: with no other it would loop for ever.
        raise UsageError(f"batch_size {config.batch_size} is more than the {share} images of train_dataset a process")
    val_dataset = build(builder, args.config, "val_dataset") if args.do_eval else None
    for name, dataset in (("train_dataset", train_dataset), ("val_dataset", val_dataset)):
        if hasattr(dataset, "file_list"):
            check_files(dataset, name)
            check_samples(dataset, name)
    # Before the model is built, so that its weights repeat; the same in all processes: they start equal.
    utils.set_seed(args.seed)
    build(builder, args.config, "model")
    builder.model = utils.convert_sync_batchnorm(builder.model, device)
    parts = [build(builder, args.config, part) for part in ("model", "optimizer", "loss")]
    utils.set_cv2_num_threads(args.num_workers)
    if args.seed is not None:  # from here on each process draws its own crops and points
        utils.set_seed(args.seed + rank)
    train_dataset = StopOnError(train_dataset, args.num_workers)
    val_dataset = val_dataset and StopOnError(val_dataset, args.num_workers)
    return parts[0], train_dataset, val_dataset, *parts[1:]


def _say_what_next(args, last):
    best = pathlib.Path(args.save_dir) / "best_model"
    weights = (best if args.do_eval and best.is_dir() else last) / WEIGHTS
    command = ["paddle-pointrend", "val", "--config", args.config, "--model_path", str(weights)]
    if args.opts:
        command += ["--opts", *args.opts]
    logger.info(f"The weights are in {weights}; to evaluate them:\n{shlex.join(command)}")
