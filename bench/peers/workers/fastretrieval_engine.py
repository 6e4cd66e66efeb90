"""fastretrieval, the continuation of qwen3-embed, with the int8 model that its own converter makes.

It converts the ONNX model that sentence-transformers' backend exports, and runs Qwen3 models one text at a time,
whatever batch size is asked for.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from fastretrieval import TextEmbedding
from fastretrieval.convert.onnx import quantize_int8

from .protocol import Local, Text, Vectors, serve

_NAME, _FILE = "n24q02m/Qwen3-Embedding-0.6B-ONNX", "onnx/model_quantized.onnx"  # as its registry has them
_TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class FastRetrieval(Local):
    """One model."""

    def prepare(self, options: dict[str, Any]) -> None:
        """Quantize the exported model."""
        folder, exported = Path(options["folder"]), Path(options["exported"])
        if folder.exists():
            return
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name in _TOKENIZER_FILES:
            shutil.copy(exported / name, partial / name)
        quantize_int8(exported / "onnx" / "model.onnx", partial / _FILE)
        partial.replace(folder)

    def load(self, options: dict[str, Any]) -> None:
        """See `Engine`."""
        self._model = TextEmbedding(
            _NAME, specific_model_path=options["folder"], threads=options["threads"], cuda=False, lazy_load=False
        )

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:  # noqa: ARG002 - it makes no batches
        """See `Engine`."""
        vectors: Vectors = np.stack(list(self._model.embed([text.text for text in texts]))).astype(np.float32)
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {library: version(library) for library in ("fastretrieval", "onnxruntime")}


if __name__ == "__main__":
    serve(FastRetrieval())
