r"""Tokenizing a text only as far as it is kept, so that the cost does not grow with what is cut off.

A text is tokenized piece by piece, from the side that is kept, until there are enough tokens. The result is exact,
because pieces end only at seams. A seam is a position in a text at which it can be split without changing the tokens:
those of the left part followed by those of the right part are the tokens of the whole.

A tokenizer.json takes out added tokens, normalises the text between them, splits it with a regular expression, and
tokenizes each match by itself, whatever its model is. For the tokenizers in `_SPLITS`, the positions that `SEAM` finds
are seams, because such a position

- is never inside an added token: `has_seams` checks for each tokenizer that `SEAM` matches in none of them;
- does not change normalisation: with NFC, the character after it composes with none before it, and no other character
  becomes white space;
- is always between two matches: no alternative of the expression matches white space after anything else, except line
  ends after punctuation; none matches a letter or digit and then punctuation, or a letter and then a digit;
- does not change a match on either side: the expression has no lookbehind, and its only lookahead, `\s+(?!\S)`, follows
  white space, which is never directly before a seam.

A text is tokenized whole if its tokenizer is of another kind, or if it has no seam, such as a million letters in a row.
This module knows nothing about prefixes, suffixes and end tokens.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .thread_work import Abandonment

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer


# Ranges whose characters have been letters, or punctuation, in every version of Unicode since 3.2.
_LETTERS = r"A-Za-z\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_OTHERS = (
    r"\t\n\r !-/:;=?@\[-^`{}~\u2014\u2018\u2019\u201c\u201d\u2026"
    r"\u3001\u3002\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)

# A seam is at the start of the match. `<|>_` are in neither list, because added tokens contain them.
SEAM = re.compile(rf"[{_OTHERS}0-9](?:(?<=\S[ \t])|(?<=[{_LETTERS}0-9][{_OTHERS}])|(?<=[{_LETTERS}][0-9]))")

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = (
    [  # Qwen3's
        {"type": "Split", "pattern": {"Regex": _QWEN2}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
    ],
    # GPT-2's: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}],
)
# Characters in a piece for each token that is kept. One piece of Chinese gives enough tokens, or two of English.
_PIECE = 3
_SHORT = 1000  # characters of a text for which handing it to threads takes longer than tokenizing it
_LARGEST_PIECE = 32768  # characters, which take some 30 ms: work that is abandoned ends after a piece


class BoundedTokenizer:
    """A tokenizer that stops when it has enough token ids of a text. Threads may share it.

    Args:
        tokenizer: the tokenizer, with truncation and padding switched off.
        room: maximum number of ids that are kept of a text.

    Attributes:
        has_seams: whether texts can be split at the matches of `SEAM`.
    """

    def __init__(self, tokenizer: "Tokenizer", *, room: int) -> None:
        self._tokenizer = tokenizer
        self._room = room
        self.has_seams = has_seams(tokenizer)

    def encode(
        self, texts: Sequence[str], *, from_end: bool, room: int | None = None, abandonment: Abandonment | None = None
    ) -> list[list[int]]:
        """Return the ids of each text: all of them if there are at most `room`, and otherwise more than `room` of them.

        Args:
            texts: any texts.
            from_end: whether to return the last ids of a long text instead of the first.
            room: maximum number of ids that are kept of a text; None for that of the tokenizer.
            abandonment: tells whether the ids are still wanted; None if they are in any case.

        Raises:
            AbandonedError: they are not.
        """
        room = self._room if room is None else room
        found: list[list[int]] = [[] for _ in texts]
        size = min(_PIECE * room, _LARGEST_PIECE)
        pieces = [_pieces(text, size=size if self.has_seams else len(text), from_end=from_end) for text in texts]
        going = list(range(len(texts)))
        # The next pieces of all texts together, because the tokenizer processes the texts of a batch in parallel.
        while batch := {index: piece for index in going if (piece := next(pieces[index], None)) is not None}:
            if abandonment is not None:
                abandonment.check()
            encodings = self._tokenizer.encode_batch_fast(list(batch.values()), add_special_tokens=False)
            for index, encoding in zip(batch, encodings, strict=True):
                found[index] = encoding.ids + found[index] if from_end else found[index] + encoding.ids
            going = [index for index in batch if len(found[index]) <= room]
        return found

    def encode_one(self, text: str, *, from_end: bool = False, room: int | None = None) -> list[int]:
        """Return the ids of one text, as `encode` does, in the thread that asks if the text is short."""
        if len(text) <= _SHORT:
            short: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
            return short
        (ids,) = self.encode([text], from_end=from_end, room=room)
        return ids

    def longest_piece(self, text: str) -> int:
        """Return the number of characters of the longest piece of a text, which is tokenized at once."""
        if not self.has_seams:
            return len(text)
        return max(map(len, _pieces(text, size=_LARGEST_PIECE, from_end=False)), default=0)


def has_seams(tokenizer: "Tokenizer") -> bool:
    """Return whether a tokenizer gives the same ids when texts are split before any match of `SEAM`."""
    split = _state(tokenizer.pre_tokenizer)
    steps = [
        {name: value for name, value in step.items() if name != "trim_offsets"}
        for step in split.get("pretokenizers", [split])
    ]
    return (
        steps in _SPLITS
        and _state(tokenizer.normalizer) in ({}, {"type": "NFC"})
        and not any(
            token.normalized or token.single_word or token.lstrip or token.rstrip or SEAM.search(token.content)
            for token in tokenizer.get_added_tokens_decoder().values()
        )
    )


def _state(part: "Normalizer | PreTokenizer | None") -> dict[str, Any]:
    """Return the configuration of one part of a tokenizer; that of the whole tokenizer would be megabytes."""
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _pieces(text: str, *, size: int, from_end: bool) -> Iterator[str]:
    """Split a text at seams, into pieces of about `size` characters, or longer ones where there are no seams."""
    start, end = 0, len(text)
    if end <= size:
        yield text
    elif from_end:
        while end > 0:
            start, reach = 0, size
            while reach < end and start == 0:
                if seam := SEAM.search(text, end - reach, end):
                    start = seam.start()
                reach *= 2
            yield text[start:end]
            end = start
    else:
        while start < len(text):
            seam = SEAM.search(text, start + size)
            end = seam.start() if seam else len(text)
            yield text[start:end]
            start = end
