"""Tokens with their texts and character offsets, for `POST /tokenize`.

`qwen3_client` gives token ids only, so the text and the offsets of each token come from the same tokenizer.json, which
this module loads a second time. Loading it and encoding take time: call both on another thread than the event loop's.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qwen3_client import ContractMismatchError, ModelInfo, TokenizerUnavailableError
from tokenizers import Tokenizer

_FILE = "tokenizer.json"


class OffsetTokenizer:
    """The tokenizer of one model, with offsets.

    Args:
        info: What the model says about itself.
        source: Folder that holds its tokenizer.json, or Hub id; None for the one that `info` names.

    Raises:
        TokenizerUnavailableError: The tokenizer.json cannot be read or downloaded.
        ContractMismatchError: It is not the one that the model was exported with.
    """

    def __init__(self, info: ModelInfo, *, source: str | None) -> None:
        content = _find(info, source=source).read_bytes()
        if hashlib.sha256(content).hexdigest() != info.tokenizer_sha256:
            raise ContractMismatchError(
                f"the {_FILE} of {source or info.tokenizer} is not the one that the model was exported with"
            )
        self._tokenizer = Tokenizer.from_buffer(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = {id_ for id_, token in self._tokenizer.get_added_tokens_decoder().items() if token.special} | {
            info.eos_token_id
        }

    def tokens_of_all(
        self, texts: Sequence[str], rows: Sequence[NDArray[np.int64]], *, has_prompt: bool
    ) -> list[list[dict[str, Any]]]:
        """Return each text's tokens. See `tokens_of`."""
        return [self.tokens_of(text, ids, has_prompt=has_prompt) for text, ids in zip(texts, rows, strict=True)]

    def texts_of_all(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """Return the text of each list of token ids."""
        return [self._tokenizer.decode(list(row), skip_special_tokens=skip_special_tokens) for row in rows]

    def tokens_of(self, text: str, ids: NDArray[np.int64], *, has_prompt: bool) -> list[dict[str, Any]]:
        """Return the tokens of a text in the form of TEI's API.

        Args:
            text: The text.
            ids: Its token ids, INT64 `[n]`, the end-of-text token last.
            has_prompt: Whether the client put a prompt, such as an instruction, before the text. Offsets then count
                from the beginning of the prompt.
        """
        *body, _ = wanted = ids.tolist()
        prompt = self._tokenizer.decode(body, skip_special_tokens=False) if has_prompt else text
        encoding = self._tokenizer.encode(prompt, add_special_tokens=False)
        tokens = [
            self._token(id_, prompt[start:stop], start=start, stop=stop)
            for id_, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
        ]
        return [*tokens, self._token(wanted[-1], self._tokenizer.decode(wanted[-1:], skip_special_tokens=False))]

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
