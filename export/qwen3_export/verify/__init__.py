"""Proof that an exported model computes what its checkpoint computes.

>>> from qwen3_export.verify import verify_model
>>> verify_model(Path("model_repository/qwen3_embedding")).passed  # doctest: +SKIP
True

A verification passes these modules: `model_directory` reads what was exported, and `files` checks its hashes. `cases`
turns the built-in `texts` into token ids. `reference` runs transformers on them, and `onnx_runner` or `triton_runner`
the exported model. `comparison` and `model_card` compare the results. `verification` calls all of these in order.
"""

from typing import TYPE_CHECKING, Any

from .errors import VerifyError

if TYPE_CHECKING:
    from .files import FileReport, check_files
    from .verification import Verdict, verify_model

__all__ = ["FileReport", "Verdict", "VerifyError", "check_files", "verify_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Imported on first use, so that `qwen3-triton --help` does not wait for numpy.
    if name in ("FileReport", "check_files"):
        from . import files

        return getattr(files, name)
    if name in ("Verdict", "verify_model"):
        from . import verification

        return getattr(verification, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
