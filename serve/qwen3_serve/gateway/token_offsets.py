"""Tokens with their texts and character offsets, for `POST /tokenize`.

`qwen3_client` gives token ids only, so the text and the offsets of each token come from the same tokenizer.json, which
this module loads a second time. Loading it and encoding take time: call both on another thread than the event loop's.
"""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qwen3_client import ContractMismatchError, ModelInfo, TokenizerUnavailableError, text_tokenizer
from tokenizers import Tokenizer

_FILE = "tokenizer.json"


class OffsetTokenizer:
    """The tokenizer of one model, with offsets.

    Args:
        info: What the model says about itself.
        source: Folder that holds its tokenizer.json, or Hub id; None for the one that `info` names.
        special_tokens: Whether the client reads special tokens in texts as such.

    Raises:
        TokenizerUnavailableError: The tokenizer.json cannot be read or downloaded.
        ContractMismatchError: It is not the one that the model was exported with.
    """

    def __init__(self, info: ModelInfo, *, source: str | None, special_tokens: bool) -> None:
        content = _find(info, source=source).read_bytes()
        if hashlib.sha256(content).hexdigest() != info.tokenizer_sha256:
            raise ContractMismatchError(
                f"the {_FILE} of {source or info.tokenizer} is not the one that the model was exported with"
            )
        self._tokenizer = text_tokenizer(content, special_tokens=special_tokens)
        # The one that reads special tokens as plain text has none, so that it cannot write them either.
        self._genuine = Tokenizer.from_buffer(content)
        added = self._genuine.get_added_tokens_decoder()
        self._special = {id_ for id_, token in added.items() if token.special} | {info.eos_token_id}
        self._added = {id_: token.content for id_, token in added.items()}

    def tokens_of_all(
        self, texts: Sequence[str], rows: Sequence[NDArray[np.int64]], *, has_prompt: bool
    ) -> list[list[dict[str, Any]]]:
        """Return each text's tokens. See `tokens_of`."""
        return [self.tokens_of(text, ids, has_prompt=has_prompt) for text, ids in zip(texts, rows, strict=True)]

    def texts_of_all(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the text of each list of token ids."""
        return [self._genuine.decode(list(row), skip_special_tokens=skip_special_tokens) for row in rows]

    def tokens_of(self, text: str, ids: NDArray[np.int64], *, has_prompt: bool) -> list[dict[str, Any]]:
        """Return the tokens of a text in the form of TEI's API.

        Args:
            text: The text.
            ids: Its token ids, INT64 `[n]`, the end-of-text token last.
            has_prompt: Whether the client put a prompt, such as an instruction, before the text. Offsets then count
                from the beginning of the prompt.
        """
        *body, end = ids.tolist()
        tokens: list[dict[str, Any]] = []
        start = 0
        # The model's own prompt may hold special tokens; nothing else has their ids, unless the client reads them.
        for is_added, some in itertools.groupby(body, key=self._is_of_prompt) if has_prompt else [(False, body)]:
            for piece in [[id_] for id_ in some] if is_added else [list(some)]:
                part = self._text_of(piece) if has_prompt else text
                tokens += self._tokens_of_part(part, piece, start=start)
                start += len(part)
        return [*tokens, self._token(end, self._text_of([end]))]

    def _is_of_prompt(self, id_: int) -> bool:
        return id_ in self._added

    def _tokens_of_part(self, part: str, ids: list[int], *, start: int) -> list[dict[str, Any]]:
        """Return the tokens of a part of a prompt that begins at `start`: an added token, or text without any."""
        if len(ids) == 1 and ids[0] in self._added:
            return [self._token(ids[0], part, start=start, stop=start + len(part))]
        encoding = self._tokenizer.encode(part, add_special_tokens=False)
        return [
            self._token(id_, part[first:last], start=start + first, stop=start + last)
            for id_, (first, last) in zip(encoding.ids, encoding.offsets, strict=True)
        ]

    def _text_of(self, ids: list[int]) -> str:
        if len(ids) == 1 and ids[0] in self._added:
            return self._added[ids[0]]
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def _token(self, id_: int, text: str, *, start: int | None = None, stop: int | None = None) -> dict[str, Any]:
        return {"id": id_, "text": text, "special": id_ in self._special, "start": start, "stop": stop}


def _find(info: ModelInfo, *, source: str | None) -> Path:
    """Return the path of the tokenizer.json in a folder, or of the one downloaded from the Hub."""
    where = source or info.tokenizer
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder / _FILE
    from huggingface_hub import hf_hub_download

    # The class of the HTTP library that this huggingface_hub uses; HfHubHTTPError and a proxy's refusal derive from it.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    revision = info.revision if where == info.source else ""
    try:
        return Path(hf_hub_download(where, _FILE, revision=revision or None))
    except (HTTPError, OSError, ValueError) as error:
        raise TokenizerUnavailableError(f"cannot get {_FILE} of {where}: {error}") from error
