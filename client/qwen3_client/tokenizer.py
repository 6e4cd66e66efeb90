"""Prompts to token ids, with the tokenizer.json that the model was exported with.

The ids for an embedding model are those of the text, cut if necessary, and one end token, which the model pools. The
ids for a reranker are those of a fixed prefix, of the text, cut if necessary, and of a fixed suffix, after which the
model answers. This module knows nothing about instructions and templates, nor about requests.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .bounded_tokenizer import BoundedTokenizer
from .contract import ModelInfo, ServedInfo
from .errors import ContractMismatchError, TextTooLongError, TokenizerUnavailableError
from .options import Truncate
from .outcome import Outcome

_FILE = "tokenizer.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class TextTokenizer:
    """The tokenizer of one served model. Threads may share it, because encoding does not change it.

    Prefix, text and suffix are tokenized separately, as in the code of the Qwen3-Reranker model cards.

    Args:
        content: the content of tokenizer.json.
        max_tokens: maximum number of ids for one text, including prefix, suffix and end token.
        prefix: text before every text.
        suffix: text after every text.
        eos_token_id: id of the end token, which follows every text; None for no such token.

    Raises:
        ContractMismatchError: `max_tokens` leaves no room between prefix and suffix.
    """

    def __init__(
        self, content: bytes, *, max_tokens: int, prefix: str = "", suffix: str = "", eos_token_id: int | None = None
    ) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_buffer(content)
        # A tokenizer.json may enable truncation and padding itself. They would act before the end token is added.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # The end token is added here and not by the post-processor of tokenizer.json, which may be missing.
        self._head: list[int] = tokenizer.encode(prefix, add_special_tokens=False).ids
        self._tail: list[int] = tokenizer.encode(suffix, add_special_tokens=False).ids
        if eos_token_id is not None:
            self._tail.append(eos_token_id)
        self._max_tokens = max_tokens
        self._room = max_tokens - len(self._head) - len(self._tail)
        if self._room < 1:
            raise ContractMismatchError(
                f"the model takes {max_tokens} tokens, and its template alone has "
                f"{len(self._head) + len(self._tail)}: there is no room for a text; export it again with a larger "
                "max_tokens"
            )
        self._whole = tokenizer
        self._bounded = BoundedTokenizer(tokenizer, room=self._room)

    @classmethod
    def load(
        cls,
        info: ServedInfo,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        prefix: str = "",
        suffix: str = "",
    ) -> "TextTokenizer":
        """Load the tokenizer of a served model.

        Args:
            info: what the model says about itself.
            tokenizer: folder with the tokenizer.json, or a Hub id; None for the tokenizer that `info` names.
            prefix: text before every text.
            suffix: text after every text.

        Raises:
            TokenizerUnavailableError: tokenizer.json is neither in the folder nor on the Hub.
            ContractMismatchError: it is not the one that the model was exported with, or prefix and suffix leave no
                room for a text.
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
        eos_token_id = info.eos_token_id if isinstance(info, ModelInfo) else None
        return cls(content, max_tokens=info.max_tokens, prefix=prefix, suffix=suffix, eos_token_id=eos_token_id)

    def encode(self, texts: Sequence[str], *, truncate: Truncate) -> Outcome[NDArray[np.int64]]:
        """Turn prompts into token ids.

        Args:
            texts: texts to put between prefix and suffix.
            truncate: which part is cut off from a text that is too long; prefix and suffix are never cut.

        Returns:
            For each text, int64 `[n]` with n at most `max_tokens`. If `truncate` is False, the failure of the first
            text that is too long, a `TextTooLongError`.
        """
        from_end = truncate == "start"
        kept = slice(-self._room, None) if from_end else slice(self._room)
        rows: list[NDArray[np.int64]] = []
        for body in self._bounded.encode(texts, from_end=from_end):
            if len(body) > self._room and truncate is False:
                return Outcome(
                    rows,
                    TextTooLongError(
                        f"more than the {self._max_tokens} tokens that the model takes, with instruction and all that "
                        "the client adds; shorten or split the text, or let truncate=True cut its end"
                    ),
                )
            rows.append(np.array([*self._head, *body[kept], *self._tail], dtype=np.int64))
        return Outcome(rows)

    def characters_cut(self, text: str, row: NDArray[np.int64]) -> int:
        """Return how many characters `encode` cut off from the end of a text; 0 for none.

        They are counted by decoding the ids that were kept, so the cost does not depend on the length of what was cut,
        unless the tokenizer normalises the text.

        Args:
            text: the whole text.
            row: int64 `[n]`, the ids that `encode` returned for it.
        """
        if row.size < self._max_tokens:
            return 0
        body = row[len(self._head) : row.size - len(self._tail)].tolist()
        kept = self._whole.decode(body, skip_special_tokens=False)
        if kept == text:
            return 0
        whole = text
        is_as_tokenized = text.startswith(kept.rstrip("\ufffd")) and unicodedata.is_normalized("NFC", text)
        if not is_as_tokenized and self._whole.normalizer is not None:
            whole = self._whole.normalizer.normalize_str(text)
        while not whole.startswith(kept):  # if a character was cut in two, its first bytes decode to U+FFFD
            kept = kept[:-1]
        return len(whole) - len(kept)


def _find(source: str, *, revision: str, option: str) -> Path:
    """Return the path of the tokenizer.json in a folder, or of the one that was downloaded from the Hub.

    Args:
        source: a folder or a Hub id.
        revision: commit on the Hub; "" for the latest.
        option: the argument of `Client` that names the tokenizer, for errors.

    Raises:
        TokenizerUnavailableError: it is in neither place.
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
