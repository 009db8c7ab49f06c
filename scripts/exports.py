"""Exported networks without their refinement, to compare with."""

from paddle_pointrend.export import export_model


def export_coarse(model, folder, **options):
    """export_model of a PointRendSeg's coarse prediction, upsampled to the image's size as its segmentor does."""
    if hasattr(model.segmentor, "forward_features"):
        export_model(model.segmentor, folder, **options)
    else:
        model.num_subdivision_points, points = [], model.num_subdivision_points
        export_model(model, folder, **options)
        model.num_subdivision_points = points
