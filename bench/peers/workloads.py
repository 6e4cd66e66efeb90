"""The texts that every contender embeds: random words of the genuine vocabulary, of exact lengths in tokens.

Every word is one token, also when its text is tokenized. So a peer that takes texts and one that takes token ids get
the same tokens. Knows nothing about the contenders.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

# Source: the model cards' default task, in the format of their queries. 19 tokens.
INSTRUCTION = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

_FIRST, _FURTHER = re.compile(r"[a-z]{2,}"), re.compile(r" [a-z]{2,}")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is embedded, and how it is timed.

    Attributes:
        name: Its name in tables and on the command line.
        lengths: Tokens of each text, including the end token and the instruction.
        alone: Whether each text is timed alone, for its latency; otherwise all are timed together, for throughput.
        apart: Whether it is measured between the rounds, and less often, because it takes minutes.
        instructed: Whether each text begins with the model card's instruction, as queries do.
        says: A description.
    """

    name: str
    lengths: tuple[int, ...]
    alone: bool = False
    apart: bool = False
    instructed: bool = False
    says: str = ""

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return sum(self.lengths)


@dataclass(frozen=True, slots=True)
class Text:
    """A text and its token ids."""

    text: str
    ids: list[int]


def _mixed(shortest: int, longest: int, count: int, *, seed: int) -> tuple[int, ...]:
    """Return lengths in geometric progression, in random order, so that short texts are more frequent."""
    lengths = np.geomspace(shortest, longest, count).round().astype(int)
    return tuple(int(n) for n in np.random.default_rng(seed).permutation(lengths))


WORKLOADS = (
    Workload("query", (16,) * 12, alone=True, says="one query of 16 tokens at a time"),
    Workload("short", _mixed(8, 32, 48, seed=1), says="48 queries of 8 to 32 tokens"),
    Workload("mixed", _mixed(8, 256, 32, seed=2), says="32 documents of 8 to 256 tokens"),
    Workload("512", (512,) * 3, says="3 documents of 512 tokens"),
    Workload("skewed", (*(16,) * 15, 512, *(16,) * 16), says="one of 512 tokens among 31 of 16"),
    Workload("asked", (27,) * 12, alone=True, instructed=True, says="one query of 8 tokens after the instruction"),
    Workload("instructed", _mixed(23, 43, 48, seed=3), instructed=True, says="48 queries of 4 to 24 tokens after it"),
    Workload("2048", (2048,), says="one document of 2,048 tokens"),
    Workload("8192", (8192,), apart=True, says="one document of 8,192 tokens"),
)
# The texts on which the contenders' vectors are compared.
PROBE = Workload("probe", (2, 9, 16, 33, 64, 120), says="for the cosine")


class Writer:
    """Writes texts in the vocabulary of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._instruction = len(tokenizer.encode(INSTRUCTION, add_special_tokens=False).ids)  # tokens
        words = [tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size())]
        self._first = [word for word in words if _FIRST.fullmatch(word)]
        self._further = [word for word in words if _FURTHER.fullmatch(word)]

    def write(self, lengths: Sequence[int], *, instructed: bool = False, seed: int = 0) -> list[Text]:
        """Write one text for each length; the same seed gives the same texts.

        Args:
            lengths: Tokens of each text, at least 2 more than those of the instruction.
            instructed: Whether the texts begin with the instruction.
            seed: The seed of the random words.

        Raises:
            ValueError: A text does not have its length in tokens.
        """
        random = np.random.default_rng(seed)
        return [self._text(length, random, instructed=instructed) for length in lengths]

    def _text(self, length: int, random: np.random.Generator, *, instructed: bool) -> Text:
        words = length - 1 - self._instruction * instructed
        further = [self._further[i] for i in random.integers(len(self._further), size=words)]
        # After the instruction, words begin with a space, because others could form one token with the colon.
        first = INSTRUCTION + further[0] if instructed else self._first[random.integers(len(self._first))]
        text = "".join([first, *further[1:]])
        ids = self._tokenizer.encode(text).ids
        if len(ids) != length:
            raise ValueError(f"a text has {len(ids)} tokens instead of {length}; is this the genuine tokenizer?")
        return Text(text, ids)
