"""Registers the components under their names in PaddleSeg's YAML."""

from paddleseg.cvlibs import manager

from paddle_pointrend.data.instances import CocoInstances
from paddle_pointrend.data.transforms import PhotoMetricDistortion, RandomCrop, RandomResize, RGBToBGR
from paddle_pointrend.losses import PointSampledCrossEntropyLoss
from paddle_pointrend.models.instance import MaskRCNN, PointRendMaskHead, StandardMaskHead
from paddle_pointrend.models.pointrend import PointRendSeg
from paddle_pointrend.models.resnet import ResNet
from paddle_pointrend.models.segmentors import DeepLabV1, DeepLabV2, GCUNet, SkipFCN
from paddle_pointrend.models.semantic_fpn import SemanticFPN
from paddle_pointrend.models.vgg import VGG16
from paddle_pointrend.paddleseg.backbones import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2


def register_components() -> None:
    """Adds models, backbones, transforms and losses to PaddleSeg's managers; a second call changes nothing.

    Raises:
        RuntimeError: a name that another package has registered for a component of its own.
    """
    segmentors = (SemanticFPN, SkipFCN, DeepLabV1, DeepLabV2, GCUNet)
    for registry, components in (
        (manager.MODELS, (PointRendSeg, *segmentors, MaskRCNN, StandardMaskHead, PointRendMaskHead)),
        (manager.BACKBONES, (ResNet, VGG16, EfficientNetLite0, EfficientNetLite1, EfficientNetLite2)),
        (manager.DATASETS, (CocoInstances,)),
        (manager.TRANSFORMS, (PhotoMetricDistortion, RandomCrop, RandomResize, RGBToBGR)),
        (manager.LOSSES, (PointSampledCrossEntropyLoss,)),
    ):
        for component in components:
            name = component.__name__
            registered = registry.components_dict.get(name)
            if registered is None:
                registry.add_component(component)
            elif registered is not component:
                raise RuntimeError(
                    f"PaddleSeg already knows a component {name!r}, from {registered.__module__}; "
                    "import paddle_pointrend before the package that registers it, or rename that one"
                )
