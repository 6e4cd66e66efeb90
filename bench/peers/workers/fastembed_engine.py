"""fastembed, with the ONNX model that sentence-transformers' backend exports as a custom model.

fastembed pads each batch to its longest text, and does not sort texts by length.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

from .protocol import Local, Text, Vectors, serve

_NAME = "qwen3-bench"


class FastEmbed(Local):
    """One model."""

    def load(self, options: dict[str, Any]) -> None:
        """See `Engine`."""
        TextEmbedding.add_custom_model(
            model=_NAME,
            pooling=PoolingType.LAST_TOKEN,
            normalization=True,
            sources=ModelSource(hf=_NAME),
            dim=options["dimensions"],
            model_file="onnx/model.onnx",
        )
        self._model = TextEmbedding(_NAME, specific_model_path=options["folder"], threads=options["threads"])

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`."""
        rows = list(self._model.embed([text.text for text in texts], batch_size=width))
        vectors: Vectors = np.stack(rows).astype(np.float32)
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {library: version(library) for library in ("fastembed", "onnxruntime")}


if __name__ == "__main__":
    serve(FastEmbed())
