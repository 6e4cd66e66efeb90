"""The token ids that an export depends on, read from the checkpoint's tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from ..errors import ExportError
from .checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Answers:
    """The token ids of a reranker's two answers: 9693 and 2152 in the published vocabulary.

    `no` is None for a reranker whose score is the logit of one token.
    """

    yes: int
    no: int | None


def eos_token_id(checkpoint: Checkpoint) -> int:
    """Return the id of the token that an embedding model's tokenizer appends to a text.

    With last-token pooling it is the token that is pooled.

    Raises:
        ExportError: The tokenizer cannot be read, or does not append exactly one token. Clients rely on that token.
    """
    tokenizer = _tokenizer(checkpoint)
    plain = tokenizer.encode("text", add_special_tokens=False).ids
    closed: list[int] = tokenizer.encode("text").ids
    if closed[:-1] != plain:
        raise ExportError(
            f"{checkpoint.tokenizer_folder}/tokenizer.json does not append one end token to a text, and clients "
            "support no other embedding models; if the model was trained with an end token, as Qwen3-Embedding, use "
            "its own tokenizer, and add --kind reranker if this is a reranker"
        )
    return _inside(checkpoint, closed[-1])


def answers(checkpoint: Checkpoint) -> Answers:
    """Return the token ids of a reranker's answers "yes" and "no".

    Raises:
        ExportError: The tokenizer cannot be read, or one of the words is not a single token.
    """
    tokenizer = _tokenizer(checkpoint)
    found = {}
    for word in ("yes", "no"):
        ids = tokenizer.encode(word, add_special_tokens=False).ids
        if len(ids) != 1:
            raise ExportError(
                f'{checkpoint.tokenizer_folder}/tokenizer.json has no token "{word}", which a reranker needs for its '
                "answer; use the reranker's own tokenizer, or add --kind embedding if this is an embedding model"
            )
        found[word] = _inside(checkpoint, ids[0])
    return Answers(**found)


def checked_answers(checkpoint: Checkpoint, yes: object, no: object, *, where: Path) -> Answers:
    """Return the answers that a checkpoint states by their token ids.

    Args:
        checkpoint: The checkpoint.
        yes: The id for a relevant document.
        no: The id for an irrelevant one; None if there is none.
        where: The file that states them.

    Raises:
        ExportError: One is not an id, or is outside the model's vocabulary.
    """
    for token_id in (yes, no):
        if (token_id is None and yes is not None) or (type(token_id) is int and token_id >= 0):
            continue
        raise ExportError(f"{where} names the tokens {yes!r} and {no!r}, which are not ids")
    assert isinstance(yes, int)  # noqa: S101 - as checked above
    return Answers(_inside(checkpoint, yes), _inside(checkpoint, no) if isinstance(no, int) else None)


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    path = checkpoint.tokenizer_folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises the bare Exception
        raise ExportError(f"{path} cannot be read: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _inside(checkpoint: Checkpoint, token_id: int) -> int:
    """Check that the model's vocabulary has an id.

    A published tokenizer may have a few more tokens than its model, which does no harm unless one of them is needed.

    Raises:
        ExportError: The id is outside the model's vocabulary.
    """
    if token_id >= checkpoint.geometry.vocabulary:
        raise ExportError(
            f"{checkpoint.tokenizer_folder}/tokenizer.json needs token {token_id}, but the model's vocabulary ends at "
            f"{checkpoint.geometry.vocabulary - 1}; they do not belong together"
        )
    return token_id
