"""The token ids that are run: built-in texts and pairs through the model directory's own tokenizer.json.

Knows nothing about models beyond their kind and their longest text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import VerifyError
from .model_directory import TOKENIZER
from .texts import (
    CARD_DOCUMENTS,
    CARD_PAIRS,
    CARD_QUERIES,
    LANGUAGES,
    LENGTHS,
    OTHERS,
    PAIR_QUERIES,
    RERANKER_BODY,
    RERANKER_PREFIX,
    RERANKER_SUFFIX,
    TASK,
    Pair,
    Text,
)

Ids = npt.NDArray[np.int64]

TEXTS = (*CARD_QUERIES, *CARD_DOCUMENTS, *LANGUAGES, *OTHERS)
PAIRS = (
    *CARD_PAIRS,
    *(
        Pair(document.name, query, document.text)
        for document, query in zip((*LANGUAGES, *OTHERS), PAIR_QUERIES, strict=True)
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One text to run.

    Attributes:
        name: For the table.
        ids: INT64 `[n]`.
        whole: Whether nothing was cut off to fit the longest text.
    """

    name: str
    ids: Ids
    whole: bool


class ModelTokenizer:
    """The tokenizer.json of a model directory."""

    def __init__(self, directory: Path) -> None:
        from tokenizers import Tokenizer

        self.path = directory / TOKENIZER
        try:
            self._tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:  # noqa: BLE001 - tokenizers raises the bare Exception
            raise VerifyError(f"{self.path} cannot be read ({error}); export the model again") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def body(self, text: str) -> list[int]:
        """The ids of a text alone."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def end(self) -> int:
        """The id that an embedding model's tokenizer puts after a text.

        Raises:
            VerifyError: It puts none, or more than one.
        """
        closed: list[int] = self._tokenizer.encode("text").ids
        if closed[:-1] != self.body("text"):
            raise VerifyError(f"{self.path} does not append one end token to a text; export the model again")
        return closed[-1]

    def only_id(self, word: str) -> int:
        """The id of a word that is one token.

        Raises:
            VerifyError: It is several.
        """
        ids = self.body(word)
        if len(ids) != 1:
            raise VerifyError(f'{self.path} has no token "{word}", with which a reranker answers')
        return ids[0]


def embedding_cases(tokenizer: ModelTokenizer, *, max_tokens: int) -> list[Case]:
    """Built-in texts, and repetitions of them of given lengths; each ends with the end token.

    Args:
        tokenizer: The model directory's.
        max_tokens: Longest case. Longer texts lose their end, but for the end token.
    """
    end = tokenizer.end()
    room = max_tokens - 1
    bodies = [(text.name, tokenizer.body(text.text)) for text in TEXTS]
    cases = [_case(name, [*body[:room], end], whole=len(body) <= room) for name, body in bodies]
    filler = [token for _, body in bodies for token in body]
    return cases + [
        _case(_length_name(length), [*_repeated(filler, length - 1), end]) for length in _lengths(max_tokens)
    ]


def reranker_cases(tokenizer: ModelTokenizer, *, max_tokens: int) -> list[Case]:
    """Built-in pairs in the official template, and prompts of given lengths.

    The template's three parts are tokenized one by one, as the model card does; what is too long is cut from the
    body. A length that the template alone exceeds gets the end of the prompt: no real prompt, but the model must
    compute the same.
    """
    prefix, suffix = tokenizer.body(RERANKER_PREFIX), tokenizer.body(RERANKER_SUFFIX)

    def prompt(body: list[int], length: int) -> list[int]:
        room = max(0, length - len(prefix) - len(suffix))
        return [*prefix, *body[:room], *suffix][-length:]

    bodies = [(pair.name, tokenizer.body(_pair_body(pair))) for pair in PAIRS]
    cases = [
        _case(name, prompt(body, max_tokens), whole=len(prefix) + len(body) + len(suffix) <= max_tokens)
        for name, body in bodies
    ]
    filler = [token for _, body in bodies for token in body]
    return cases + [
        _case(_length_name(length), prompt(_repeated(filler, length), length)) for length in _lengths(max_tokens)
    ]


def tokenized_texts(kind: str) -> Iterator[Text]:
    """Everything that `embedding_cases` or `reranker_cases` has the tokenizer read."""
    if kind == "embedding":
        yield from TEXTS
        return
    yield Text("the template's prefix", RERANKER_PREFIX)
    yield Text("the template's suffix", RERANKER_SUFFIX)
    yield from (Text(word, word) for word in ("yes", "no"))
    yield from (Text(pair.name, _pair_body(pair)) for pair in PAIRS)


def _pair_body(pair: Pair) -> str:
    return RERANKER_BODY.format(task=TASK, query=pair.query, document=pair.document)


def _lengths(max_tokens: int) -> list[int]:
    return sorted({*(length for length in LENGTHS if length <= max_tokens), max_tokens})


def _length_name(length: int) -> str:
    return f"length {length:,}"


def _repeated(ids: list[int], length: int) -> list[int]:
    return (ids * (length // len(ids) + 1))[:length]


def _case(name: str, ids: list[int], *, whole: bool = True) -> Case:
    return Case(name, np.array(ids, np.int64), whole)
