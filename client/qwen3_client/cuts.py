"""How many texts were cut to what a model takes, and how much of them.

The tokens of what was cut are an estimate: to count them, all of it would have to be tokenized, which is what cutting
saves. Texts and characters are counted.
"""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """What a number of texts lost.

    Attributes:
        texts: how many texts lost something.
        characters: how many characters they lost, all together.
        tokens: about how many tokens that is, if what a text lost has as many characters to a token as what it kept.
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
        """Says it to the user of a command.

        Args:
            max_tokens: how many tokens the model takes.
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
    """Adds up what texts lose. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cuts = Cuts()

    def add(self, *, kept_tokens: int, text: str, characters: int) -> None:
        """Record one text.

        Args:
            kept_tokens: how many tokens were made of it.
            text: the whole of it.
            characters: how many it lost; 0 for none.
        """
        if characters:
            tokens = round(characters * kept_tokens / max(len(text) - characters, 1))
            with self._lock:
                self._cuts += Cuts(texts=1, characters=characters, tokens=max(tokens, 1))

    def take(self) -> Cuts:
        """Return what was added since this was last called."""
        with self._lock:
            cuts, self._cuts = self._cuts, Cuts()
            return cuts
