"""Text to token ids, with the tokenizer.json that the model was exported with.

The ids of a text are its body, cut if need be, and one end-of-text token, which the model pools. This module
knows nothing about instructions or requests.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._contract import ModelInfo
from ._errors import ContractMismatchError, InvalidInputError, TokenizerUnavailableError

__all__ = ["TextTokenizer"]

_FILE = "tokenizer.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class TextTokenizer:
    """The tokenizer of one served model. Threads may share it: encoding changes nothing."""

    def __init__(self, content: bytes, *, max_tokens: int, eos_token_id: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_buffer(content)
        # A tokenizer.json may bring settings of its own; a cut there would come before the end-of-text token.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._max_tokens = max_tokens
        self._eos_token_id = eos_token_id

    @classmethod
    def load(cls, info: ModelInfo, *, tokenizer: str | os.PathLike[str] | None = None) -> "TextTokenizer":
        """Loads the tokenizer of a served model.

        Args:
            info: what the model says about itself.
            tokenizer: folder that holds the tokenizer.json, or Hub id; None for the one that `info` names.

        Raises:
            TokenizerUnavailableError: there is no tokenizer.json to be had.
            ContractMismatchError: it is not the one that the model was exported with.
        """
        place = info.tokenizer if tokenizer is None else os.fspath(tokenizer)
        content = _find(place, revision=info.revision if place == info.source else "").read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != info.tokenizer_sha256:
            raise ContractMismatchError(
                f"the {_FILE} of {place} is not the one that the model was exported with: its sha256 is "
                f"{found}, the server's {info.tokenizer_sha256}; pass tokenizer=<folder holding the right "
                f"{_FILE}>, or export the model again with `qwen3-triton export`"
            )
        return cls(content, max_tokens=info.max_tokens, eos_token_id=info.eos_token_id)

    def encode(self, texts: Sequence[str], *, truncate: bool, first_index: int = 0) -> list[NDArray[np.int64]]:
        """Turns prompts into token ids.

        Args:
            texts: what the model shall read.
            truncate: whether a text that is too long loses its end; the end-of-text token stays.
            first_index: position of `texts[0]` in the caller's call, for errors.

        Returns:
            For each text, int64 `[1, n]` with n at most `max_tokens`; the last id is `eos_token_id`.

        Raises:
            InvalidInputError: a text is too long and `truncate` is False.
        """
        room = self._max_tokens - 1
        rows = []
        # The end-of-text token is added below and not by tokenizer.json, whose post-processor may be missing.
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        for index, encoding in enumerate(encodings, start=first_index):
            body = encoding.ids
            if len(body) > room and not truncate:
                raise InvalidInputError(
                    f"{len(body) + 1} tokens, with instruction and end-of-text token, but the model takes "
                    f"{self._max_tokens}; shorten or split the text, or let truncate=True cut its end",
                    index=index,
                )
            rows.append(np.array([[*body[:room], self._eos_token_id]], dtype=np.int64))
        return rows


def _find(place: str, *, revision: str) -> Path:
    """Returns the path of the tokenizer.json in a folder, or of the one fetched from the Hub."""
    folder = Path(place).expanduser()
    if (folder / _FILE).is_file():
        return folder / _FILE
    if folder.is_dir():
        raise _unavailable(place, f"the folder holds no {_FILE}")
    if not _HUB_ID.fullmatch(place):
        raise _unavailable(place, "there is no such folder on this machine, and it is no Hub id")

    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(hf_hub_download(place, _FILE, revision=revision or None))
    except (EntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _unavailable(place, f"the Hugging Face Hub did not give it: {reason}") from error


def _unavailable(place: str, reason: str) -> TokenizerUnavailableError:
    return TokenizerUnavailableError(
        f"cannot get {_FILE} of {place} ({reason}); pass tokenizer=<folder holding {_FILE}>, such as the "
        "model's directory in the server's model repository"
    )
