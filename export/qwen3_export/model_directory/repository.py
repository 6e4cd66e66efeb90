"""Which folders are exported models: the one answer that export, serve and verify share."""

from __future__ import annotations

from pathlib import Path

from .manifest import MANIFEST


def is_exported(model: Path) -> bool:
    """Whether a folder holds an exported model: it has a manifest, or a graph in the folder of a version.

    A padding front has no graph, and a model whose manifest was lost should be reported, not overlooked.
    """
    graphs = (path for path in model.glob("*/model.onnx") if path.parent.name.isdecimal())
    return (model / MANIFEST).is_file() or any(graphs)


def exported_models(repository: Path) -> list[Path]:
    """Return the folders of a repository's exported models, sorted by name."""
    return sorted(path for path in repository.iterdir() if not path.name.startswith(".") and is_exported(path))


def model_around(folder: Path) -> Path | None:
    """Return the model directory that a folder is, or that it is a version of; None for any other folder."""
    resolved = folder.resolve()
    # config.pbtxt alone decides: a repository may lie in a project that has a manifest.json of its own.
    return next((path for path in (resolved, resolved.parent) if (path / "config.pbtxt").is_file()), None)
