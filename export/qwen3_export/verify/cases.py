"""The test cases: token ids of the built-in texts and pairs, from the tokenizer.json in the model directory.

Of the model, this module knows only the kind and the longest text.
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
        name: Its name in the table.
        ids: Its token ids, INT64 `[n]`.
        whole: Whether it was not truncated.
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
        """Return the ids of a text without special tokens."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def end(self) -> int:
        """Return the id that an embedding model's tokenizer appends to a text.

        Raises:
            VerifyError: It appends none, or more than one.
        """
        closed: list[int] = self._tokenizer.encode("text").ids
        if closed[:-1] != self.body("text"):
            raise VerifyError(f"{self.path} does not append one end token to a text; export the model again")
        return closed[-1]

    def only_id(self, word: str) -> int:
        """Return the id of a word that must be a single token.

        Raises:
            VerifyError: It is several tokens.
        """
        ids = self.body(word)
        if len(ids) != 1:
            raise VerifyError(
                f'{self.path} has no token "{word}", which a reranker needs for its answer; export the model again'
            )
        return ids[0]


def embedding_cases(tokenizer: ModelTokenizer, *, max_tokens: int) -> list[Case]:
    """Make the cases of an embedding model: the built-in texts, and repetitions of them that have certain lengths.

    Every case ends with the end token.

    Args:
        tokenizer: The tokenizer of the model directory.
        max_tokens: Length of the longest case. Longer texts are truncated before the end token.
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
    """Make the cases of a reranker: the built-in pairs in the official template, and prompts that have certain lengths.

    As in the model card, the three parts of the template are tokenized separately, and only the body is truncated. For
    a length that is shorter than the template, the case is the end of a prompt. That is no valid prompt, but the model
    and the reference must still agree on it.

    Args:
        tokenizer: The tokenizer of the model directory.
        max_tokens: Length of the longest case.
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
    """Yield every text that `embedding_cases` or `reranker_cases` tokenizes."""
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
