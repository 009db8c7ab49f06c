"""The parts of an exported ONNX network: the coarse network's layers, its classifiers, what the point head reads."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_POINT_SAMPLING = "GridSample"  # all that is computed from what it makes is the point head


@dataclasses.dataclass(frozen=True)
class Parts:
    """Parts of a network by name.

    Attributes:
        layers: convolutions of the coarse network in the order of the graph, but for `classifiers`.
        classifiers: the last layers: convolutions that no other follows on the way to the coarse logits.
        coarse_logits: the map that the point head refines; None of a network without one.
        maps: what `layers` and `classifiers` are there for: all maps that the point head samples; without one what the
            classifiers make.
    """

    layers: list[str]
    classifiers: list[str]
    coarse_logits: str | None
    maps: list[str]


def find_parts(model: ModelProto) -> Parts:
    """Finds the parts of an exported network, refined or not.

    What a coarse network computes from points that it samples itself (as SFNet does) counts as the point head.
    """
    graph = _Graph(model)
    samplings = [node for node in model.graph.node if node.op_type == _POINT_SAMPLING]
    sampled = graph.after(samplings)
    weights = {tensor.name for tensor in model.graph.initializer}
    convolutions = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and node.name not in sampled and node.input[1] in weights
    ]
    names = {node.name for node in convolutions}
    # A map's shape leads to the output too, where another is resized to it.
    after = {node.name: graph.after([node], but_not_through=("Shape", _POINT_SAMPLING)) for node in convolutions}
    classifiers = [
        node
        for node in convolutions
        if not names & after[node.name].keys() and graph.has_output([node, *after[node.name].values()])
    ]
    logits = {name for node in classifiers for maker in (node, *after[node.name].values()) for name in maker.output}
    maps = list(dict.fromkeys(node.input[0] for node in samplings))
    return Parts(
        layers=[node.name for node in convolutions if node not in classifiers],
        classifiers=[node.name for node in classifiers],
        coarse_logits=next((name for name in maps if name in logits), None),
        maps=maps or [node.output[0] for node in classifiers],
    )


class _Graph:
    def __init__(self, model: ModelProto):
        self._outputs = {output.name for output in model.graph.output}
        self._readers: dict[str, list[NodeProto]] = collections.defaultdict(list)
        for node in model.graph.node:
            for name in _inputs(node):
                self._readers[name].append(node)

    def after(self, nodes: Iterable[NodeProto], but_not_through: tuple[str, ...] = ()) -> dict[str, NodeProto]:
        """Finds the nodes that compute with what the given ones make, by name; not past operators of some types."""
        found, waiting = {}, list(nodes)
        while waiting:
            for reader in (reader for name in waiting.pop().output for reader in self._readers[name]):
                if reader.name not in found and reader.op_type not in but_not_through:
                    found[reader.name] = reader
                    waiting.append(reader)
        return found

    def has_output(self, nodes: Iterable[NodeProto]) -> bool:
        return any(name in self._outputs for node in nodes for name in node.output)


def _inputs(node):
    """The names that a node reads, inside its branches too."""
    branches = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return [*node.input, *(name for branch in branches for inner in branch.node for name in _inputs(inner))]
