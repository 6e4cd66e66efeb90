"""Export of Qwen3-Embedding and Qwen3-Reranker checkpoints to Triton model directories.

>>> from qwen3_export import export
>>> export("tiny", repository=Path("model_repository"))  # doctest: +SKIP

An export passes these modules: `exporter` calls `checkpoint`, which finds and lists the weights, and then
`packed_directory`, which writes a complete model directory. For the graph in it, `graph.model` declares the model in
terms of `graph.products` and `graph.ragged_batch`, and `graph.onnx_file` writes it. At last `exporter` moves the
directory into the repository.
"""

from typing import TYPE_CHECKING, Any

from .errors import ExportError

if TYPE_CHECKING:
    from .exporter import Exported, export

__all__ = ["ExportError", "Exported", "export"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported on first use, so that `qwen3-triton --help` neither needs onnx nor waits for it.
    if name in ("Exported", "export"):
        from . import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
