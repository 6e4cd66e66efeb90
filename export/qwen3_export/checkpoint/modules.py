"""What sentence-transformers computes after the decoder: pooling, dense layers, normalisation.

`modules.json` lists a model's modules in their order, each with its type and the folder of its own config.json, which
`module_settings` reads. A folder without modules.json is a plain Qwen3-Embedding.

Knows nothing about the decoder, beyond the size of its hidden states, and nothing about graphs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import ExportError
from .json_file import read_object, read_value
from .module_settings import (
    POOLING_FLAGS,
    DenseLayer,
    Pooling,
    check_normalize,
    read_dense,
    read_pooling,
    refuse_unknown,
)
from .sentence_config import check_sentence_config

MODULES = "modules.json"

_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")  # of embedding models


@dataclass(frozen=True, slots=True)
class Modules:
    """What follows the decoder, in this order.

    Attributes:
        pooling: How one vector is made of the hidden states of a text's tokens.
        dense: The dense layers.
        is_normalized: Whether vectors are scaled to norm 1 at the end.
    """

    pooling: Pooling = "lasttoken"
    dense: tuple[DenseLayer, ...] = ()
    is_normalized: bool = True

    def dimensions(self, hidden: int) -> int:
        """Return the size of the vectors of a model whose hidden states have this size."""
        return self.dense[-1].outputs if self.dense else hidden


PLAIN = Modules()  # Qwen3-Embedding as it was published


def read_modules(folder: Path, *, hidden: int) -> Modules:
    """Read the modules of an embedding model.

    Args:
        folder: The checkpoint.
        hidden: Size of the decoder's hidden states.

    Raises:
        ExportError: A file cannot be read, or asks for something that export does not support.
    """
    if not (folder / MODULES).is_file():
        for left_over in sorted(path.parent for path in folder.glob("*/config.json")):
            _check_left_over(left_over, hidden=hidden)
        return PLAIN
    check_sentence_config(folder)
    listed = [_module(folder, entry) for entry in module_entries(folder)]
    kinds = [kind for kind, _ in listed]
    if kinds[:2] != ["Transformer", "Pooling"] or any(kind in ("Transformer", "Pooling") for kind in kinds[2:]):
        raise ExportError(
            f"{folder / MODULES} lists {', '.join(kinds)}; export takes a Transformer, a Pooling, and after them any "
            "number of Dense and a Normalize: use a model of this form"
        )
    if "Normalize" in kinds[:-1]:
        raise ExportError(
            f"{folder / MODULES} has a module after Normalize, which export does not support; use a model whose last "
            "module is Normalize, or that has none"
        )
    pooling = read_pooling(folder / listed[1][1], hidden=hidden)
    size, dense = hidden, []
    for kind, path in listed[2:]:
        if kind == "Dense":
            dense.append(read_dense(folder, path, inputs=size))
            size = dense[-1].outputs
        else:
            check_normalize(folder / path / "config.json")
    return Modules(pooling, tuple(dense), is_normalized=kinds[-1] == "Normalize")


def module_entries(folder: Path) -> list[dict[str, Any]]:
    """Return the modules that a checkpoint's `modules.json` lists; none if sentence-transformers did not save it.

    Raises:
        ExportError: The file cannot be read, or is not such a list.
    """
    path = folder / MODULES
    if not path.is_file():
        return []
    entries = read_value(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ExportError(f"{path} does not hold a list of modules; save the model again with sentence-transformers")
    return entries


def module_types(folder: Path) -> list[str]:
    """Return the classes of the modules, in their order, such as `Transformer` and `LogitScore`.

    Raises:
        ExportError: As `module_entries`.
    """
    return [str(entry.get("type", "")).rpartition(".")[2] for entry in module_entries(folder)]


def reranker_modules(folder: Path) -> list[tuple[str, Path]]:
    """Return the kinds and folders of a reranker's modules; none if sentence-transformers did not save it.

    Raises:
        ExportError: The file cannot be read, or asks for something that export does not support.
    """
    entries = [_module(folder, entry, ("Transformer", "LogitScore")) for entry in module_entries(folder)]
    return [(kind, folder / path) for kind, path in entries]


def _module(folder: Path, entry: Mapping[str, Any], kinds: Sequence[str] = _KINDS) -> tuple[str, str]:
    """Return the kind and the folder of an entry of modules.json."""
    path = folder / MODULES
    refuse_unknown(path, entry, known={"idx", "name", "path", "type", "kwargs"})
    name, where = str(entry.get("type", "")), str(entry.get("path", ""))
    kind = name.rpartition(".")[2]
    if not name.startswith("sentence_transformers.") or kind not in kinds:
        raise ExportError(
            f"{path} has a module of the type {name}, which export does not support; use a model whose modules are "
            f"sentence-transformers' own {', '.join(kinds[:-1])} and {kinds[-1]}"
        )
    if entry.get("kwargs"):
        raise ExportError(
            f"{path} passes {entry['kwargs']} to {where or kind} for each text, which export does not support; use a "
            "model saved without kwargs"
        )
    if PurePosixPath(where).is_absolute() or ".." in PurePosixPath(where).parts:
        raise ExportError(f"{path} names a folder outside the checkpoint, {where}; use a model saved in one folder")
    if kind == "Transformer" and where not in ("", "."):
        raise ExportError(
            f"{path} has the weights in {where}; save the model again with sentence-transformers, which writes them "
            "beside modules.json"
        )
    return kind, where


def _check_left_over(folder: Path, *, hidden: int) -> None:
    """Make sure that a folder which no modules.json lists is not that of a module which changes the vectors."""
    config = read_object(folder / "config.json")
    is_pooling = "pooling_mode" in config or POOLING_FLAGS.keys() & config
    if is_pooling and read_pooling(folder, hidden=hidden) != "lasttoken":
        asks = "asks for another pooling than last-token pooling"
    elif {"in_features", "out_features"} <= config.keys():
        asks = "is a dense layer"
    else:
        return
    raise ExportError(
        f"{folder} {asks}, but there is no {MODULES} that lists it; use the whole folder that sentence-transformers "
        "saved"
    )
