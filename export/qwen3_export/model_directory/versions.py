"""Versions: a new export beside those that a model directory holds, so that a running server can change over.

Triton counts versions in folders, `1/`, `2/`, and reads one configuration for all of them. What clients have learnt
from it must therefore hold for every version; what does not belongs into a model of another name. This module knows
files and parameters, and nothing about graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import ExportError
from .manifest import MANIFEST, read_manifest, save_manifest
from .triton_config import read_config

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
        ExportError: There is no such model, or it has the version and `force` is False.
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
    config = read_config(model / "config.pbtxt")
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
    manifest = read_manifest(fresh)
    kept = {
        name: entry
        for name, entry in read_manifest(model)["files"].items()
        # A version that was deleted by hand stays deleted.
        if (number := Path(name).parts[0]).isdecimal() and int(number) != version and (model / number).is_dir()
    }
    save_manifest(fresh, manifest | {"files": kept | manifest["files"]})

    place = model / str(version)
    if place.exists():
        place.replace(replaced)
    (fresh / str(version)).replace(place)
    files = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
    for name in [*(name for name in files if name.name != MANIFEST), Path(MANIFEST)]:
        (model / name).parent.mkdir(exist_ok=True)
        (fresh / name).replace(model / name)
