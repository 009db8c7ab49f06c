"""What deploy.yaml says of an exported network of instances beside classes and normalisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

GRAPHS = ("features", "boxes", "masks")
# The files of each graph.
SUFFIXES = {"onnx": (".onnx",), "paddle": (".json", ".pdiparams")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InstanceSettings:
    """How images are resized, and what lies between the three graphs.

    Attributes:
        short_side: to which the shortest edge is resized.
        longest_side: at most this long the longest edge becomes.
        category_ids: COCO's, one a class.
        strides: of the levels that the graph "features" makes, fine -> coarse.
        num_mask_levels: how many of them, from the finest on, the graph "masks" reads.
        predictions: names of the masks that it makes, the best last.
        pre_nms_top_n, post_nms_top_n, proposal_nms_threshold: of the proposals, see RPN.
        score_threshold, nms_threshold, max_detections: of the detections, see BoxHead.
    """

    short_side: int
    longest_side: int
    category_ids: list[int]
    strides: list[int]
    num_mask_levels: int
    predictions: list[str]
    pre_nms_top_n: int
    post_nms_top_n: int
    proposal_nms_threshold: float
    score_threshold: float
    nms_threshold: float
    max_detections: int

    @classmethod
    def of_mapping(cls, content: Any) -> InstanceSettings:
        """Reads deploy.yaml's `instances`. ValueError, which names the key, where they are something else."""
        if not isinstance(content, Mapping):
            raise ValueError(f"instances is {str(content)[:100]!r}, expected the settings that export writes")
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = values[field.name] = content.get(field.name)
            expected, is_right = _EXPECTED[str(field.type)]
            if not is_right(value):
                raise ValueError(f"instances.{field.name} is {str(value)[:100]!r}, expected {expected}")
        return cls(**values)


def _is_list_of(kind):
    return lambda value: isinstance(value, list) and bool(value) and all(type(item) is kind for item in value)


# What a value of each type has to be, in words and as a function.
_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("an integer above 0", lambda value: type(value) is int and value > 0),
    "float": ("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1),
    "list[int]": ("a list of integers", _is_list_of(int)),
    "list[str]": ("a list of names", _is_list_of(str)),
}
