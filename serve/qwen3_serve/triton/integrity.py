"""Checks that a model directory is still what was exported, by comparing its files with manifest.json.

The quick check, before every start, compares the sizes of all files and the sha256 of small ones, which include the
tokenizer. The full check compares the sha256 of all. Configurations are not compared, because operators edit them above
the marked line. Nor is an older version whose folder was deleted to save space.
"""

from pathlib import Path
from typing import Literal

from qwen3_export import ExportError
from qwen3_export.model_directory.manifest import read_manifest, sha256

from ..errors import ServeError

Check = Literal["quick", "full"]
_SMALL_BYTES = 32 * 2**20


def check_integrity(model: Path, check: Check) -> None:
    """Compare a model directory with its manifest.

    Raises:
        ServeError: A file is missing or was changed; the message names it and says what to do.
    """
    remedy = "export it again, with --force"
    try:
        manifest = read_manifest(model)
    except ExportError as error:
        raise ServeError(str(error)) from None
    files, newest = manifest["files"], str(manifest.get("model_version", 1))
    for name, entry in files.items():
        path = model / name
        version, _, inside = name.partition("/")
        is_retired = version.isdecimal() and bool(inside) and version != newest and not (model / version).exists()
        if path.suffix == ".pbtxt" or is_retired:
            continue
        if not path.is_file():
            raise ServeError(f"{path} is missing; {remedy}")
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise ServeError(f"{path} has {size:,} bytes instead of {entry['bytes']:,}; {remedy}")
        if (check == "full" or size <= _SMALL_BYTES) and sha256(path) != entry["sha256"]:
            raise ServeError(f"{path} is not the file that was exported: its sha256 differs; {remedy}")
