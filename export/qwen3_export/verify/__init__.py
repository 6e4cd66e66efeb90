"""Proof that an exported model computes what its checkpoint computes.

>>> from qwen3_export.verify import verify_model
>>> verify_model(Path("model_repository/qwen3_embedding")).passed  # doctest: +SKIP
True

The path, module by module: `model_directory` reads what was exported, `files` hashes it, `cases` makes token ids
of the built-in `texts`, `reference` runs transformers on them, `onnx_runner` or `triton_runner` the exported
model, `comparison` and `model_card` hold the two against each other, and `verification` ties it together.
"""

from typing import TYPE_CHECKING, Any

from .errors import VerifyError

if TYPE_CHECKING:
    from .files import FileReport, check_files
    from .verification import Verdict, verify_model

__all__ = ["FileReport", "Verdict", "VerifyError", "check_files", "verify_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    # Late, so that `qwen3-triton --help` does not wait for numpy.
    if name in ("FileReport", "check_files"):
        from . import files

        return getattr(files, name)
    if name in ("Verdict", "verify_model"):
        from . import verification

        return getattr(verification, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
