"""Counts of what truncation cut off from texts.

Texts and characters are counted exactly. The number of tokens is an estimate: to count them, everything that was cut
off would have to be tokenized, and truncation is there to save that. This module knows nothing about tokenizers.
"""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """The amount of text that was cut off from a number of texts.

    Attributes:
        texts: number of texts that were cut.
        characters: number of characters that were cut off from all of them together.
        tokens: estimated number of tokens in these characters, with the characters per token of what was kept.
    """

    texts: int = 0
    characters: int = 0
    tokens: int = 0

    def __add__(self, other: "Cuts") -> "Cuts":
        return Cuts(
            texts=self.texts + other.texts,
            characters=self.characters + other.characters,
            tokens=self.tokens + other.tokens,
        )

    def sentence(self, *, max_tokens: int) -> str:
        """Return a sentence about it for the user of a command.

        Args:
            max_tokens: maximum number of tokens that the model takes.
        """
        texts, characters, tokens = (
            f"{number:,} {noun}{'' if number == 1 else 's'}"
            for number, noun in ((self.texts, "text"), (self.characters, "character"), (self.tokens, "token"))
        )
        return (
            f"cut the end of {texts} to fit the model's {max_tokens:,} tokens: {characters} in all, about {tokens}; "
            "--no-truncate refuses such texts instead"
        )


class CutCounter:
    """A running total of `Cuts`. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cuts = Cuts()

    def add(self, *, kept_tokens: int, text: str, characters: int) -> None:
        """Add one text to the total.

        Args:
            kept_tokens: number of its tokens that were kept.
            text: the whole text.
            characters: number of characters that were cut off; 0 for none.
        """
        if characters:
            tokens = round(characters * kept_tokens / max(len(text) - characters, 1))
            with self._lock:
                self._cuts += Cuts(texts=1, characters=characters, tokens=max(tokens, 1))

    def take(self) -> Cuts:
        """Return the total since the last call, and start again from zero."""
        with self._lock:
            cuts, self._cuts = self._cuts, Cuts()
            return cuts
