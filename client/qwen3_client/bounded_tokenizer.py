r"""Tokenizes a text only as far as is needed, so that a long one costs what is kept of it.

Texts are tokenized piece by piece, from the side that is kept, until there are enough tokens. That is exact because
pieces end only at seams: places where the tokens of both sides, one after the other, are those of the whole. A
tokenizer.json takes out added tokens, normalises what is between them, splits that with a regular expression, and
tokenizes each match on its own, whatever its model is. For the tokenizers in `_SPLITS` a seam lies

- inside no added token, because none contains one, which is tested for each tokenizer;
- where NFC joins nothing: the character after a seam composes with none before it, and none is normalised to white
  space that was not so before;
- between two matches: no alternative takes white space after anything else, but for line ends after punctuation; nor
  a letter or digit and then punctuation, nor a letter and then a digit;
- where no match depends on the other side: nothing looks behind, and only `\s+(?!\S)` looks ahead, from white space,
  which never comes before a seam.

Tokenizers of any other kind, and stretches without a seam such as a million letters, are tokenized whole.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer


# Blocks whose characters have been letters, or punctuation, in every version of Unicode since 3.2.
_LETTERS = r"A-Za-z\u3041-\u3094\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_OTHERS = (
    r"\t\n\r !-/:;=?@\[-^`{}~\u2014\u2018\u2019\u201c\u201d\u2026"
    r"\u3001\u3002\u3008-\u3011\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)

# A seam lies before the match. `<|>_` are in no list: they make up added tokens.
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
_PIECE = 3  # characters for each token that is kept: one piece of Chinese, two of English


class BoundedTokenizer:
    """Makes token ids of texts, for each up to a number of them. Threads may share it.

    Args:
        tokenizer: without truncation and padding of its own.
        room: how many ids of a text are kept at most.
    """

    def __init__(self, tokenizer: "Tokenizer", *, room: int) -> None:
        self._tokenizer = tokenizer
        self._room = room
        self._size = _PIECE * room if has_seams(tokenizer) else None

    def encode(self, texts: Sequence[str], *, from_end: bool) -> list[list[int]]:
        """Return the ids of each text: all of them, or if they are more than `room`, more than `room` of them.

        Args:
            texts: any texts.
            from_end: whether those are a long text's last ids, and not its first.
        """
        found: list[list[int]] = [[] for _ in texts]
        pieces = [_pieces(text, size=self._size or len(text), from_end=from_end) for text in texts]
        going = list(range(len(texts)))
        # All texts at once, which the tokenizer spreads over the processors.
        while batch := {index: piece for index in going if (piece := next(pieces[index], None)) is not None}:
            encodings = self._tokenizer.encode_batch_fast(list(batch.values()), add_special_tokens=False)
            for index, encoding in zip(batch, encodings, strict=True):
                found[index] = encoding.ids + found[index] if from_end else found[index] + encoding.ids
            going = [index for index in batch if len(found[index]) <= self._room]
        return found


def has_seams(tokenizer: "Tokenizer") -> bool:
    """Return whether texts may be tokenized piece by piece, parted before any `SEAM`."""
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
    """Return what tokenizer.json says about one of its parts; the whole file would be megabytes."""
    return {} if part is None else dict(json.loads(part.__getstate__()))


def _pieces(text: str, *, size: int, from_end: bool) -> Iterator[str]:
    """Split a text at seams, into pieces of about `size` characters as far as it has seams there."""
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
