"""Run an exported graph directly in ONNX Runtime, without Triton."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort


class PackedSession:
    """``model.onnx`` of an exported model directory."""

    def __init__(self, model_directory: Path) -> None:
        self.session = ort.InferenceSession(
            str(model_directory / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
        )

    def embed(self, texts: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Run texts as one packed batch; returns ``[n, dimensions]``."""
        lengths = np.array([[ids.size] for ids in texts], np.int32)
        (rows,) = self.session.run(None, {"input_ids": np.concatenate(texts), "lengths": lengths})
        return np.asarray(rows, np.float32)
