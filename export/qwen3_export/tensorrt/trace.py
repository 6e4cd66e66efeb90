"""Tracing: Hugging Face Optimum's exporter, told what our two heads take and give."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

from optimum.exporters.onnx import export
from optimum.exporters.onnx.base import OnnxConfig
from optimum.utils import DummyTextInputGenerator, NormalizedTextConfig

from .heads import PortableEmbedding, PortableReranker

OPSET = 18  # standard operators that every TensorRT 10 and 11 parses; see docs/tensorrt.md

Axes = dict[str, dict[int, str]]


class PaddedTexts(OnnxConfig):  # type: ignore[misc]  # Optimum is untyped
    """Padded texts in, one row per text out."""

    NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
    DUMMY_INPUT_GENERATOR_CLASSES = (DummyTextInputGenerator,)
    OUTPUTS: ClassVar[tuple[str, ...]]

    @property
    def inputs(self) -> Axes:
        """`input_ids` and `attention_mask`, INT64 `[batch, seq]`."""
        return {name: {0: "batch", 1: "seq"} for name in ("input_ids", "attention_mask")}

    @property
    def outputs(self) -> Axes:
        """The head's, FP32 `[batch, size]`."""
        return {name: {0: "batch"} for name in self.OUTPUTS}


class EmbeddingOutputs(PaddedTexts):
    """`pooled`: not `embedding`, which is a value's name inside the graph too."""

    OUTPUTS = ("pooled",)


class RerankerOutputs(PaddedTexts):
    """As the packed reranker's."""

    OUTPUTS = ("score", "logit")


def trace(model: PortableEmbedding | PortableReranker, path: Path) -> None:
    """Write `model` to `path` as ONNX, with weights beside it wherever Optimum puts them.

    Args:
        model: In evaluation mode.
        path: The `.onnx` file, in an empty folder of its own.
    """
    outputs = EmbeddingOutputs if isinstance(model, PortableEmbedding) else RerankerOutputs
    with warnings.catch_warnings():
        # Optimum uses torch's TorchScript exporter, which announces its end with every call.
        warnings.simplefilter("ignore")
        # Mending dynamic axes would load the graph into ONNX Runtime, which has no bfloat16 on CPUs; _finish does it.
        export(model, outputs(model.config), path, opset=OPSET, disable_dynamic_axes_fix=True)
