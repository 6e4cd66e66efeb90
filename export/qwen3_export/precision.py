"""The names of the precisions. What they mean is in `graph`, so that `--help` need not import ONNX."""

from typing import Literal

Precision = Literal["fp32", "int8", "int8-weight", "int4-weight", "bf16", "bf16-residual", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8", "int8-weight", "int4-weight", "bf16", "bf16-residual", "fp16")
QUANTIZED: tuple[Precision, ...] = ("int8", "int8-weight", "int4-weight")
FOR_CUDA: tuple[Precision, ...] = ("bf16", "bf16-residual", "fp16")
FOR_TENSORRT: tuple[Precision, ...] = ("bf16", "fp16", "fp32")
