"""Ceilings: how fast this machine multiplies matrices of the model's shapes, as tokens per second.

    python -m bench.peers.workers.ceilings THREADS HIDDEN HEADS KV_HEADS HEAD_DIM INTERMEDIATE LAYERS

Prints JSON: for each kind of product and library, the tokens per second at which all projections of all layers could
run if nothing else took time, for the best of several numbers of rows. The weights of one layer are used for all
layers, so that they stay in the cache. An engine, which reads the weights of all layers, cannot reach this.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import NodeProto, TensorProto, helper
from qwen3_export.cpu import open_session

_ROWS = (256, 512)
_REPEATS = 4

Shape = tuple[int, int]


def main(
    threads: int, *, hidden: int, heads: int, kv_heads: int, head_dim: int, intermediate: int, layers: int
) -> None:
    """Measure everything and print it."""
    torch.set_num_threads(threads)
    shapes = [
        (hidden, (heads + 2 * kv_heads) * head_dim),
        (heads * head_dim, hidden),
        (hidden, 2 * intermediate),
        (intermediate, hidden),
    ]
    ways: dict[str, Callable[[Shape, int], Callable[[], object]]] = {
        "fp32 numpy": _numpy,
        "fp32 torch": lambda shape, rows: _torch(shape, rows, torch.float32),
        "fp32 onnxruntime": lambda shape, rows: _ort_fp32(shape, rows, threads),
        "bf16 torch": lambda shape, rows: _torch(shape, rows, torch.bfloat16),
        "int8 onnxruntime": lambda shape, rows: _ort_int8(shape, rows, threads),
        "int8 torch": _torch_int8,
    }
    found: dict[str, float | str] = {}
    for name, way in ways.items():
        try:
            found[name] = max(rows / layers / _layer_s([way(shape, rows) for shape in shapes]) for rows in _ROWS)
        except Exception as error:  # noqa: BLE001 - that a library lacks a product is a result too
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))


def _layer_s(products: list[Callable[[], object]]) -> float:
    """Return the seconds of one layer's products: the best time of each, which other work disturbed least."""
    total = 0.0
    for product in products:
        product()
        times = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            product()
            times.append(time.perf_counter() - started)
        total += min(times)
    return total


def _values(shape: Shape) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _numpy(shape: Shape, rows: int) -> Callable[[], object]:
    left, right = _values((rows, shape[0])), _values(shape)
    return lambda: left @ right


def _torch(shape: Shape, rows: int, dtype: torch.dtype) -> Callable[[], object]:
    """Product in a linear layer as models have it, with weights `[out, in]`."""
    left = torch.from_numpy(_values((rows, shape[0]))).to(dtype)
    right = torch.from_numpy(_values((shape[1], shape[0]))).to(dtype)
    return torch.inference_mode()(lambda: torch.nn.functional.linear(left, right))


def _torch_int8(shape: Shape, rows: int) -> Callable[[], object]:
    """Product of uint8 by int8 in oneDNN, with weights that are packed beforehand."""
    left = torch.randint(0, 255, (rows, shape[0]), dtype=torch.uint8)
    right = torch.randint(-127, 127, (shape[1], shape[0]), dtype=torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(right, left.shape)
    scales, zeros = torch.full((shape[1],), 0.01), torch.zeros(shape[1], dtype=torch.int64)
    return torch.inference_mode()(
        lambda: torch.ops.onednn.qlinear_pointwise(
            left, 0.01, 128, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
    )


def _ort_fp32(shape: Shape, rows: int, threads: int) -> Callable[[], object]:
    weight = helper.make_tensor("weight", TensorProto.FLOAT, shape, _values(shape).tobytes(), raw=True)
    node = helper.make_node("MatMul", ["left", "weight"], ["out"])
    return _ort(node, [weight], TensorProto.FLOAT, _values((rows, shape[0])), threads)


def _ort_int8(shape: Shape, rows: int, threads: int) -> Callable[[], object]:
    """Product as in int8 exports: uint8 activations, int8 weights, one scale per channel."""
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
    return _ort(node, constants, TensorProto.UINT8, left, threads)


def _ort(
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


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    names = ("hidden", "heads", "kv_heads", "head_dim", "intermediate", "layers")
    main(numbers[0], **dict(zip(names, numbers[1:], strict=True)))
