"""Versions: a new export beside those that a model directory holds, so that a running server can change over.

Triton counts versions in folders, ``1/``, ``2/``, and reads one configuration for all of them. What clients have learnt
from it must therefore hold for every version; what does not belongs into a model of another name. This module knows
files and parameters, and nothing about graphs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from ._errors import ExportError
from ._manifest import MANIFEST

# What clients rely on once they have asked, and what the configuration's instances depend on. The others (source,
# revision, size, precision, where the tokenizer lies) may change from version to version.
_SHARED = (
    "model_family",
    "device",
    "dimensions",
    "max_tokens",
    "vocabulary",
    "tokenizer_sha256",
    "eos_token_id",
    "default_instruction",
)


def exported_versions(model: Path) -> list[int]:
    """Numbers of the versions that a model directory holds, ascending; empty if it is not there."""
    return sorted(int(graph.parent.name) for graph in model.glob("*/model.onnx") if graph.parent.name.isdecimal())


def check_version(model: Path, version: int, *, force: bool) -> None:
    """Make sure that a version may be written into a model directory.

    Raises:
        ExportError: There is no such model, or it has the version and ``force`` is False.
    """
    if version < 1:
        raise ExportError(f"Triton counts versions from 1; {version} is none")
    versions = exported_versions(model)
    if not versions:
        raise ExportError(f"{model} holds no exported model that could get a version {version}; leave out --version")
    if version in versions and not force:
        raise ExportError(
            f"{model} has a version {version}; --version {versions[-1] + 1} writes beside it, --force replaces it"
        )


def check_fits(model: Path, parameters: Mapping[str, str]) -> None:
    """Make sure that a model's clients can take the answers of one more version.

    Args:
        model: A directory with exported versions.
        parameters: What the configuration will say about the new one.

    Raises:
        ExportError: They could not, and it needs a name of its own.
    """
    path = model / "config.pbtxt"
    try:
        config = text_format.Parse(path.read_text("utf-8"), ModelConfig())
    except (OSError, text_format.ParseError) as error:
        raise ExportError(f"{path} cannot be read ({error}); export the model again with --force") from None
    for key in _SHARED:
        has = config.parameters[key].string_value if key in config.parameters else None
        if has != parameters.get(key):
            raise ExportError(
                f"this cannot be a version of {model}: its {key} is {parameters.get(key)!r}, that of the versions "
                f"there {has!r}; use another --name"
            )


def add_version(fresh: Path, model: Path, version: int, *, replaced: Path) -> None:
    """Move a finished export into a model directory, as one more version.

    The version appears whole, then the configurations and last the manifest are replaced, each at once. A server that
    runs the other versions notices nothing until it is told to load the model.

    Args:
        fresh: A complete model directory with this version only, on the same file system.
        model: The model directory that gets it.
        version: Its number.
        replaced: Where a version of that number goes.
    """
    manifest = _read(fresh / MANIFEST)
    kept = {
        name: entry
        for name, entry in _read(model / MANIFEST)["files"].items()
        # Whoever has deleted an old version has meant it.
        if (number := Path(name).parts[0]).isdecimal() and int(number) != version and (model / number).is_dir()
    }
    manifest["files"] = dict(sorted((kept | manifest["files"]).items()))
    (fresh / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")

    place = model / str(version)
    if place.exists():
        place.replace(replaced)
    (fresh / str(version)).replace(place)
    files = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
    for name in [*(name for name in files if name.name != MANIFEST), Path(MANIFEST)]:
        (model / name).parent.mkdir(exist_ok=True)
        (fresh / name).replace(model / name)


def _read(manifest: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(manifest.read_text("utf-8"))
        if not isinstance(found["files"], dict):
            raise TypeError("its files are no object")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{manifest} cannot be read ({error}); export the model again with --force") from None
    return found
