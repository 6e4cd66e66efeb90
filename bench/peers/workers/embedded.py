"""qwen3-triton in process: the embedded host's engine, without Triton."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from qwen3_export.model_directory.triton_config import read_config
from qwen3_serve.host.packed_engine import PackedEngine, Settings

from .protocol import Local, Text, Vectors, serve


class Embedded(Local):
    """One engine on a model directory; it ignores `width`, because it divides texts into batches itself."""

    def load(self, options: dict[str, Any]) -> None:
        """Load the graph with the settings of the embedded host."""
        self._engine = open_engine(Path(options["directory"]), threads=options["threads"])

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:  # noqa: ARG002 - see the class
        """See `Engine`."""
        vectors: Vectors
        vectors, _ = self._engine.run([np.array(text.ids, np.int64) for text in texts])
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {"onnxruntime": version("onnxruntime")}


def open_engine(directory: Path, *, threads: int) -> PackedEngine:
    """Load the graph of a model directory with the settings of the embedded host."""
    config = read_config(directory / "configs" / "embedded.pbtxt")
    parameters = {key: value.string_value for key, value in config.parameters.items()}
    return PackedEngine(directory / "1" / "model.onnx", Settings.from_parameters(parameters), threads=threads)


if __name__ == "__main__":
    serve(Embedded())
