"""Finds where the coarse logits and the fine features of a model come out, from what its sublayers yielded."""

import paddle.nn.functional as F

from paddle_pointrend.models.layer_maps import FINE_STRIDE, LayerMaps, list_maps, map_stride, split_path


def find_coarse(layers: LayerMaps) -> str | None:
    """Finds the path of the smallest map that is the output before its upsampling; None if there is none."""
    output = layers.output
    tolerance = 1e-5 * float(output.abs().max())
    matches = []
    for path, tensor in layers.maps.items():
        if tensor.shape[:2] == output.shape[:2]:
            upsampled = F.interpolate(tensor, size=output.shape[2:], mode="bilinear", align_corners=False)
            if float((upsampled - output).abs().max()) <= tolerance:
                matches.append((-map_stride(tensor), len(path), path))
    if not matches:
        return None
    found = min(matches)[2]
    # A head whose weights are still zero says nothing about which of several maps the output comes from.
    says_nothing = float((output - output.mean([2, 3], keepdim=True)).abs().max()) <= 10 * tolerance
    if says_nothing and any(not f"{path}.".startswith(f"{found}.") for _, _, path in matches):
        raise ValueError(
            f"taps.coarse: {layers.model_name} predicts the same everywhere, so the map behind its output cannot be "
            f"told from others; {list_maps(layers, 'coarse')}"
        )
    return found


def find_fine(layers: LayerMaps, coarse: str | None, coarse_stride: int) -> str:
    """Finds the path of the fine features: of the backbone's outputs, or else the encoder's last map of their stride.

    Their stride is the largest one up to FINE_STRIDE that is not above the coarse map's, where the encoder has one.
    The encoder is what runs before the smallest map there is; its last map of a stride is the last one before the
    network first goes below that resolution, and before the block that does. The coarse logits and what comes after
    do not count.
    """
    strides = {}
    for path, tensor in layers.maps.items():
        if coarse is not None and tensor is layers.maps[coarse]:
            break
        strides[path] = map_stride(tensor)
    if not strides:
        raise ValueError(f"taps.fine: no map comes before {coarse!r}; {list_maps(layers, 'fine')}")
    encoder = list(strides)[: list(strides.values()).index(max(strides.values()))] or list(strides)
    limits = (FINE_STRIDE,) if coarse is None else (min(FINE_STRIDE, coarse_stride), FINE_STRIDE)
    below = [max(within) for limit in limits if (within := [s for p in encoder if (s := strides[p]) <= limit])]
    wanted = below[0] if below else min(strides.values())
    for path, stride in strides.items():
        if stride == wanted and split_path(path)[0].split(".")[-1] == "backbone":
            return path
    run: list[str] = []
    for path, stride in strides.items():
        if stride > wanted and run:
            break
        if stride == wanted:
            run.append(path)
    last = ([path for path in run if not _in_step_down(path, strides)] or run)[-1]
    same = [path for path in strides if layers.maps[path] is layers.maps[last]]
    return min(same, key=lambda path: (len(path), path))


def _in_step_down(path, strides):
    """Checks if a sublayer around this one goes from its stride to the next and no further, as ResNet's stages."""
    parts = split_path(path)[0].split(".")
    for i in range(1, len(parts)):
        around = ".".join(parts[:i])
        inside = {strides[p] for p in strides if split_path(p)[0] == around or p.startswith(around + ".")}
        if len(inside) == 2 and min(inside) == strides[path]:
            return True
    return False
