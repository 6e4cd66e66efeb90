"""A Hugging Face checkpoint on disk, or on its way there.

Finds the folder (local, or downloaded from the Hub) and lists its tensors and tokenizer. Knows nothing about ONNX.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .geometry import Geometry
from .stored_tensor import StoredTensor, read_index

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_FILES = ["*.json", "*.safetensors", "*/config.json", "merges.txt"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One opened checkpoint.

    Attributes:
        folder: Where its files lie.
        source: What the user named: a Hub id, a folder, or `tiny`.
        revision: The commit on the Hub, or `""` for a local folder.
        tokenizer: Where a client finds the same tokenizer: a Hub id, or `""` where only the export holds it.
        geometry: The model's sizes.
        tensors: Every tensor by name, the `model.` prefix removed.
    """

    folder: Path
    source: str
    revision: str
    tokenizer: str
    geometry: Geometry
    tensors: Mapping[str, StoredTensor]

    def tensor(self, name: str, *shape: int) -> StoredTensor:
        """The tensor called `name`, which must have exactly this shape.

        Raises:
            ExportError: It is missing or has another shape than config.json promises.
        """
        stored = self.tensors.get(name)
        if stored is None:
            raise ExportError(f"{self.folder} holds no tensor {name}; the checkpoint is incomplete")
        if stored.shape != shape:
            raise ExportError(f"{name} is {list(stored.shape)}, but config.json makes it {list(shape)}")
        return stored


def open_checkpoint(source: str, *, revision: str | None = None) -> Checkpoint:
    """Open a local checkpoint folder or download one from the Hugging Face Hub.

    Args:
        source: A folder, or a Hub id such as `Qwen/Qwen3-Embedding-0.6B`.
        revision: Branch, tag or commit on the Hub; its main branch if None.

    Raises:
        ExportError: There is no such checkpoint, or it cannot be read.
    """
    if Path(source).is_dir():
        if revision is not None:
            raise ExportError(f"--revision is for the Hub, and {source} is a local folder")
        return read_checkpoint(Path(source), source=str(Path(source).resolve()))
    if Path(source).exists():
        raise ExportError(f"{source} is a file; name the checkpoint's folder")
    if not _HUB_ID.fullmatch(source):
        raise ExportError(f"there is no folder {source}, and a Hub id looks like Qwen/Qwen3-Embedding-0.6B")
    folder = _download(source, revision)
    # The Hub's cache keeps each commit in a folder of its own name.
    return read_checkpoint(folder, source=source, revision=folder.name, tokenizer=source)


def read_checkpoint(folder: Path, *, source: str, revision: str = "", tokenizer: str = "") -> Checkpoint:
    """Read what lies in `folder`: sizes, tensors' places, and that a tokenizer is there.

    Raises:
        ExportError: Something is missing or damaged.
    """
    geometry = Geometry.from_config(_read_json(folder / "config.json"))
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file() and not _read_json(pooling).get("pooling_mode_lasttoken", False):
        raise ExportError(f"{pooling} asks for another pooling than last-token, which Qwen3-Embedding uses")
    if not (folder / "tokenizer.json").is_file():
        raise ExportError(
            f"{folder} holds no tokenizer.json; save it there with "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    index = folder / "model.safetensors.index.json"
    files = set(_read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    tensors: dict[str, StoredTensor] = {}
    for file in sorted(files):
        path = folder / Path(file).name
        if not path.is_file():
            raise ExportError(f"{path} is missing; export reads safetensors, one file or all shards")
        for name, stored in read_index(path).items():
            tensors[name.removeprefix("model.")] = stored
    return Checkpoint(folder, source, revision, tokenizer, geometry, tensors)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(f"{path} is missing; name a folder that save_pretrained or the Hub made") from None
    except (ValueError, OSError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ExportError(f"{path} does not hold a JSON object")
    return content


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    # Of whichever HTTP library this release uses; HfHubHTTPError and, say, a proxy's refusal are among its kinds.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=_HUB_FILES))
    except RepositoryNotFoundError:
        raise ExportError(f"the Hugging Face Hub has no model {hub_id}, or you have no access to it") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled):
        if HF_HUB_OFFLINE:
            raise ExportError(
                f"HF_HUB_OFFLINE is set, and {hub_id} is not in the Hugging Face Hub's cache on this machine; "
                "unset it, or name a local checkpoint folder"
            ) from None
        raise ExportError(
            f"the Hugging Face Hub cannot be reached and {hub_id} is not in its local cache; "
            "check the network, or name a local checkpoint folder"
        ) from None
    except (HTTPError, OSError) as error:
        raise ExportError(f"downloading {hub_id} failed: {error}") from None
