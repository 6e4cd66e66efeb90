"""What to say when the library of an adapter is not installed."""

__all__ = ["missing"]


def missing(extra: str) -> ImportError:
    """Returns the error for an adapter whose library cannot be imported.

    Args:
        extra: the extra of this distribution that installs the library.
    """
    return ImportError(f"this adapter needs a library that is not installed: pip install 'qwen3-triton[{extra}]'")
