"""The error for an integration whose library is not installed.

This module knows nothing about the libraries.
"""


def missing(extra: str) -> ImportError:
    """Return the error for an integration whose library cannot be imported.

    Args:
        extra: the extra of this distribution that installs the library.
    """
    return ImportError(f"this integration needs a library that is not installed: pip install 'qwen3-triton[{extra}]'")
