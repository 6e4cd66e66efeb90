"""Edits of config.pbtxt files, as an operator makes them."""

from pathlib import Path


def change(config: Path, before: str, after: str) -> None:
    """Replace a setting that is there once."""
    text = config.read_text("utf-8")
    assert text.count(before) == 1, f"{config} has {before!r} {text.count(before)} times"
    config.write_text(text.replace(before, after), "utf-8")


def uncomment(config: Path, first: str) -> None:
    """Turn on a setting that is there as a comment: from a line on, to the line where its braces are closed."""
    lines = config.read_text("utf-8").split("\n")
    number = lines.index(first)
    opened = 0
    while True:
        setting = lines[number].removeprefix("# ")
        assert setting != lines[number], f"{first!r} has no end"
        lines[number] = setting
        opened += setting.count("{") - setting.count("}")
        if opened == 0:
            break
        number += 1
    config.write_text("\n".join(lines), "utf-8")
