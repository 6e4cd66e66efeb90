"""The added tokens of a tokenizer.json, and the tokenizer that reads their texts like any others.

A tokenizer takes its added tokens, such as `<|im_end|>` and `</think>`, out of a text before anything else. In a text
that a user wrote, they would end the user's turn in a chat template, or forge the model's answer. So texts are read by
a tokenizer without added tokens, which gives the same ids for all other texts. `encode_special_tokens` of `tokenizers`
is not enough: it leaves out only the added tokens that are marked as special, and Qwen3's `</think>` is not.
"""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A tokenizer.json may truncate and pad, which would act before the end token is added, and add tokens itself.
_NOTHING_ELSE: dict[str, Any] = {"post_processor": None, "truncation": None, "padding": None}


class AddedTokens:
    """The added tokens of a tokenizer.

    Args:
        content: the content of tokenizer.json.
    """

    def __init__(self, content: bytes) -> None:
        self._state: dict[str, Any] = json.loads(content)
        self._ids: dict[str, int] = {
            token["content"]: token["id"] for token in self._state.get("added_tokens") or [] if token["content"]
        }
        # The tokenizer takes the longest one at each position.
        longest_first = sorted(self._state.get("added_tokens") or [], key=lambda token: -len(token["content"]))
        patterns = [_pattern(token) for token in longest_first if token["content"]]
        self._pattern = re.compile("|".join(patterns) or "(?!)")

    def split(self, text: str) -> Iterator[str | int]:
        """Yield the ids of the added tokens in a text, and the texts between them that are not empty, in order."""
        end = 0
        for match in self._pattern.finditer(text):
            if match.start() > end:
                yield text[end : match.start()]
            end = match.end()
            # White space that a token absorbs is part of its match.
            found = match.group()
            yield self._ids[found] if found in self._ids else self._ids[found.strip()]
        if end < len(text):
            yield text[end:]

    def genuine_tokenizer(self) -> "Tokenizer":
        """Return the tokenizer with its added tokens. Like the plain one, it appends nothing to a text."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps({**self._state, **_NOTHING_ELSE}))

    def plain_tokenizer(self) -> "Tokenizer":
        """Return the tokenizer without added tokens.

        A BPE model may list the text of an added token in its vocabulary too. It is removed there, with the merges that
        make it or are made of it; single characters stay, because all other tokens are made of them.
        """
        from tokenizers import Tokenizer

        state = {**self._state, **_NOTHING_ELSE, "added_tokens": []}
        model = state["model"]
        removed = {text for text in self._ids if len(text) > 1 and text in model.get("vocab", ())}
        if removed and isinstance(model.get("merges"), list):
            state["model"] = {
                **model,
                "vocab": {text: id_ for text, id_ in model["vocab"].items() if text not in removed},
                "merges": [merge for merge in model["merges"] if not _involves(merge, removed)],
            }
        return Tokenizer.from_str(json.dumps(state))


def _pattern(token: dict[str, Any]) -> str:
    """Return a regular expression for the matches of an added token."""
    core = re.escape(token["content"])
    if token.get("single_word"):
        core = rf"(?<!\w){core}(?!\w)"
    before, after = (r"\s*" if token.get(side) else "" for side in ("lstrip", "rstrip"))
    return f"{before}{core}{after}"


def _involves(merge: str | list[str], texts: set[str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return not texts.isdisjoint((left, right, left + right))


def text_tokenizer(content: bytes, *, special_tokens: bool = False) -> "Tokenizer":
    """Return the tokenizer with which texts are read, for programs that make token ids or offsets themselves.

    It adds nothing to a text: a model's prompts and the end token are up to the caller.

    Args:
        content: the content of tokenizer.json.
        special_tokens: whether special tokens in texts are read as such, instead of as plain text.
    """
    added = AddedTokens(content)
    return added.genuine_tokenizer() if special_tokens else added.plain_tokenizer()
