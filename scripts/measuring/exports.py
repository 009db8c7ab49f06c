"""Exported networks without their refinement, to compare with."""

from paddle_pointrend.deploy.export import export_model


def export_coarse(model, folder, **options):
    """export_model of a PointRendSeg's coarse prediction, upsampled to the image's size as its segmentor does."""
    if hasattr(model.segmentor, "forward_features"):
        export_model(model.segmentor, folder, **options)
        return
    model.num_subdivision_points, points = [], model.num_subdivision_points
    try:
        export_model(model, folder, **options)
    finally:
        model.num_subdivision_points = points
