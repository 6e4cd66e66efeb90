"""The JSON files of a checkpoint's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ExportError


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
        ExportError: It is missing, cannot be read, or holds something else.
    """
    content = read_value(path)
    if not isinstance(content, dict):
        raise ExportError(f"{path} does not hold a JSON object")
    return content


def read_value(path: Path) -> Any:  # noqa: ANN401 - what JSON can hold
    """Read a file that holds any JSON value.

    Raises:
        ExportError: It is missing, or cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path} is missing; name a folder that save_pretrained or the Hub made") from None
    except (ValueError, OSError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None


def read_object_if_there(path: Path) -> dict[str, Any]:
    """Read a file as `read_object` does; return an empty object if there is no such file."""
    return read_object(path) if path.is_file() else {}
