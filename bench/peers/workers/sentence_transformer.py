"""sentence-transformers as its users call it: `encode` on texts, which it sorts by length itself.

The option `backend` is `torch`, with a `dtype`, or `onnx`, with the folder of the export that `prepare` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch

from .protocol import Local, Text, Vectors, serve


class SentenceTransformer(Local):
    """One model."""

    def prepare(self, options: dict[str, Any]) -> None:
        """Export to ONNX, if the backend is ONNX."""
        if options["backend"] != "onnx" or Path(options["folder"], "modules.json").exists():
            return
        model = sentence_transformers.SentenceTransformer(
            options["checkpoint"], backend="onnx", device="cpu", model_kwargs={"export": True}
        )
        folder = Path(options["folder"])
        partial = folder.with_suffix(".partial")
        model.save_pretrained(str(partial))
        _count_positions(partial / "onnx" / "model.onnx")
        partial.replace(folder)

    def load(self, options: dict[str, Any]) -> None:
        """See `Engine`."""
        torch.set_num_threads(options["threads"])
        if options["backend"] == "onnx":
            self._model = sentence_transformers.SentenceTransformer(options["folder"], backend="onnx", device="cpu")
            self._libraries = ["sentence-transformers", "optimum", "onnxruntime", "transformers"]
        else:
            self._model = sentence_transformers.SentenceTransformer(
                options["checkpoint"], device="cpu", model_kwargs={"torch_dtype": getattr(torch, options["dtype"])}
            )
            self._libraries = ["sentence-transformers", "torch", "transformers"]

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`."""
        vectors = self._model.encode(
            [text.text for text in texts], batch_size=width, convert_to_numpy=True, show_progress_bar=False
        )
        return np.asarray(vectors, np.float32)

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {library: version(library) for library in self._libraries}


def _count_positions(path: Path) -> None:
    """Compute positions from the mask in the graph: the export has them as an input, which its users do not provide."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    asked = [value for value in graph.input if value.name == "position_ids"]
    if not asked:
        return
    graph.input.remove(asked[0])
    graph.initializer.append(helper.make_tensor("bench_one", TensorProto.INT64, [], [1]))
    graph.initializer.append(helper.make_tensor("bench_zero", TensorProto.INT64, [], [0]))
    nodes = [
        helper.make_node("CumSum", ["attention_mask", "bench_one"], ["bench_counted"]),
        helper.make_node("Sub", ["bench_counted", "bench_one"], ["bench_from_zero"]),
        helper.make_node("Max", ["bench_from_zero", "bench_zero"], ["position_ids"]),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    serve(SentenceTransformer())
