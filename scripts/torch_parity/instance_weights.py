"""Random weights under which a whole Mask R-CNN of detectron2 is exercised: detections, classes, masks, unsure points.

Fresh weights predict nearly the same everywhere, so that the last bits would decide every order and threshold. Here
every weight, bias and statistic is random, and each layer is scaled so that its outputs have a chosen deviation.
"""

import re

import numpy as np

from torch_parity.randomness import generator

# Part of a layer's name -> the deviation of its outputs.
DEVIATIONS = {
    "fpn_lateral": 0.7,
    "fpn_output": 1.0,
    "rpn_head.conv": 1.0,
    "objectness_logits": 1.5,
    "anchor_deltas": 0.3,
    "box_head.fc": 1.0,
    "cls_score": 2.0,
    "bbox_pred": 1.0,
    "reduce_spatial_dim_conv": 1.0,
    "coarse_head.fc": 1.0,
    "coarse_head.prediction": 1.5,
    "point_head.fc": 1.0,
    "mask_fcn": 1.0,
    "mask_head.deconv": 1.0,
    "head.predictor": 1.5,
}
_BEFORE_RELU = re.compile(r"rpn_head\.conv|box_head\.fc|reduce_spatial|head\.fc\d|mask_fcn|deconv")


def enliven(reference, image: np.ndarray, seed: int = 0, *, calm: bool = False) -> None:
    """Gives a reference random weights, scaled while it looks at an image.

    Args:
        reference: an InstanceReference.
        image: uint8 [H, W, 3].
        seed: an integer.
        calm: most inputs of ReLUs are positive. Without that the gradients of this network are chaotic in float32.
    """
    import torch

    model = reference.model
    for name, module in model.named_modules():
        if type(module).__name__ == "FrozenBatchNorm2d":
            _set_norm(name, module, generator(seed, name), calm)
    handles = []
    for name, module in model.named_modules():
        deviation = next((d for part, d in DEVIATIONS.items() if part in name), None)
        if deviation is not None and isinstance(getattr(module, "bias", None), torch.nn.Parameter):
            _set_layer(name, module, deviation, generator(seed, name), calm)
            handles.append(module.register_forward_pre_hook(_Scaling(deviation)))
    reference.inference([image], [image.shape[:2]])
    for handle in handles:
        handle.remove()


def _set_norm(name, module, random, calm):
    import torch

    channels = len(module.weight)
    branch_end = 0.3 if name.endswith("conv3.norm") else 1.0
    values = {
        "weight": branch_end * (1 + 0.1 * random.standard_normal(channels).clip(-3, 3)),
        "bias": 0.1 * random.standard_normal(channels) + (2.0 if calm else 0.0),
        "running_mean": 0.1 * random.standard_normal(channels),
        "running_var": random.uniform(1.0, 1.2, channels),
    }
    for part, array in values.items():
        getattr(module, part).copy_(torch.from_numpy(array))


def _set_layer(name, module, deviation, random, calm):
    import torch

    lift = 3.0 * deviation if calm and _BEFORE_RELU.search(name) else 0.0
    bias = 0.1 * deviation * random.standard_normal(len(module.bias)) + lift
    module.weight.data.copy_(torch.from_numpy(random.standard_normal(tuple(module.weight.shape))))
    module.bias.data.copy_(torch.from_numpy(bias))


class _Scaling:
    """Scales a layer's weight before its first call, so that its outputs without bias have a deviation."""

    def __init__(self, deviation):
        self.deviation, self.is_done = deviation, False

    def __call__(self, module, inputs):
        import torch

        if self.is_done:
            return
        self.is_done = True  # before the call below, which comes here again
        activation, module.activation = getattr(module, "activation", None), None
        with torch.no_grad():
            bias = module.bias.reshape([1, -1] + [1] * (inputs[0].dim() - 2))
            module.weight.mul_(self.deviation / (module(inputs[0]) - bias).std())
        module.activation = activation
