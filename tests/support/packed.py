"""Run an exported graph directly in ONNX Runtime, without Triton."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime as ort
from qwen3_export.cpu import open_session


def make_a_plain_session_first() -> None:
    """Make ONNX Runtime leave denormal numbers alone outside its own threads.

    The first session of a process decides for the thread that makes it. The embedded host's sessions take denormals as
    zero, and hypothesis, among others, does not work in such a thread.
    """
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 21}, name="nothing")
    value = ir.val("zero", const_value=ir.tensor([0.0], name="zero"))
    graph.initializers.add(value)
    graph.outputs.append(value)
    ort.InferenceSession(ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString())


class PackedSession:
    """The graph of an exported model directory, run as every host runs it; or ``portable``, see ``open_session``."""

    def __init__(self, model_directory: Path, *, portable: bool = False) -> None:
        self.session = open_session(model_directory / "1" / "model.onnx", portable=portable)

    def run(
        self, texts: Sequence[npt.NDArray[np.int64]], **optional: npt.NDArray[Any]
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Run texts as one packed batch, with any of the graph's optional inputs; every output by name but ``kept``."""
        names = [output.name for output in self.session.get_outputs() if output.name not in ("kept", "fingerprint")]
        rows = self.session.run(names, self._feed(texts) | optional)
        return dict(zip(names, (np.asarray(row, np.float32) for row in rows), strict=True))

    def kept(self, texts: Sequence[npt.NDArray[np.int64]], keep: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Run texts as one packed batch; returns the rows to keep, ``[len(keep), size]``."""
        rows: npt.NDArray[np.float32] = self.session.run(["kept"], self._feed(texts) | {"keep": keep})[0]
        return rows

    @staticmethod
    def _feed(texts: Sequence[npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[Any]]:
        return {"input_ids": np.concatenate(texts), "lengths": np.array([[ids.size] for ids in texts], np.int32)}

    def embed(self, texts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Run texts through an embedding model; returns ``[n, dimensions]``."""
        return self.run(texts)["embedding"]
