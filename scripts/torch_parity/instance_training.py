"""Training steps of our Mask R-CNN beside detectron2's: losses, gradients, steps of SGD, on the same random numbers.

Both sides sample from the reference's proposals, so that one proposal that rounding puts elsewhere does not change
which boxes are drawn, and read masks in the reference's foreground boxes.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import numpy as np
import paddle

from paddle_pointrend.convert import rename_key
from paddle_pointrend.models.instance import Targets
from torch_parity.errors import relative_l2
from torch_parity.instance_stages import InstancePair
from torch_parity.randomness import generator

INPUT_CHANGE = 1e-5  # grey levels
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4


def random_targets(images: list[np.ndarray], num_classes: int, seed: int = 0, count: int = 6) -> list[Targets]:
    """Draws ellipses as objects of images [H, W, 3]."""
    random = generator(seed, "objects")
    targets = []
    for image in images:
        height, width = image.shape[:2]
        y, x = np.mgrid[:height, :width] + 0.5
        masks = []
        for _ in range(count):
            centre = random.uniform(0.2, 0.8, 2) * (height, width)
            radii = random.uniform(15, 0.35 * height, 2)
            masks.append((((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2) < 1)
        corners = [np.nonzero(mask) for mask in masks]
        boxes = [[c.min(), r.min(), c.max() + 1, r.max() + 1] for r, c in corners]
        classes = random.randint(0, num_classes, count)
        targets.append(Targets(np.float32(boxes), classes.astype(np.int64), np.uint8(masks)))
    return targets


class _Draws:
    """The random numbers of one step, the same for both sides."""

    def __init__(self, seed):
        self.random = generator(seed, "draws")

    def permutation(self, count):
        return self.random.permutation(count)

    def uniform(self, shape):
        return self.random.random_sample(shape).astype("float32")


def reference_step(pair: InstancePair, images: list, targets: list[Targets], seed: int) -> tuple[dict, dict]:
    """Takes the reference's losses, scalars with a graph, and notes what ours is to be given.

    Returns:
        losses: name -> torch scalar.
        given: "proposals", boxes of each image, and "boxes", the foreground boxes that the mask head read.
    """
    import torch

    reference, draws, given = pair.reference, _Draws(seed), {}
    generator_, heads = reference.model.proposal_generator, reference.heads
    propose, forward_mask = generator_.predict_proposals, heads._forward_mask

    def note_proposals(*arguments):
        proposals = propose(*arguments)
        given["proposals"] = [p.proposal_boxes.tensor.numpy().copy() for p in proposals]
        return proposals

    def note_boxes(features, instances):
        shown = [p[(p.gt_classes >= 0) & (p.gt_classes < heads.num_classes)] for p in instances]
        given["boxes"] = np.concatenate([p.proposal_boxes.tensor.numpy() for p in shown])
        return forward_mask(features, instances)

    with (
        mock.patch.object(torch, "randperm", lambda n, **_: torch.from_numpy(draws.permutation(n))),
        mock.patch.object(torch, "rand", lambda *shape, **_: torch.from_numpy(draws.uniform(shape))),
        mock.patch.object(generator_, "predict_proposals", note_proposals),
        mock.patch.object(heads, "_forward_mask", note_boxes),
    ):
        return reference.losses(images, targets), given


def our_step(
    pair: InstancePair, images: list, targets: list[Targets], seed: int, given: dict
) -> dict[str, paddle.Tensor]:
    """Takes our losses, scalars with a graph, on the same random numbers, proposals and foreground boxes."""
    pair.model.train()
    tensors, sizes = pair.inputs(images)
    with _given(pair, seed, given):
        return pair.model(tensors, sizes, targets)


@contextlib.contextmanager
def _given(pair: InstancePair, seed: int, given: dict) -> Iterator[None]:
    draws = _Draws(seed)
    proposals = [paddle.to_tensor(boxes) for boxes in given["proposals"]]
    with (
        mock.patch.object(paddle, "randperm", lambda n: paddle.to_tensor(draws.permutation(n))),
        mock.patch.object(paddle, "rand", lambda shape, **_: paddle.to_tensor(draws.uniform(shape))),
        mock.patch.object(pair.model.rpn, "propose", return_value=(proposals, None)),
        mock.patch.object(pair.model.box_head, "boxes_of_classes", return_value=paddle.to_tensor(given["boxes"])),
    ):
        yield


def compare_training(pair: InstancePair, images: list, targets: list[Targets], seed: int = 0) -> dict[str, dict]:
    """Compares the losses and all gradients of one step.

    Returns:
        losses: name -> {"ours", "theirs", "relative"}.
        gradients: our parameter's name -> {"ours": relative L2 distance of ours from the reference's, "moved": of the
            reference's on images changed by 1e-5 grey levels}.
    """
    reference = pair.reference
    losses, given = reference_step(pair, images, targets, seed)
    gradients = _torch_gradients(pair, losses)
    noise = generator(seed, "noise")
    changed = [np.float32(image) + np.float32(INPUT_CHANGE * noise.standard_normal(image.shape)) for image in images]
    with mock.patch.object(reference.model.proposal_generator, "predict_proposals", _proposals(given)):
        moved = _torch_gradients(pair, reference_step(pair, changed, targets, seed)[0])

    ours = our_step(pair, images, targets, seed, given)
    sum(ours.values()).backward()
    our_gradients = {name: p.grad.numpy() for name, p in pair.model.named_parameters() if not p.stop_gradient}
    pair.model.clear_gradients()
    if set(our_gradients) != set(gradients):
        raise ValueError(f"gradients of one side only: {sorted(set(our_gradients) ^ set(gradients))}")
    return {
        "losses": _compare_losses(ours, losses),
        "gradients": {
            name: {"ours": relative_l2(our_gradients[name], theirs), "moved": relative_l2(moved[name], theirs)}
            for name, theirs in gradients.items()
        },
    }


def _proposals(given):
    """A predict_proposals that gives the same boxes again."""
    import torch
    from detectron2.structures import Boxes, Instances

    def propose(anchors, logits, deltas, image_sizes):
        proposals = [Instances(size) for size in image_sizes]
        for instances, boxes in zip(proposals, given["proposals"]):
            instances.proposal_boxes = Boxes(torch.from_numpy(boxes))
            instances.objectness_logits = torch.zeros(len(boxes))
        return proposals

    return propose


def _compare_losses(ours, theirs):
    pairs = {name: (float(ours[name]), loss.item()) for name, loss in theirs.items()}
    return {name: {"ours": a, "theirs": b, "relative": abs(a - b) / abs(b)} for name, (a, b) in pairs.items()}


def _torch_gradients(pair, losses):
    pair.reference.model.zero_grad()
    sum(losses.values()).backward()
    named = pair.reference.model.named_parameters()
    return ours_named({name: p.grad.numpy().copy() for name, p in named if p.grad is not None})


def ours_named(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Brings some of the reference's tensors under our names, those of fully connected layers transposed."""
    renamed = {rename_key(name, "detectron2"): array for name, array in tensors.items()}
    return {
        name.removeprefix("segmentor."): array.T if array.ndim == 2 else array
        for name, array in renamed.items()
        if name is not None
    }


def compare_trajectory(
    pair: InstancePair, images: list, targets: list[Targets], *, steps: int = 20, learning_rate: float = 2e-5
) -> dict[str, object]:
    """Takes steps of SGD on both sides, with new random numbers each step and the rate of the recipe's first step.

    Returns:
        losses: the largest relative difference of a loss in each step.
        parameters: name -> relative L2 distance at the end.
        movements: name -> that distance in relation to how far the parameter moved.
    """
    import torch

    reference, model = pair.reference, pair.model
    first = ours_named(reference.state())
    theirs = [p for p in reference.model.parameters() if p.requires_grad]
    their_optimizer = torch.optim.SGD(theirs, learning_rate, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    ours = [p for p in model.parameters() if not p.stop_gradient]
    our_optimizer = paddle.optimizer.Momentum(learning_rate, MOMENTUM, ours, weight_decay=WEIGHT_DECAY)
    worst = []
    for step in range(steps):
        losses, given = reference_step(pair, images, targets, step)
        their_optimizer.zero_grad()
        sum(losses.values()).backward()
        their_optimizer.step()
        our_losses = our_step(pair, images, targets, step, given)
        sum(our_losses.values()).backward()
        our_optimizer.step()
        our_optimizer.clear_grad()
        worst.append(max(row["relative"] for row in _compare_losses(our_losses, losses).values()))
    last = ours_named(reference.state())
    parameters = {name: p.numpy() for name, p in model.named_parameters() if not p.stop_gradient}
    moved = {name: np.abs(last[name] - first[name]).max() > 0 for name in parameters}
    return {
        "losses": worst,
        "parameters": {name: relative_l2(array, last[name]) for name, array in parameters.items()},
        "movements": {
            name: relative_l2(array - first[name], last[name] - first[name])
            for name, array in parameters.items()
            if moved[name]
        },
    }
