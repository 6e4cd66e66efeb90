"""The token ids that a model is built around, read from its tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer

from ..errors import ExportError
from .checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Answers:
    """The ids of the two words that a reranker answers with: 9693 and 2152 in the published vocabulary."""

    yes: int
    no: int


def eos_token_id(checkpoint: Checkpoint) -> int:
    """The id that an embedding model's tokenizer puts after a text, where last-token pooling reads.

    Raises:
        ExportError: The tokenizer cannot be used, or appends nothing.
    """
    tokenizer = _tokenizer(checkpoint)
    plain = tokenizer.encode("text", add_special_tokens=False).ids
    closed: list[int] = tokenizer.encode("text").ids
    if closed[:-1] != plain:
        raise ExportError(
            f"{checkpoint.folder}/tokenizer.json does not append one end token to a text, as Qwen3-Embedding's does; "
            "take the embedding model's own, or say --kind reranker if this is one"
        )
    return _inside(checkpoint, closed[-1])


def answers(checkpoint: Checkpoint) -> Answers:
    """The ids of a reranker's "yes" and "no".

    Raises:
        ExportError: The tokenizer cannot be used, or one of the words is not a single token.
    """
    tokenizer = _tokenizer(checkpoint)
    found = {}
    for word in ("yes", "no"):
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        if len(ids) != 1:
            raise ExportError(
                f'{checkpoint.folder}/tokenizer.json has no token "{word}", with which a reranker answers'
            )
        found[word] = _inside(checkpoint, ids[0])
    return Answers(**found)


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    path = checkpoint.folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises the bare Exception
        raise ExportError(f"{path} cannot be read: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _inside(checkpoint: Checkpoint, token_id: int) -> int:
    """Check one id; a published tokenizer may well know a few more tokens than its model, as long as none is needed.

    Raises:
        ExportError: The model has no row for it.
    """
    if token_id >= checkpoint.geometry.vocabulary:
        raise ExportError(
            f"{checkpoint.folder}/tokenizer.json needs token {token_id}, but the model's vocabulary ends at "
            f"{checkpoint.geometry.vocabulary - 1}; they do not belong together"
        )
    return token_id
