"""Tracing with Hugging Face Optimum's exporter, and the inputs and outputs that it needs to be told."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import ClassVar

from ..errors import ExportError
from .model import PortableEmbedding, PortableReranker

try:
    from optimum.exporters.onnx import export
    from optimum.exporters.onnx.base import OnnxConfig
    from optimum.utils import DummyTextInputGenerator, NormalizedTextConfig
except ModuleNotFoundError:
    raise
except ImportError as error:
    raise ExportError(
        f"--device tensorrt traces with Optimum, which does not fit the other packages here ({error.msg}): install "
        "qwen3-triton[tensorrt] in an environment of its own"
    ) from None

TRACED_OPSET = 18  # none of the operators traced means anything else in the graph's own opset, traced_graph.OPSET

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
        """The model's outputs, FP32 `[batch, size]`."""
        return {name: {0: "batch"} for name in self.OUTPUTS}


class EmbeddingOutputs(PaddedTexts):
    """The output of an embedding model: `pooled`, because a value inside the graph is already named `embedding`."""

    OUTPUTS = ("pooled",)


class RerankerOutputs(PaddedTexts):
    """The outputs of a reranker, named as in the packed graph."""

    OUTPUTS = ("score", "logit")


def trace(model: PortableEmbedding | PortableReranker, path: Path) -> None:
    """Write `model` to `path` as ONNX. Optimum decides which files beside it hold the weights.

    Args:
        model: In evaluation mode.
        path: The `.onnx` file, in an empty folder of its own.
    """
    outputs = EmbeddingOutputs if isinstance(model, PortableEmbedding) else RerankerOutputs
    with warnings.catch_warnings():
        # Optimum uses torch's TorchScript exporter, which warns with every call that it will be removed.
        warnings.simplefilter("ignore")
        # Optimum's correction of dynamic axes runs the graph in ONNX Runtime, which has no bfloat16 on CPUs.
        # traced_graph states the shapes instead.
        export(model, outputs(model.config), path, opset=TRACED_OPSET, disable_dynamic_axes_fix=True)
