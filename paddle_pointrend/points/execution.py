"""Chooses how a refinement is executed, once for each call."""

import paddle

from paddle_pointrend.points.eager_cpu import EAGER_CPU, EAGER_CPU_WITH_GRADIENTS
from paddle_pointrend.points.generic import GENERIC, Execution
from paddle_pointrend.points.graph import PADDLE_GRAPH
from paddle_pointrend.points.sampling import is_empty


@paddle.jit.not_to_static
def choose_execution(*tensors: paddle.Tensor) -> Execution:
    """Chooses the fastest way of executing that supports all tensors of a call, parameters included.

    A graph for ONNX is never chosen: nothing in the tensors tells, so the export asks for it.
    """
    if not paddle.in_dynamic_mode():
        return PADDLE_GRAPH
    if any(x.dtype != paddle.float32 or not x.place.is_cpu_place() for x in tensors):
        return GENERIC
    needs_gradient = paddle.is_grad_enabled() and not all(x.stop_gradient for x in tensors)
    if needs_gradient or any(map(is_empty, tensors)):
        return EAGER_CPU_WITH_GRADIENTS
    return EAGER_CPU
