"""Changes of ONNX networks: of what paddle2onnx writes, and those that quantisation needs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto


def read_first_pixels(model: ModelProto) -> None:
    """Makes bilinear resizing to a height or width of 1 read the first pixels along it, as Paddle does.

    paddle2onnx (2.1.0) writes half_pixel, which reads the middle; pytorch_half_pixel differs at a size of 1 alone.
    Where the new size is a product, as that of doubled maps, nothing shrinks to 1, and half_pixel stays: ONNX Runtime
    (1.31.1) resizes maps of known sizes in its blocked layout with that only.
    """
    nodes = list(_nodes(model.graph))
    makers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type != "Resize" or _is_product(node.input[-1], makers):
            continue
        modes = {attribute.name: attribute for attribute in node.attribute}
        if modes["mode"].s == b"linear" and modes["coordinate_transformation_mode"].s == b"half_pixel":
            modes["coordinate_transformation_mode"].s = b"pytorch_half_pixel"


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Gives the nodes of a graph and of its conditions' branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _is_product(size, makers):
    """Tells whether a size is computed with a multiplication."""
    node = makers.get(size)
    if node is None or node.op_type == "Shape":
        return False
    return node.op_type == "Mul" or any(_is_product(name, makers) for name in node.input)


def load_folded(file: str | os.PathLike) -> ModelProto:
    """Loads a network with batch norms folded into convolutions, constants computed and shapes inferred."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of constants that paddle2onnx left over
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "folded.onnx")
        onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
        return onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath))


def extract(model: ModelProto, outputs: Sequence[str]) -> ModelProto:
    """Cuts out of a network what makes some of its tensors."""
    from onnx.utils import Extractor

    return Extractor(model).extract_model([value.name for value in model.graph.input], list(outputs))


def keep_weights_in_float(model: ModelProto) -> None:
    """Puts a Clip without bounds before convolutions in float32 whose input comes out of a DequantizeLinear.

    Where that stands directly before one, ONNX Runtime quantises its weights too, with one scale for all channels
    (1.31.1, where what follows is quantised).
    """
    from onnx import helper

    makers = {name: node for node in model.graph.node for name in node.output}
    for node in [node for node in model.graph.node if node.op_type == "Conv"]:
        is_float = node.input[1] not in makers
        if is_float and node.input[0] in makers and makers[node.input[0]].op_type == "DequantizeLinear":
            kept = f"{node.name}_input"
            model.graph.node.append(helper.make_node("Clip", [node.input[0]], [kept], kept))
            node.input[0] = kept


def lift_size_concats(model: ModelProto) -> None:
    """Makes concatenations of one axis, of sizes, ones of two axes.

    OpenVINO (2026.4.1) looks at the second axis of every concatenation in a quantised network, and fails where there is
    none: in networks for images of any size.
    """
    from onnx import helper, numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(model).graph.value_info
    kinds = {value.name: value.type.tensor_type for value in inferred}
    row, flat = "size_row", "size_flat"
    for name, shape in ((row, [1, -1]), (flat, [-1])):
        model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Concat" or not _is_size(kinds.get(node.output[0])):
            nodes.append(node)
            continue
        rows, whole = [f"{node.name}_row_{i}" for i in range(len(node.input))], f"{node.name}_rows"
        nodes += [helper.make_node("Reshape", [part, row], [name], name) for part, name in zip(node.input, rows)]
        nodes.append(helper.make_node("Concat", rows, [whole], node.name, axis=1))
        nodes.append(helper.make_node("Reshape", [whole, flat], [node.output[0]], f"{node.name}_flat"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _is_size(kind):
    """Tells whether a tensor's type, None where it is not known, is int64 of one axis."""
    from onnx import TensorProto

    return kind is not None and kind.elem_type == TensorProto.INT64 and len(kind.shape.dim) == 1
