"""The tokenizer.json with which a model was exported: in a folder, or on the Hugging Face Hub.

It is the right one if its sha256 is the one that the served model states. This module knows nothing about tokens.
"""

import hashlib
import os
import re
from pathlib import Path

from .contract import ServedInfo
from .errors import ContractMismatchError, TokenizerUnavailableError

_FILE = "tokenizer.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def read_tokenizer_file(info: ServedInfo, *, tokenizer: str | os.PathLike[str] | None = None) -> bytes:
    """Read the tokenizer.json of a served model.

    Args:
        info: what the model says about itself.
        tokenizer: folder with the tokenizer.json, or a Hub id; None for the tokenizer that `info` names.

    Raises:
        TokenizerUnavailableError: tokenizer.json is neither in the folder nor on the Hub.
        ContractMismatchError: it is not the one that the model was exported with.
    """
    option = info.TOKENIZER_OPTION
    source = info.tokenizer if tokenizer is None else os.fspath(tokenizer)
    revision = info.revision if source == info.source else ""
    content = _find(source, revision=revision, option=option).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != info.tokenizer_sha256:
        raise ContractMismatchError(
            f"the {_FILE} of {source} is not the one that the model was exported with: its sha256 is "
            f"{found}, the server's {info.tokenizer_sha256}; pass {option}=<folder holding the right "
            f"{_FILE}>, or export the model again with `qwen3-triton export`"
        )
    return content


def _find(source: str, *, revision: str, option: str) -> Path:
    """Return the path of the tokenizer.json in a folder, or of the one that was downloaded from the Hub.

    Args:
        source: a folder or a Hub id.
        revision: commit on the Hub; "" for the latest.
        option: the argument of `Client` that names the tokenizer, for errors.

    Raises:
        TokenizerUnavailableError: neither the folder nor the Hub has it.
    """
    folder = Path(source).expanduser()
    if (folder / _FILE).is_file():
        return folder / _FILE
    if folder.is_dir():
        raise _unavailable(option, source, f"the folder holds no {_FILE}")
    if not _HUB_ID.fullmatch(source):
        raise _unavailable(option, source, "there is no such folder on this machine, and it is not a Hub id")

    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    # The HTTPError of the HTTP library that this release uses. HfHubHTTPError and the errors of a proxy derive from it.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        EntryNotFoundError,
        HTTPError,
    )

    try:
        return Path(hf_hub_download(source, _FILE, revision=revision or None))
    except (EntryNotFoundError, HTTPError, OSError, ValueError) as error:
        if HF_HUB_OFFLINE:
            raise _unavailable(
                option,
                source,
                "HF_HUB_OFFLINE is set, and it is not in the Hub's cache on this machine",
                remedy="unset HF_HUB_OFFLINE, or ",
            ) from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _unavailable(option, source, f"the Hugging Face Hub did not provide it: {reason}") from error


def _unavailable(option: str, source: str, reason: str, *, remedy: str = "") -> TokenizerUnavailableError:
    return TokenizerUnavailableError(
        f"cannot get {_FILE} of {source} ({reason}); {remedy}pass {option}=<folder holding {_FILE}>, such as the "
        "model's directory in the server's model repository"
    )
