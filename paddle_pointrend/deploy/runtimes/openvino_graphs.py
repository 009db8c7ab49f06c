"""Changes of networks that OpenVINO has read, before it compiles them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from openvino import Model, Node


def resize_planes(model: Model) -> None:
    """Makes bilinear resizing of maps whose classes are read one by one afterwards a resizing of single planes.

    Maps [N, K, H, W] lie in memory class by class where a Reshape reads them, as those of PointRend's subdivision do.
    OpenVINO (2026.4.1) resizes maps of four axes pixel by pixel, all classes of one together, and turns them around
    before and after; of 16 to 64 classes in float32 by a loop that takes five times as long as the resizing. Maps
    [N * K, H, W] of three axes it resizes as they lie. The results are the same to the last bit.
    """
    for node in model.get_ordered_ops():
        if _resizes_for_reshapes(node):
            readers = node.output(0).get_target_inputs()
            resized = _resized_planes(node)
            for reader in readers:
                reader.replace_source_output(resized)
    model.validate_nodes_and_infer_types()


def _resizes_for_reshapes(node):
    """Tells whether a node resizes maps of four axes bilinearly to given sizes, and a Reshape reads what it makes.

    With an axes' input it could resize others than the last two.
    """
    if node.get_type_name() != "Interpolate" or node.get_input_size() != 2:
        return False
    attributes = node.get_attributes()
    if attributes["mode"] != "linear_onnx" or attributes["shape_calculation_mode"] != "sizes":
        return False
    readers = {reader.get_node().get_type_name() for reader in node.output(0).get_target_inputs()}
    return len(node.get_input_partial_shape(0)) == 4 and "Reshape" in readers


def _resized_planes(node: Node):
    from openvino import opset13 as ops

    def part_of(shape, first, last):
        return ops.gather(shape, np.arange(first, last), np.int64(0))

    def joined(*parts):
        return ops.concat([*parts], 0)

    maps, size = node.input_value(0), part_of(node.input_value(1), 2, 4)
    shape = ops.shape_of(maps)
    planes = ops.reshape(maps, joined(ops.constant(np.array([-1])), part_of(shape, 2, 4)), special_zero=False)
    resized = ops.interpolate(
        planes,
        size,
        mode="linear_onnx",
        shape_calculation_mode="sizes",
        coordinate_transformation_mode=node.get_attributes()["coordinate_transformation_mode"],
        axes=np.array([1, 2]),
    )
    return ops.reshape(resized, joined(part_of(shape, 0, 2), size), special_zero=False).output(0)


def keep_points_exact(model: Model) -> None:
    """Makes a network compute the points that it samples in float32 where it computes in bfloat16.

    bfloat16 has 8 significant bits: in a map of 2048 columns a point would be up to 4 beside its place. OpenVINO
    (2026.4.1) leaves in float32 what leads to an output without a convolution or a resizing in between, so the points
    become outputs, after those that there are.
    """
    points = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "GridSample":
            grid = node.input_value(1)
            points[grid.get_node().get_friendly_name()] = grid
    model.add_outputs(list(points.values()))
