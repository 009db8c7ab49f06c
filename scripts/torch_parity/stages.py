"""Our side, without torch: a network of our YAML files, its stages in evaluation and its gradients in training."""

import os
from unittest import mock

import numpy as np
import paddle
from paddleseg.cvlibs import Config, SegBuilder

from paddle_pointrend.convert import convert_state
from paddle_pointrend.models import pointrend
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.points import point_sample


def build(config: str | os.PathLike) -> SegBuilder:
    """Makes PaddleSeg's builder of one of our YAML files, its model without pretrained weights."""
    config = Config(str(config))
    config.dic["model"]["segmentor"]["backbone"].pop("pretrained", None)
    return SegBuilder(config)


def load_reference_state(model: PointRendSeg, state: dict[str, np.ndarray], source: str) -> None:
    """Gives a model the weights of a reference, through the converter that users have."""
    model.set_state_dict(convert_state(state, source, model))


@paddle.no_grad()
def paddle_stages(model: PointRendSeg, images: np.ndarray) -> dict[str, np.ndarray]:
    """Computes every stage of our model's forward pass in evaluation.

    The final logits come from calling the model; the stages before them from its parts.

    Args:
        model: a PointRendSeg on a SemanticFPN.
        images: float32 [N, 3, H, W], normalised.

    Returns:
        Stage name -> array: res2 to res5, p2 to p5, coarse, and for each step i of the refinement stepi.indices,
        .coords, .fine, .coarse, .logits, .refined; logits, argmax.
    """
    model.eval()
    segmentor = model.segmentor
    maps = segmentor.backbone(paddle.to_tensor(_padded(images, model.size_divisor)))
    pyramid = segmentor.fpn(maps)
    coarse = segmentor.head(pyramid)
    stages = {f"res{i + 2}": m for i, m in enumerate(maps)} | {f"p{i + 2}": m for i, m in enumerate(pyramid)}
    stages["coarse"] = coarse
    steps = []
    model.subdivision(coarse, pyramid[:1]).run(coarse, model.num_subdivision_points, steps)
    for i, step in enumerate(steps):
        stage = {"indices": step.indices, "coords": step.coords}
        stage |= {"fine": point_sample(pyramid[0], step.coords), "coarse": point_sample(coarse, step.coords)}
        stage |= {"logits": step.point_logits, "refined": step.logits}
        stages |= {f"step{i + 1}.{name}": value for name, value in stage.items()}
    stages = {name: value.numpy() for name, value in stages.items()}
    stages["logits"] = model(paddle.to_tensor(images))[0].numpy()
    stages["argmax"] = stages["logits"].argmax(axis=1)
    return stages


def _padded(images, divisor):
    height, width = images.shape[2:]
    return np.pad(images, [(0, 0), (0, 0), (0, -height % divisor), (0, -width % divisor)])


def paddle_losses(
    model: PointRendSeg, losses: list, images: np.ndarray, labels: np.ndarray, point_coords: np.ndarray
) -> list[paddle.Tensor]:
    """Computes (coarse loss, point loss) of one training step at given points, Paddle scalars with a graph.

    Args:
        model: a PointRendSeg.
        losses: the two loss layers of its config.
        images: float32 [N, 3, H, W], normalised.
        labels: int64 [N, H, W].
        point_coords: float32 [N, P, 2].
    """
    coords, labels = paddle.to_tensor(point_coords), paddle.to_tensor(labels)
    model.train()
    with mock.patch.object(pointrend, "sample_training_points", return_value=coords):
        outputs = model(paddle.to_tensor(images))
    return [loss(output, labels) for loss, output in zip(losses, outputs)]


def paddle_train_step(
    model: PointRendSeg, losses: list, images: np.ndarray, labels: np.ndarray, point_coords: np.ndarray
) -> tuple[tuple[float, float], dict[str, np.ndarray]]:
    """Computes ((coarse loss, point loss), parameter's name -> gradient); the model's gradients are cleared."""
    coarse, point = paddle_losses(model, losses, images, labels, point_coords)
    (coarse + point).backward()
    gradients = {name: p.grad.numpy() for name, p in model.named_parameters() if not p.stop_gradient}
    model.clear_gradients()
    return (float(coarse), float(point)), gradients
