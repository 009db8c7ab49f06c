"""What PointRendSeg asks of a segmentor: coarse logits, fine features, and their classes, strides and channels."""

from paddle import nn

from paddle_pointrend.models.taps import Taps


def feature_source(segmentor: nn.Layer, taps: dict | None) -> nn.Layer | Taps:
    """Finds what says where coarse logits and fine features of a segmentor come from.

    That is itself where it has forward_features and there are no taps, else its Taps.

    Raises:
        ValueError: taps of another form.
    """
    if taps is None and hasattr(segmentor, "forward_features"):
        return segmentor
    taps = {} if taps is None else taps
    unknown = sorted(map(str, set(taps) - {"coarse", "fine"})) if isinstance(taps, dict) else [repr(taps)]
    if unknown:
        raise ValueError(f"taps takes coarse: PATH and fine: [PATH, ...], got {', '.join(unknown)}")
    return Taps(segmentor, **taps)


def check_source(source: nn.Layer | Taps, num_classes: int | None, in_channels: int | None) -> None:
    """Raises ValueError for a source that lacks an attribute or is of other classes or image channels than given."""
    needed = ("num_classes", "coarse_stride", "fine_channels")
    missing = [name for name in needed if not hasattr(source, name)]
    if missing:
        raise ValueError(
            f"segmentor {type(source).__name__} has forward_features(x), but lacks the attributes {', '.join(missing)}"
        )
    if num_classes is not None and num_classes != source.num_classes:
        raise ValueError(
            f"num_classes is {num_classes} for PointRendSeg and {source.num_classes} for its segmentor; "
            "set both to the dataset's"
        )
    if in_channels is not None and getattr(source, "in_channels", in_channels) != in_channels:
        raise ValueError(
            f"the images have {in_channels} channels, the segmentor takes {source.in_channels}; "
            f"set in_channels: {in_channels} in segmentor.backbone"
        )
