"""How verify calls transformers and sentence-transformers: quietly, and with errors in one line.

Knows nothing about models.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import transformers

from .errors import VerifyError
from .source import Source


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a library ran out of memory."""
    # torch's CPU allocator raises a RuntimeError: "DefaultCPUAllocator: can't allocate memory: ..."
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def available_bytes() -> int | None:
    """Return the memory that Linux can give without swapping; None on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


@contextmanager
def errors_in_one_line(source: Source, what: str) -> Iterator[None]:
    """Turn any error of a library into a `VerifyError` of one line that says what to do."""
    try:
        yield
    except VerifyError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = (
            "give a complete checkpoint with --source"
            if source.is_local
            else "check the network, or give a checkpoint folder with --source"
        )
        raise VerifyError(f"cannot load the {what} of {source.name_or_path}: {reason}; {remedy}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' progress bars and warnings."""
    logging = transformers.utils.logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
