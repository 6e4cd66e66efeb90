"""Proof that an exported model computes what its checkpoint computes.

>>> from qwen3_verify import verify_model
>>> verify_model(Path("model_repository/qwen3_embedding")).passed  # doctest: +SKIP
True

The path, module by module: ``_model_directory`` reads what was exported, ``_files`` hashes it, ``_cases`` makes token
ids of the built-in ``_texts``, ``_reference`` runs transformers on them, ``_onnx_runner`` or ``_triton_runner`` the
exported model, ``_comparison`` and ``_model_card`` hold the two against each other, and ``_verify`` ties it together.
"""

from typing import TYPE_CHECKING, Any

from ._errors import VerifyError

if TYPE_CHECKING:
    from ._files import FileReport, check_files
    from ._verify import Verdict, verify_model

__all__ = ["FileReport", "Verdict", "VerifyError", "check_files", "verify_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Late, so that `qwen3-triton --help` does not wait for numpy.
    if name in ("FileReport", "check_files"):
        from . import _files

        return getattr(_files, name)
    if name in ("Verdict", "verify_model"):
        from . import _verify

        return getattr(_verify, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
