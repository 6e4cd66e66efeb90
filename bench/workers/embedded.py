"""qwen3-triton in process: ONNX Runtime and the embedded host's own way of making batches, without Triton."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

from ._protocol import Local, Text, Vectors, serve

__all__ = ["Embedded", "host", "open_session"]


class Embedded(Local):
    """One session on a model directory; `width` means nothing here, for the host decides."""

    def load(self, options: dict[str, Any]) -> None:
        """Load the graph as the host does."""
        directory = Path(options["directory"])
        config = (directory / "configs" / "embedded.pbtxt").read_text()
        self._max_tokens = int(_parameter(config, "max_batch_tokens"))
        self._max_slots_per_token = float(_parameter(config, "max_slots_per_token"))
        self._packed_batches = host(directory).packed_batches
        self._session = open_session(directory, threads=options["threads"])

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:  # noqa: ARG002 - see the class
        """See `Engine`."""
        ids = [np.array(text.ids, np.int64) for text in texts]
        vectors: Vectors | None = None
        for batch in self._packed_batches(
            [text.size for text in ids], max_tokens=self._max_tokens, max_slots_per_token=self._max_slots_per_token
        ):
            lengths = np.array([[ids[i].size] for i in batch], np.int32)
            packed = {"input_ids": np.concatenate([ids[i] for i in batch]), "lengths": lengths}
            rows = self._session.run(["embedding"], packed)[0]
            vectors = np.empty((len(ids), rows.shape[1]), np.float32) if vectors is None else vectors
            vectors[batch] = rows
        if vectors is None:
            raise ValueError("no texts")
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {"onnxruntime": version("onnxruntime")}


def _parameter(config: str, key: str) -> str:
    found = re.search(rf'key: "{key}" value {{ string_value: "([^"]+)"', config)
    if found is None:
        raise ValueError(f"the configuration states no {key}")
    return found[1]


def open_session(directory: Path, *, threads: int) -> ort.InferenceSession:
    """Load a model directory's graph with the settings of its host; 0 threads are all cores."""
    path = str(directory / "1" / "model.onnx")
    settings = host(directory).session_options(threads=threads)
    return ort.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def host(directory: Path) -> ModuleType:
    """A model directory's embedded host, which only Triton can run but anyone can read."""
    path = directory / "1" / "model.py"
    sys.modules.setdefault("triton_python_backend_utils", ModuleType("triton_python_backend_utils"))
    spec = importlib.util.spec_from_file_location("embedded_host", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    serve(Embedded())
