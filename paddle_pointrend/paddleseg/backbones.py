"""Backbones under the names that YAML knows, with weights of a file or of an installed package."""

from __future__ import annotations

import paddle

from paddle_pointrend.convert import ConversionError, convert_state
from paddle_pointrend.convert.packages import PACKAGES, read_package
from paddle_pointrend.models.efficientnet_lite import EfficientNetLite
from paddle_pointrend.models.weights import CheckpointError, UnreadableError, load_pretrained


class _PretrainedLite(EfficientNetLite):
    """EfficientNetLite with weights.

    Args:
        in_channels: of the images.
        pretrained: "efficientnet_lite0" (1, 2), ImageNet weights of the package that the extra [pretrained] installs;
            or a file of weights that `paddle-pointrend convert` wrote, a path or a URL; None for random ones.

    Raises:
        CheckpointError: a package that is not installed, weights that cannot be read or are not this network's.
    """

    VARIANT: int

    def __init__(self, *, in_channels: int = 3, pretrained: str | None = None) -> None:
        super().__init__(self.VARIANT, in_channels=in_channels)
        if pretrained in PACKAGES:
            self._load_package(pretrained)
        elif pretrained is not None:
            self._load_file(pretrained)

    def _load_file(self, path):
        try:
            load_pretrained(self, path)
        except UnreadableError as error:
            raise CheckpointError(f"pretrained: {error}; names that packages hold are {', '.join(PACKAGES)}") from error

    def _load_package(self, name):
        try:
            state = convert_state(read_package(name), "efficientnet_lite", self)
        except ConversionError as error:
            network = type(self).__name__
            raise CheckpointError(f"pretrained: {name} does not belong to this {network}: {error}") from error
        self.set_state_dict({key: paddle.to_tensor(array) for key, array in state.items()})


class EfficientNetLite0(_PretrainedLite):
    VARIANT = 0


class EfficientNetLite1(_PretrainedLite):
    VARIANT = 1


class EfficientNetLite2(_PretrainedLite):
    VARIANT = 2
