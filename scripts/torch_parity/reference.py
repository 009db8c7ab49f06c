"""One interface of the torch networks that this project is measured against.

Both are built from their own configuration files and run their own code; nothing is downloaded. torch, mmseg and
detectron2 are imported inside functions only, so that these modules can be imported without them.
"""

import contextlib
from unittest import mock

import numpy as np


class Reference:
    """One torch network. A subclass sets the attributes below and writes `_logits`, `_losses` and `_normalised`.

    Attributes:
        model: the torch module.
        source: "mmseg" or "detectron2", the name that convert_state knows.
        warmup_iters: where the recipe's warm-up ends.
        backbone, neck, coarse, step_map, step_points, point_head: pairs (owner, name of a function of it) whose calls
            are watched in `evaluate`.
        train_points: the pair (owner, name) that chooses the points of a training step.
    """

    def state(self) -> dict[str, np.ndarray]:
        """Returns every entry of a checkpoint: name -> NumPy array."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self.model.state_dict().items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns name -> shape of every entry of a checkpoint."""
        return {name: tuple(tensor.shape) for name, tensor in self.model.state_dict().items()}

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Takes the arrays of `state()`; a missing or unexpected name raises RuntimeError."""
        import torch

        self.model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})

    def evaluate(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Computes every stage of the forward pass in evaluation.

        Args:
            images: float32 [N, 3, H, W], normalised.

        Returns:
            Stage name -> array, the names of stages.paddle_stages.
        """
        import torch

        names = ("backbone", "neck", "coarse", "step_map", "step_points", "point_head")
        self.model.eval()
        with contextlib.ExitStack() as stack, torch.no_grad():
            calls = {name: stack.enter_context(_watched(*getattr(self, name))) for name in names}
            with self._normalised():
                logits = self._logits(torch.from_numpy(images))
        stages = {f"res{i + 2}": array for i, array in enumerate(_maps(calls["backbone"][0][1]))}
        stages |= {f"p{i + 2}": array for i, array in enumerate(_maps(calls["neck"][0][1]))}
        stages["coarse"] = as_array(calls["coarse"][0][1])
        for i, (points, head) in enumerate(zip(calls["step_points"], calls["point_head"])):
            stages[f"step{i + 1}.indices"] = as_array(points[1][0])
            stages[f"step{i + 1}.coords"] = as_array(points[1][1])
            stages[f"step{i + 1}.fine"], stages[f"step{i + 1}.coarse"] = as_array(head[0][0]), as_array(head[0][1])
            stages[f"step{i + 1}.logits"] = as_array(head[1])
            # The map whose uncertainty was asked for; the new logits have been written into it since.
            stages[f"step{i + 1}.refined"] = as_array(calls["step_map"][i][0][0])
        stages["logits"] = as_array(logits)
        stages["argmax"] = stages["logits"].argmax(axis=1)
        return stages

    def losses(self, images: np.ndarray, labels: np.ndarray, point_coords: np.ndarray) -> tuple:
        """Computes both losses of one training step, torch scalars with a graph: (coarse, point).

        Args:
            images: float32 [N, 3, H, W], normalised.
            labels: int64 [N, H, W].
            point_coords: float32 [N, P, 2], the points to train on.
        """
        import torch

        owner, name = self.train_points
        coords = torch.from_numpy(point_coords)
        self.model.train()
        with mock.patch.object(owner, name, return_value=coords), self._normalised():
            return self._losses(torch.from_numpy(images), torch.from_numpy(labels))

    def train_step(
        self, images: np.ndarray, labels: np.ndarray, point_coords: np.ndarray
    ) -> tuple[tuple[float, float], dict[str, np.ndarray]]:
        """Computes ((coarse loss, point loss), parameter's name -> gradient)."""
        self.model.zero_grad()
        coarse, point = self.losses(images, labels, point_coords)
        (coarse + point).backward()
        gradients = {name: as_array(p.grad) for name, p in self.model.named_parameters() if p.requires_grad}
        return (coarse.item(), point.item()), gradients

    def sampled_points(
        self, logits: np.ndarray, candidates: np.ndarray, uniform: np.ndarray, num_points: int
    ) -> np.ndarray:
        """Returns the training points chosen of given random numbers, [N, num_points, 2].

        Args:
            logits: float32 [N, K, H, W].
            candidates: float32 [N, 3 * num_points, 2], what the first torch.rand gives.
            uniform: float32 [N, num_points - floor(0.75 * num_points), 2], what the second gives.
        """
        import torch

        numbers = [torch.from_numpy(candidates), torch.from_numpy(uniform)]
        with mock.patch.object(torch, "rand", side_effect=numbers):
            return as_array(self._sample(torch.from_numpy(logits), num_points))

    @contextlib.contextmanager
    def _normalised(self):
        """Lets the model take images that are normalised already."""
        yield


class Trajectory:
    """SGD steps of a reference from iteration `start` on, its schedulers wound forward."""

    def __init__(self, reference: Reference, optimizer, schedulers: list, start: int) -> None:
        self.reference, self.optimizer, self.schedulers = reference, optimizer, schedulers
        self.optimizer.zero_grad()
        for _ in range(start):
            self.optimizer.step()  # without gradients nothing moves; the schedulers want steps before them
            self._advance()

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, point_coords: np.ndarray
    ) -> tuple[tuple[float, float], float]:
        """Takes a step: ((coarse loss, point loss), the learning rate of this step)."""
        lr = self.optimizer.param_groups[0]["lr"]
        self.optimizer.zero_grad()
        coarse, point = self.reference.losses(images, labels, point_coords)
        (coarse + point).backward()
        self.optimizer.step()
        self._advance()
        return (coarse.item(), point.item()), lr

    def _advance(self):
        for scheduler in self.schedulers:
            scheduler.step()


@contextlib.contextmanager
def _watched(owner, name):
    """Yields a list of (arguments, result), one entry for each call of the function while the context is open."""
    function, calls = getattr(owner, name), []

    def watch(*args, **kwargs):
        result = function(*args, **kwargs)
        calls.append((args, result))
        return result

    with mock.patch.object(owner, name, watch):
        yield calls


def _maps(output):
    """Returns the four maps of strides 4 to 32, from a tuple or from a dict by level."""
    maps = [output[name] for name in sorted(output)] if isinstance(output, dict) else list(output)
    return [as_array(m) for m in maps[:4]]


def as_array(tensor) -> np.ndarray:
    """Copies a torch tensor into NumPy."""
    return tensor.detach().numpy().copy()
