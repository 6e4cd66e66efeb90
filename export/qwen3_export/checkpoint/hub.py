"""Checkpoints on the Hugging Face Hub: downloaded as a whole, or without their weights.

A checkpoint without weights is a folder whose safetensors files have their true headers and sizes, but holes where the
weights would be. So the rest of export reads it as it reads any other folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .json_file import read_object

SMALL_FILES = ["*.json", "*.jinja", "merges.txt", "README.md"]
_FILES = [*SMALL_FILES, "*.safetensors"]
_TIMEOUT_S = 30.0
_FIRST_BYTES = 2**17  # of a safetensors file; nearly always the whole header is in them


def download(hub_id: str, revision: str | None) -> Path:
    """Download a checkpoint into the Hub's cache, and return its folder, which is named by the hash of the commit.

    Raises:
        ExportError: There is no such checkpoint, or it cannot be downloaded.
    """
    return _snapshot(hub_id, revision, _FILES)


def download_without_weights(hub_id: str, revision: str | None, folder: Path) -> str:
    """Write a checkpoint without weights; files that are in the Hub's cache are taken from there.

    Args:
        hub_id: The checkpoint.
        revision: Branch, tag or commit; its main branch if None.
        folder: An empty folder.

    Returns:
        The hash of the commit.

    Raises:
        ExportError: There is no such checkpoint, or it cannot be downloaded.
    """
    small = _snapshot(hub_id, revision, SMALL_FILES)
    commit = small.name
    for path in (path for path in small.rglob("*") if path.is_file()):
        (folder / path.relative_to(small)).parent.mkdir(parents=True, exist_ok=True)
        (folder / path.relative_to(small)).symlink_to(path.resolve())
    if _has_weights(folder):  # an export has downloaded them before; then no network is needed
        return commit
    with _explained(hub_id):
        from huggingface_hub import HfApi

        files = HfApi().model_info(hub_id, revision=commit, timeout=_TIMEOUT_S).siblings or ()
        for name in sorted(file.rfilename for file in files if file.rfilename.endswith(".safetensors")):
            if not (folder / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                _write_header(hub_id, commit, name, folder / name)
    return commit


def _has_weights(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    files = set(read_object(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    return all((folder / Path(file).name).is_file() for file in files)


def _write_header(hub_id: str, commit: str, name: str, path: Path) -> None:
    """Write a file with the header and the size of a safetensors file on the Hub."""
    start, size = _read(hub_id, commit, name, first=0, last=_FIRST_BYTES - 1)
    end = 8 + int.from_bytes(start[:8], "little")
    if end > len(start) and len(start) == _FIRST_BYTES:
        start += _read(hub_id, commit, name, first=_FIRST_BYTES, last=end - 1)[0]
    with path.open("wb") as file:
        file.write(start[:end])
        file.truncate(size)


def _read(hub_id: str, commit: str, name: str, *, first: int, last: int) -> tuple[bytes, int]:
    """Read some bytes of a file on the Hub; returns them, and the size of the file."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

    headers = {**build_hf_headers(), "Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
    response: Any = get_session().get(hf_hub_url(hub_id, name, revision=commit), headers=headers, timeout=_TIMEOUT_S)
    hf_raise_for_status(response)
    size = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return response.content, int(size[1]) if size else len(response.content)


def _snapshot(hub_id: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    with _explained(hub_id):
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))


@contextmanager
def _explained(hub_id: str) -> Iterator[None]:
    """Turn the errors of the Hub's library into ours."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    # HTTPError is that of the HTTP library which this release uses. HfHubHTTPError is one, and so is a proxy's refusal.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield
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
