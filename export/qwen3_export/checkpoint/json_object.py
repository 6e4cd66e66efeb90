"""JSON files of a checkpoint that may be missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ExportError


def read_if_there(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the content of a JSON file; None if there is no such file.

    Raises:
        ExportError: It cannot be read.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty one if there is no such file.

    Raises:
        ExportError: It cannot be read, or holds something else.
    """
    content = read_if_there(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ExportError(f"{path} does not hold a JSON object")
    return content


def module_types(folder: Path) -> list[str]:
    """Return the classes in a checkpoint's `modules.json`, in their order, such as `Transformer` and `LogitScore`.

    sentence-transformers writes this file; the list is empty where it did not.

    Raises:
        ExportError: The file cannot be read, or is not such a list.
    """
    path = folder / "modules.json"
    modules = read_if_there(path) or []
    try:
        return [str(module["type"]).rpartition(".")[2] for module in modules]
    except (TypeError, KeyError):
        raise ExportError(f"{path} is not a list of modules; save the model with sentence-transformers again") from None
