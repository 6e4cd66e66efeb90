"""Which part of a text each token is, for `POST /tokenize`.

The client gives token ids. What they spell, and where, is read from the same tokenizer.json here. Loading it and
encoding take time, so both belong on another thread than the event loop's.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qwen3_client import ContractMismatchError, ModelInfo, TokenizerUnavailableError
from tokenizers import Tokenizer

__all__ = ["Speller"]

_FILE = "tokenizer.json"


class Speller:
    """Spells the tokens of one model.

    Args:
        info: what the model says about itself.
        place: folder that holds its tokenizer.json, or Hub id; None for the one that `info` names.

    Raises:
        TokenizerUnavailableError: there is none to be had.
        ContractMismatchError: it is not the one that the model was exported with.
    """

    def __init__(self, info: ModelInfo, *, place: str | None) -> None:
        content = _find(info, place=place).read_bytes()
        if hashlib.sha256(content).hexdigest() != info.tokenizer_sha256:
            raise ContractMismatchError(f"the {_FILE} of {place or info.tokenizer} is not the model's")
        self._tokenizer = Tokenizer.from_buffer(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = {id_ for id_, token in self._tokenizer.get_added_tokens_decoder().items() if token.special} | {
            info.eos_token_id
        }

    def spell_all(
        self, texts: Sequence[str], rows: Sequence[NDArray[np.int64]], *, is_prompted: bool
    ) -> list[list[dict[str, Any]]]:
        """Spells each text's tokens. See `spell`."""
        return [self.spell(text, ids, is_prompted=is_prompted) for text, ids in zip(texts, rows, strict=True)]

    def spell(self, text: str, ids: NDArray[np.int64], *, is_prompted: bool) -> list[dict[str, Any]]:
        """Returns the tokens of a text, as TEI's API words them.

        Args:
            text: the text.
            ids: what the client made of it, the end-of-text token last.
            is_prompted: whether an instruction was put before the text; positions then count from its beginning.
        """
        *body, _ = wanted = ids.tolist()
        read = self._tokenizer.decode(body, skip_special_tokens=False) if is_prompted else text
        encoding = self._tokenizer.encode(read, add_special_tokens=False)
        tokens = [
            self._token(id_, read[start:stop], start=start, stop=stop)
            for id_, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
        ]
        return [*tokens, self._token(wanted[-1], self._tokenizer.decode(wanted[-1:], skip_special_tokens=False))]

    def _token(self, id_: int, text: str, *, start: int | None = None, stop: int | None = None) -> dict[str, Any]:
        return {"id": id_, "text": text, "special": id_ in self._special, "start": start, "stop": stop}


def _find(info: ModelInfo, *, place: str | None) -> Path:
    where = place or info.tokenizer
    folder = Path(where).expanduser()
    if folder.is_dir():
        return folder / _FILE
    from huggingface_hub import hf_hub_download

    # Of whichever HTTP library this release uses; HfHubHTTPError and, say, a proxy's refusal are among its kinds.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    revision = info.revision if where == info.source else ""
    try:
        return Path(hf_hub_download(where, _FILE, revision=revision or None))
    except (HTTPError, OSError, ValueError) as error:
        raise TokenizerUnavailableError(f"cannot get {_FILE} of {where}: {error}") from error
