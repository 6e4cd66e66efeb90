"""Export of Qwen3-Embedding checkpoints to a Triton model directory.

>>> from qwen3_export import export
>>> export("tiny", repository=Path("model_repository"))  # doctest: +SKIP

The path, module by module: ``_checkpoint`` finds and lists the weights, ``_model`` declares the graph in terms of
``_products`` and ``_ragged``, ``_graph`` writes it, ``_export`` completes the directory around it.
"""

from ._errors import ExportError
from ._export import Exported, export

__all__ = ["ExportError", "Exported", "export"]
