"""Compares the two sides of a Pair: stages, one training step, a trajectory, preprocessing, choice of points."""

from collections.abc import Callable
from unittest import mock

import numpy as np
import paddle
from paddleseg.transforms import Compose

from paddle_pointrend import sample_training_points
from torch_parity.errors import aligned_points, cosine, map_errors, relative_l2, share_of_common
from torch_parity.pairs import Pair
from torch_parity.stages import paddle_losses, paddle_stages, paddle_train_step
from torch_parity.synthetic_data import random_coords, smooth_image

BEFORE_WARMUP_ENDS = 10  # the trajectory starts so many iterations before


def compare_evaluation(pair: Pair, shape: tuple[int, int, int], seed: int = 0) -> dict[str, dict]:
    """Measures the errors of every stage in evaluation: stage -> measures.

    Points are compared as sets, because points that are unsure alike may come in another order, and their features and
    logits where both sides chose them.
    """
    images = smooth_image(shape, seed)
    theirs, ours = pair.reference.evaluate(images), paddle_stages(pair.model, images)
    if list(ours) != list(theirs):
        raise ValueError(f"the sides have different stages: {list(ours)} and {list(theirs)}")
    return {stage: _stage_errors(ours, theirs, stage) for stage in theirs}


def _stage_errors(ours, theirs, stage):
    step, _, name = stage.partition(".")
    if name == "indices":
        share = share_of_common(ours[stage], theirs[stage])
        return {"shape": list(theirs[stage].shape), "share_common": share}
    if stage == "argmax":
        return {"shape": list(theirs[stage].shape), "share_different": float((ours[stage] != theirs[stage]).mean())}
    if name in ("coords", "fine", "coarse", "logits"):
        shape = list(theirs[stage].shape)
        return map_errors(*aligned_points(ours, theirs, step, name)) | {"shape": shape}
    return map_errors(ours[stage], theirs[stage])


def compare_training(pair: Pair, shape: tuple[int, int, int], seed: int = 1) -> dict[str, dict]:
    """Compares one training step: the losses, every gradient, every running statistic. Dict of dicts."""
    pair.renew(calm=True)
    batch = pair.batch(shape, seed)
    their_losses, their_gradients = pair.reference.train_step(*batch)
    with _sizes_of_batch_norms(pair.model) as sizes:
        our_losses, our_gradients = paddle_train_step(pair.model, pair.losses, *batch)
    their_gradients = pair.ours_named(their_gradients)
    if set(their_gradients) != set(our_gradients):
        raise ValueError(f"gradients of one side only: {sorted(set(their_gradients) ^ set(our_gradients))}")
    gradients = {
        name: {
            "relative_l2": relative_l2(our_gradients[name], theirs),
            "cosine": cosine(our_gradients[name], theirs),
            "norm": float(np.linalg.norm(theirs)),
        }
        for name, theirs in their_gradients.items()
    }
    return {
        "losses": _losses(our_losses, their_losses),
        "gradients": gradients,
        "statistics": _compare_statistics(pair, sizes),
    }


def _losses(ours, theirs):
    names = ("coarse", "point")
    return {name: {"ours": a, "theirs": b, "relative": abs(a - b) / abs(b)} for name, a, b in zip(names, ours, theirs)}


def _compare_statistics(pair, sizes):
    """Compares running statistics after a step: as they are, and as two known differences of the reference explain.

    Torch's running variance is the unbiased one, n / (n - 1) of Paddle's; and mmsegmentation runs the coarse head
    twice in a step, so that its statistics move twice.
    """
    ours = {name: tensor.numpy() for name, tensor in pair.model.state_dict().items()}
    first, theirs = pair.ours_named(pair.state), pair.ours_named(pair.reference.state())
    plain, explained = {}, {}
    for layer, size in sizes.items():
        twice = pair.reference.source == "mmseg" and layer.startswith("segmentor.head.")
        kept = 0.9**2 if twice else 0.9
        for part, factor in (("_mean", 1), ("_variance", size / (size - 1))):
            name = f"{layer}.{part}"
            of_batch = (ours[name].astype("float64") - 0.9 * first[name]) / 0.1
            expected = kept * first[name] + (1 - kept) * factor * of_batch
            plain[name] = relative_l2(ours[name], theirs[name])
            explained[name] = relative_l2(expected, theirs[name])
    return {"as_they_are": plain, "explained": explained}


class _sizes_of_batch_norms:  # noqa: N801  a context manager, used like a function
    """Inside, notes how many numbers each batch norm of a model averages over: layer's name -> count."""

    def __init__(self, model):
        self.layers = [(n, m) for n, m in model.named_sublayers() if isinstance(m, paddle.nn.BatchNorm2D)]
        self.sizes = {}

    def __enter__(self):
        self.hooks = [layer.register_forward_post_hook(self._note(name)) for name, layer in self.layers]
        return self.sizes

    def __exit__(self, *exception):
        for hook in self.hooks:
            hook.remove()

    def _note(self, name):
        def note(layer, inputs, output):
            self.sizes[name] = output.size // output.shape[1]

        return note


def compare_trajectory(
    pair: Pair, shape: tuple[int, int, int], steps: int = 20, progress: Callable[[str], object] = print
) -> dict[str, object]:
    """Compares SGD steps of both recipes from just before the end of the warm-up, on the same batches and points.

    The layers that give logits start with the deviation that both references start one with, 0.01.

    Returns:
        Dict: the start, for each step losses and learning rates, and for each parameter the relative distance at the
        end, "parameters", and that distance in relation to how far the parameter moved, "movements".
    """
    pair.renew(calm=True, predictor_std=0.01)
    start = pair.reference.warmup_iters - BEFORE_WARMUP_ENDS
    their_step, our_step = pair.reference.sgd(start), _paddle_sgd(pair, start)
    rows = []
    for i in range(steps):
        batch = pair.batch(shape, 100 + i)
        their_losses, their_lr = their_step(*batch)
        our_losses, our_lr = our_step(*batch)
        rows.append(_losses(our_losses, their_losses) | {"our_lr": our_lr, "their_lr": their_lr})
        worst = max(rows[-1][name]["relative"] for name in ("coarse", "point"))
        progress(f"  step {start + i}: losses {our_losses[0]:.4f} {our_losses[1]:.4f}, relative error {worst:.1e}")
    first, theirs = pair.ours_named(pair.state), pair.ours_named(pair.reference.state())
    ours = {name: p.numpy() for name, p in pair.model.named_parameters() if not p.stop_gradient}
    return {
        "start": start,
        "steps": rows,
        "parameters": {name: relative_l2(ours[name], theirs[name]) for name in ours},
        "movements": {name: relative_l2(ours[name] - first[name], theirs[name] - first[name]) for name in ours},
    }


def _paddle_sgd(pair, start):
    """Makes the recipe of the config at an iteration: a function (images, labels, coords) -> (losses, lr)."""
    optimizer, losses = pair.builder.optimizer, pair.losses
    for _ in range(start):
        pair.builder.lr_scheduler.step()

    def step(*batch):
        lr = optimizer.get_lr()
        coarse, point = paddle_losses(pair.model, losses, *batch)
        (coarse + point).backward()
        optimizer.step()
        pair.builder.lr_scheduler.step()
        pair.model.clear_gradients()
        return (float(coarse), float(point)), lr

    return step


def compare_preprocessing(pair: Pair, size: tuple[int, int] = (60, 100), seed: int = 2) -> dict[str, object]:
    """Sends a raw image through each side's own preprocessing: errors of the logits.

    Ours is the validation transforms of the config, but for those that resize the image. The image is so small that
    every step refines every cell. In a larger one the steps choose among cells that are unsure nearly alike, and the
    last bit of the input decides: our own network on two inputs that differ by 2e-7 can be 0.5 deviations apart at some
    pixels. Whether it happens depends on the order in which a processor's convolutions sum.
    """
    pair.renew()
    image = smooth_image((1, *size), seed)[0].transpose(1, 2, 0)
    image = np.clip(image * 50 + 120, 0, 255).astype("uint8")
    transforms = [t for t in pair.builder.val_transforms if "Resize" not in type(t).__name__]
    prepared = Compose(transforms)({"img": image.copy()})["img"].astype("float32")[None]
    pair.model.eval()
    with paddle.no_grad():
        ours = pair.model(paddle.to_tensor(prepared))[0].numpy()
    return map_errors(ours, pair.reference.predict_raw(image)[None])


def compare_sampling(pair: Pair, seed: int = 3) -> float:
    """Measures the share of equal training points when both sides draw the same random numbers."""
    count, num_points = 2, pair.reference.num_train_points
    logits = smooth_image((count * pair.reference.num_classes, 32, 64), seed)[:, 0]
    logits = logits.reshape(count, pair.reference.num_classes, 32, 64)
    candidates = random_coords(count, 3 * num_points, seed)
    uniform = random_coords(count, num_points - int(0.75 * num_points), seed + 1)
    theirs = pair.reference.sampled_points(logits, candidates, uniform, num_points)
    numbers = [paddle.to_tensor(candidates), paddle.to_tensor(uniform)]
    with mock.patch.object(paddle, "rand", side_effect=numbers):
        ours = sample_training_points(paddle.to_tensor(logits), num_points).numpy()
    sets = [{tuple(point) for point in side[i]} for i in range(count) for side in (ours, theirs)]
    return float(np.mean([len(a & b) / num_points for a, b in zip(sets[::2], sets[1::2])]))
