"""Matrix products in ONNX Runtime, alone, for ceilings and for the speed of the cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper
from qwen3_export.cpu import open_session

Shape = tuple[int, int]


def values(shape: Shape) -> npt.NDArray[np.float32]:
    """Return random values, the same each time."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def onnxruntime_fp32(shape: Shape, rows: int, threads: int) -> Callable[[], object]:
    """Return a product in float32."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, shape, values(shape).tobytes(), raw=True)
    node = helper.make_node("MatMul", ["left", "weight"], ["out"])
    return _product(node, [weight], TensorProto.FLOAT, values((rows, shape[0])), threads)


def onnxruntime_int8(shape: Shape, rows: int, threads: int) -> Callable[[], object]:
    """Return a product as in int8 exports: uint8 activations, int8 weights, one scale per channel."""
    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, shape, dtype=np.int8)
    left = random.integers(0, 256, (rows, shape[0]), dtype=np.uint8)
    constants = [
        helper.make_tensor("weight", TensorProto.INT8, shape, weight.tobytes(), raw=True),
        helper.make_tensor("one", TensorProto.FLOAT, (), [1.0]),
        helper.make_tensor("scales", TensorProto.FLOAT, (shape[1],), [0.01] * shape[1]),
        helper.make_tensor("middle", TensorProto.UINT8, (), [128]),
    ]
    inputs = ["left", "weight", "one", "scales", "middle"]
    node = helper.make_node("MatMulIntegerToFloat", inputs, ["out"], domain="com.microsoft")
    return _product(node, constants, TensorProto.UINT8, left, threads)


def _product(
    node: NodeProto, constants: list[TensorProto], kind: int, left: npt.NDArray[Any], threads: int
) -> Callable[[], object]:
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("left", kind, [None, left.shape[1]])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        constants,
    )
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString()
    session = open_session(model, threads=threads)
    return lambda: session.run(None, {"left": left})
