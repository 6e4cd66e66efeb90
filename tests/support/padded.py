"""Run a portable graph directly in ONNX Runtime, without Triton."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

PAD = 256  # the tokenizer's end token, as in the published models: padding must not be told by its id


class PaddedSession:
    """``model.onnx`` of a directory that was exported for TensorRT."""

    def __init__(self, model_directory: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # threads of a tiny model mostly wait for each other
        self.session = ort.InferenceSession(
            str(model_directory / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def run(self, texts: Sequence[npt.NDArray[np.int64]], *, spare: int = 0) -> dict[str, npt.NDArray[np.float32]]:
        """Run texts as one padded batch; returns every output by name, ``[n, size]``.

        Args:
            texts: Token ids.
            spare: Columns of padding that every row has.
        """
        width = max(ids.size for ids in texts) + spare
        input_ids = np.full((len(texts), width), PAD, np.int64)
        attention_mask = np.zeros((len(texts), width), np.int64)
        for row, ids in enumerate(texts):
            input_ids[row, : ids.size], attention_mask[row, : ids.size] = ids, 1
        names = [output.name for output in self.session.get_outputs()]
        rows = self.session.run(names, {"input_ids": input_ids, "attention_mask": attention_mask})
        return dict(zip(names, (np.asarray(row, np.float32) for row in rows), strict=True))
