"""Export of Qwen3-Embedding checkpoints to a Triton model directory.

>>> from qwen3_export import export
>>> export("tiny", repository=Path("model_repository"))  # doctest: +SKIP

The path, module by module: `checkpoint` finds and lists the weights, `graph.model` declares the graph in terms
of `products` and `ragged_batch`, `graph.onnx_file` writes it, `packed_directory` completes the directory around
it, `exporter` puts
that in its place.
"""

from typing import TYPE_CHECKING, Any

from .errors import ExportError

if TYPE_CHECKING:
    from .exporter import Exported, export

__all__ = ["ExportError", "Exported", "export"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Late, so that `qwen3-triton --help` does not wait for onnx, nor need it.
    if name in ("Exported", "export"):
        from . import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
