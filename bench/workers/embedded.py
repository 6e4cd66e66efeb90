"""qwen3-triton in process: the embedded host's engine, without Triton."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from qwen3_serve.host.packed_engine import PackedEngine, Settings

from ._protocol import Local, Text, Vectors, serve

__all__ = ["Embedded"]

_PARAMETER = re.compile(r'^parameters { key: "(\w+)" value { string_value: "([^"]*)"', re.MULTILINE)


class Embedded(Local):
    """One engine on a model directory; `width` means nothing here, for the engine decides."""

    def load(self, options: dict[str, Any]) -> None:
        """Load the graph as the host does."""
        directory = Path(options["directory"])
        parameters = dict(_PARAMETER.findall((directory / "configs" / "embedded.pbtxt").read_text()))
        self._engine = PackedEngine(
            directory / "1" / "model.onnx", Settings.from_parameters(parameters), threads=options["threads"]
        )

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:  # noqa: ARG002 - see the class
        """See `Engine`."""
        vectors: Vectors
        (vectors,) = self._engine.run([np.array(text.ids, np.int64) for text in texts])
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {"onnxruntime": version("onnxruntime")}


if __name__ == "__main__":
    serve(Embedded())
