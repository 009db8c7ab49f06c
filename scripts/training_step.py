"""What PointRend adds to a training step: the segmentor alone and with the point branch, alternately in one process.

    python scripts/training_step.py --config CONFIG.yml --size 512 1024 --batch_size 1

A step is what PaddleSeg's trainer does with a batch: forward pass, losses, backward pass, optimizer. The segmentor
alone is the config's `segmentor` with the losses before the last, a network of its own with its own optimizer. Images
and labels are random. Prints the median and the quartiles of each, and of the ratios of neighbouring steps.
"""

import argparse
import importlib
import os

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))  # Paddle takes one thread otherwise

import paddle
from measuring.timing import alternate, quartiles
from paddleseg.cvlibs import SegBuilder

from paddle_pointrend.errors import UsageError
from paddle_pointrend.paddleseg.configs import build, drop_pretrained, load_config

DEFAULT_CONFIG = "configs/cityscapes/pointrend_semantic_fpn_resnet101_mmseg.yml"


def measure(config_path, size, batch_size, rounds, opts=None):
    """Seconds, an array [rounds, 2]: a training step of the segmentor alone, of the whole model.

    Args:
        config_path: a config of PointRendSeg.
        size: height and width of the images.
        batch_size: images of a step.
        rounds: steps of each; one more of each warms up.
        opts: changes of the config, "KEY=VALUE" strings.
    """
    paddle.seed(0)
    config = load_config(config_path, opts=opts)
    images = paddle.randn([batch_size, 3, *size])
    labels = paddle.randint(0, config.dic["model"]["num_classes"], [batch_size, *size])
    alone = step_of(segmentor_alone(load_config(config_path, opts=opts)), config_path)
    whole = step_of(config, config_path)
    return alternate([lambda: alone(images, labels), lambda: whole(images, labels)], rounds)


def segmentor_alone(config):
    """The config of PointRendSeg, made that of its segmentor."""
    model, loss = config.dic["model"], config.dic["loss"]
    if "segmentor" not in model or model.get("freeze_segmentor"):
        raise UsageError("expected a config of PointRendSeg that trains its segmentor too: `segmentor`, not frozen")
    config.dic["model"] = model["segmentor"]
    config.dic["loss"] = {name: loss[name][:-1] for name in ("types", "coef")}
    return config


def step_of(config, config_path, to_static=False):
    """A function of (images [N, 3, H, W], labels [N, H, W]): one training step, from random weights on.

    With `to_static` the network is traced first, as the trainer does with --to_static_training.
    """
    drop_pretrained(config.dic["model"])
    builder = SegBuilder(config)
    model, optimizer, losses = (build(builder, config_path, part) for part in ("model", "optimizer", "loss"))
    model.train()
    if to_static:
        model = paddle.jit.to_static(model)
    loss_computation = importlib.import_module("paddleseg.core.train").loss_computation

    def step(images, labels):
        loss = sum(loss_computation(model(images), labels, None, losses))
        loss.backward()
        optimizer.step()
        model.clear_gradients()
        return float(loss)  # as the trainer: waits for the device

    return step


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=DEFAULT_CONFIG)
    parser.add_argument("--opts", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), default=(512, 1024))
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    seconds = measure(args.config, args.size, args.batch_size, args.rounds, args.opts)
    size = f"batch {args.batch_size} of {args.size[0]}x{args.size[1]}"
    print(f"{args.config}: {size}, {args.rounds} rounds, {paddle.get_device()}; medians and quartiles")
    print(f"segmentor alone:   {quartiles(seconds[:, 0])} s")
    print(f"with point branch: {quartiles(seconds[:, 1])} s")
    print(f"ratio:             {quartiles(seconds[:, 1] / seconds[:, 0])}")


if __name__ == "__main__":
    main()
