"""Sizes in words."""


def in_words(size: int) -> str:
    """A number of bytes as people read it: `0.9 MB`, `41 MB`, `2.4 GB`."""
    number, unit = (size / 1e9, "GB") if size >= 1e9 else (size / 1e6, "MB")
    return f"{number:.1f} {unit}" if number < 10 else f"{number:,.0f} {unit}"
