"""qwen3-triton in process: the embedded host's engine, without Triton."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ._protocol import Local, Text, Vectors, serve

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
import onnxruntime as ort

__all__ = ["Embedded", "engine_of", "open_session"]

_PARAMETER = re.compile(r'^parameters { key: "(\w+)" value { string_value: "([^"]*)"', re.MULTILINE)


class Embedded(Local):
    """One engine on a model directory; `width` means nothing here, for the engine decides."""

    def load(self, options: dict[str, Any]) -> None:
        """Load the graph as the host does."""
        directory = Path(options["directory"])
        engine = engine_of(directory)
        parameters = dict(_PARAMETER.findall((directory / "configs" / "embedded.pbtxt").read_text()))
        self._engine = engine.PackedEngine(
            directory / "1" / "model.onnx", engine.Settings.from_parameters(parameters), threads=options["threads"]
        )

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:  # noqa: ARG002 - see the class
        """See `Engine`."""
        vectors: Vectors
        (vectors,) = self._engine.run([np.array(text.ids, np.int64) for text in texts])
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {"onnxruntime": version("onnxruntime")}


def open_session(directory: Path, *, threads: int) -> ort.InferenceSession:
    """Load a model directory's graph with the settings of its host; 0 threads are all cores."""
    path = str(directory / "1" / "model.onnx")
    settings = engine_of(directory).session_options(threads=threads)
    return ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def engine_of(directory: Path) -> ModuleType:
    """The module of a model directory's own engine; one directory a process."""
    sys.path.insert(0, str(directory.resolve() / "1"))
    return importlib.import_module("packed_engine")


if __name__ == "__main__":
    serve(Embedded())
