"""Graphs of the published shapes for CUDA whose weights take no room: all are the zeros of one sparse file."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx_ir as ir
from qwen3_export.checkpoint.checkpoint import Checkpoint
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config
from qwen3_export.checkpoint.reranker_head import RerankerHead
from qwen3_export.checkpoint.stored_tensor import StoredTensor
from qwen3_export.graph.arithmetic import Arithmetic
from qwen3_export.graph.host_indices import has_host_indices, with_host_indices
from qwen3_export.graph.onnx_file import IN_FILE_BYTES, build_graph, derive_model
from qwen3_export.kind import Kind
from qwen3_export.packed_directory import CUDA_GRAPHS
from qwen3_export.precision import Precision
from qwen3_export.target import Target

LAYERS = 4  # the first, the last, and two like all others, so that one lies between two attentions
_ZEROS = "zeros.bin"


@dataclass(frozen=True)
class _Zeros(Checkpoint):
    """A checkpoint whose tensors are all zeros."""

    def tensor(self, name: str, *shape: int) -> StoredTensor:
        return StoredTensor(name, self.folder / _ZEROS, np.dtype(ml_dtypes.bfloat16), shape, 0)


def write_graph(path: Path, *, size: str, kind: Kind, precision: Precision, target: Target) -> None:
    """Write the graph of a published shape, cut to `LAYERS`, to `path`, and if there is one, that with host indices."""
    geometry = Geometry.from_config(published_config(size) | {"num_hidden_layers": LAYERS})
    checkpoint = _Zeros(path.parent, "zeros", "", "", geometry, {})
    row = np.zeros(geometry.hidden, np.float32)
    head = RerankerHead(yes=row, no=row) if kind == "reranker" else None
    model = build_graph(checkpoint, Arithmetic(precision), head, target=target)
    largest = 0
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        assert tensor is not None
        if tensor.nbytes > IN_FILE_BYTES:
            largest = max(largest, tensor.nbytes)
            value.const_value = ir.ExternalTensor(
                _ZEROS,
                0,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=name,
                base_dir=path.parent,
            )
    with (path.parent / _ZEROS).open("ab") as file:
        file.truncate(max(largest, file.tell()))
    ir.save(model, path)
    if kind == "embedding" and has_host_indices(target, pooling="lasttoken"):
        derive_model(path, path.with_name(CUDA_GRAPHS), partial(with_host_indices, geometry=geometry, fingerprint=""))
