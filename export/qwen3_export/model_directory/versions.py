"""Versions of a model: exports that share a model directory, so that a running server can change over to a new one.

Triton takes each version from a folder with its number, `1/`, `2/`, and reads one configuration for all of them. What
clients rely on once they have read the configuration must therefore be the same in every version; an export for which
it is not needs a model of another name. This module knows files and parameters, and nothing about graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..checkpoint.pair_prompt import QWEN_TEMPLATE
from ..errors import ExportError
from .manifest import MANIFEST, read_manifest, save_manifest
from .triton_config import read_config

# What a parameter means that older exports do not have.
_MEANT = {"prompt_template": QWEN_TEMPLATE}
# The parameters that clients rely on, and on which instance_group depends. The others (source, revision, size,
# precision, where to find the tokenizer) may change from version to version.
_SHARED = (
    "model_family",
    "device",
    "dimensions",
    "mrl_dimensions",
    "normalized",
    "max_tokens",
    "vocabulary",
    "tokenizer_sha256",
    "eos_token_id",
    "default_instruction",
    "query_prompt",
    "document_prompt",
    "prompt_template",
)


def exported_versions(model: Path) -> list[int]:
    """Return the numbers of the versions in a model directory, ascending; none if the directory does not exist."""
    return sorted(int(graph.parent.name) for graph in model.glob("*/model.onnx") if graph.parent.name.isdecimal())


def check_version(model: Path, version: int, *, force: bool) -> None:
    """Make sure that a version may be written into a model directory.

    Raises:
        ExportError: There is no such model, or it has this version already and `force` is False.
    """
    if version < 1:
        raise ExportError(f"--version must be at least 1, where Triton's versions begin, not {version}")
    versions = exported_versions(model)
    if not versions:
        raise ExportError(f"{model} holds no exported model to add version {version} to; leave out --version")
    if version in versions and not force:
        raise ExportError(
            f"{model} already has version {version}; --version {versions[-1] + 1} adds the next one, and --force "
            f"replaces version {version}"
        )


def check_fits(model: Path, parameters: Mapping[str, str]) -> None:
    """Make sure that clients that have read a model's configuration can use a new version.

    Args:
        model: A directory with exported versions.
        parameters: The parameters of the new version's configuration.

    Raises:
        ExportError: They cannot; the export needs a model of its own.
    """
    config = read_config(model / "config.pbtxt")
    for key in _SHARED:
        has = config.parameters[key].string_value if key in config.parameters else None
        if has is None and key in parameters:
            has = _MEANT.get(key)
        if has != parameters.get(key):
            raise ExportError(
                f"this export cannot be a version of {model}: its {key} is {parameters.get(key)!r}, but that of the "
                f"existing versions is {has!r}; export it under another name with --name"
            )


def add_version(fresh: Path, model: Path, version: int, *, replaced: Path) -> None:
    """Move a finished export into a model directory, as a new version.

    First the folder of the version is moved, then the configurations, and last the manifest. Each appears at once. A
    server that runs the other versions is not affected until it is told to load the model.

    Args:
        fresh: A complete model directory with this version only, on the same file system.
        model: The model directory to add it to.
        version: Its number.
        replaced: The path to move an existing version of this number to.
    """
    manifest = read_manifest(fresh)
    kept = {
        name: entry
        for name, entry in read_manifest(model)["files"].items()
        # Files of a version that was deleted by hand are left out.
        if (number := Path(name).parts[0]).isdecimal() and int(number) != version and (model / number).is_dir()
    }
    save_manifest(fresh, manifest | {"files": kept | manifest["files"]})

    folder = model / str(version)
    if folder.exists():
        folder.replace(replaced)
    (fresh / str(version)).replace(folder)
    files = sorted(path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file())
    for name in [*(name for name in files if name.name != MANIFEST), Path(MANIFEST)]:
        (model / name).parent.mkdir(exist_ok=True)
        (fresh / name).replace(model / name)
