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

import torch

from bench.peers.products import Shape, onnxruntime_fp32, onnxruntime_int8, values

_ROWS = (256, 512)
_REPEATS = 4


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
        "fp32 onnxruntime": lambda shape, rows: onnxruntime_fp32(shape, rows, threads),
        "bf16 torch": lambda shape, rows: _torch(shape, rows, torch.bfloat16),
        "int8 onnxruntime": lambda shape, rows: onnxruntime_int8(shape, rows, threads),
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


def _numpy(shape: Shape, rows: int) -> Callable[[], object]:
    left, right = values((rows, shape[0])), values(shape)
    return lambda: left @ right


def _torch(shape: Shape, rows: int, dtype: torch.dtype) -> Callable[[], object]:
    """Product in a linear layer as models have it, with weights `[out, in]`."""
    left = torch.from_numpy(values((rows, shape[0]))).to(dtype)
    right = torch.from_numpy(values((shape[1], shape[0]))).to(dtype)
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


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    names = ("hidden", "heads", "kv_heads", "head_dim", "intermediate", "layers")
    main(numbers[0], **dict(zip(names, numbers[1:], strict=True)))
