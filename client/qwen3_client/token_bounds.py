"""Lower bounds of the number of tokens of a text, which follow from its characters.

They cost far less than tokenizing, so that a call that cannot succeed is refused before any work is done. They hold for
the tokenizers that `bounded_tokenizer.has_seams` knows, whose tokens are sequences of bytes:

- No token has more bytes than the longest one of the vocabulary. Normalising to NFC makes at most four characters into
  one, as no character has a canonical decomposition of more than four (Unicode FAQ on normalization, table of maximum
  expansion factors), and it leaves ASCII as it is.
- A letter or digit and the white space or punctuation after it are tokens of their own, because there is a seam between
  them.

For all other tokenizers, the bound is one token. This module knows nothing about prompts.
"""

import re
from typing import TYPE_CHECKING, Final

from .bounded_tokenizer import SEAM, has_seams

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_SHORT = 1000  # characters of a text that is not worth the look
_NFC_CHARACTERS = 4  # that can become one
# The class of each byte of UTF-8: a letter or digit, a character that begins a seam after one, or anything else.
_CLASSES: Final = bytes(
    ord("a") if re.match("[A-Za-z0-9]", chr(byte)) else ord(" ") if byte < 128 and SEAM.search("a" + chr(byte)) else 0
    for byte in range(256)
)


class TokenBounds:
    """The lower bounds for the texts of one tokenizer.

    Args:
        tokenizer: the tokenizer.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._longest = 0  # bytes of the longest token; 0 if nothing is known of the tokenizer
        if has_seams(tokenizer):
            # In a byte-level vocabulary each character stands for a byte, except in added tokens.
            added = tokenizer.get_added_tokens_decoder().values()
            vocabulary = tokenizer.get_vocab(with_added_tokens=False)
            self._longest = max([*map(len, vocabulary), *(len(token.content.encode()) for token in added)], default=0)

    def least(self, text: str) -> int:
        """Return a number of tokens that a text has at least: 0 for an empty text, and 1 for most short ones."""
        if len(text) <= _SHORT or not self._longest:
            return min(len(text), 1)
        seams = text.encode().translate(_CLASSES).count(b"a ")
        most_characters = self._longest * (1 if text.isascii() else _NFC_CHARACTERS)
        return max(seams + 1, -(-len(text) // most_characters))
