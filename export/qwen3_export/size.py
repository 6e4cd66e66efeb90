"""Sizes in bytes, written for people."""


def in_words(size: int) -> str:
    """Return a number of bytes in a readable unit: `0.9 MB`, `41 MB`, `2.4 GB`."""
    number, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
