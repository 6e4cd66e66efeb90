"""Prompts to token ids, with the tokenizer.json that the model was exported with.

The ids of a prompt are those of its frame's parts before the text, of the text, cut if necessary, and of the parts
after it. An embedding model's end with one end token, which the model pools. Texts are read as plain text: only the
model's own parts of a frame hold special tokens. This module knows nothing about requests.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .added_tokens import AddedTokens
from .bounded_tokenizer import BoundedTokenizer
from .contract import ModelInfo, RerankerInfo, ServedInfo
from .errors import InvalidInputError, TextTooLongError, TooManyTokensError
from .frame import Prompt
from .frame_tokenizer import KEPT_FRAMES, FrameTokenizer, Layout
from .options import Truncate
from .outcome import Outcome
from .prompts import pair_prompt
from .thread_work import Abandonment
from .token_bounds import TokenBounds
from .tokenizer_file import read_tokenizer_file

_BATCH = 131072  # characters that are tokenized at once; then what has been abandoned, or is too much, ends
_LONGEST_PIECE = 1_000_000  # characters, which take about a second and 60 MB, and hold all that any model reads


class TokenRow(NamedTuple):
    """The token ids of a text or pair.

    Attributes:
        ids: int64 `[n]`, with n at most `max_tokens`.
        is_cut: whether the text, or the document of the pair, was cut.
        is_query_cut: whether the query of the pair was cut.
    """

    ids: NDArray[np.int64]
    is_cut: bool = False
    is_query_cut: bool = False


class TextTokenizer:
    """The tokenizer of one served model. Threads may share it, because encoding does not change it.

    Args:
        content: the content of tokenizer.json.
        max_tokens: maximum number of ids for one text, including frame and end token.
        eos_token_id: id of the end token, which follows every text; None for no such token.
        special_tokens: whether special tokens in texts are read as such, instead of as plain text.
    """

    def __init__(
        self, content: bytes, *, max_tokens: int, eos_token_id: int | None = None, special_tokens: bool = False
    ) -> None:
        added = AddedTokens(content)
        tokenizer = added.genuine_tokenizer() if special_tokens else added.plain_tokenizer()
        self._max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._bounded = BoundedTokenizer(tokenizer, room=max_tokens)
        self._bounds = TokenBounds(tokenizer)
        self._frames = FrameTokenizer(
            tokenizer,
            bounded=self._bounded,
            added=None if special_tokens else added,
            # The end token is added here and not by the post-processor of tokenizer.json, which may be missing.
            end=[] if eos_token_id is None else [eos_token_id],
            max_tokens=max_tokens,
        )

    @classmethod
    def load(
        cls,
        info: ServedInfo,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        special_tokens: bool = False,
    ) -> "TextTokenizer":
        """Load the tokenizer of a served model.

        Args:
            info: what the model says about itself.
            tokenizer: folder with the tokenizer.json, or a Hub id; None for the tokenizer that `info` names.
            special_tokens: whether special tokens in texts are read as such, instead of as plain text.

        Raises:
            TokenizerUnavailableError: tokenizer.json is neither in the folder nor on the Hub.
            ContractMismatchError: it is not the one that the model was exported with, or the model's template leaves no
                room for a text.
        """
        content = read_tokenizer_file(info, tokenizer=tokenizer)
        eos_token_id = info.eos_token_id if isinstance(info, ModelInfo) else None
        loaded = cls(content, max_tokens=info.max_tokens, eos_token_id=eos_token_id, special_tokens=special_tokens)
        if isinstance(info, RerankerInfo):
            loaded._frames.layout(pair_prompt(("", ""), template=info.prompt_template, instruction="").frame)
        return loaded

    def check(
        self, prompts: Sequence[Prompt], *, truncate: Truncate, noun: str = "text", max_total_tokens: int | None = None
    ) -> None:
        """Refuse prompts of which `encode` would refuse one or all, as far as their characters show it.

        Args:
            prompts: texts with their frames.
            truncate: which part is cut off from a text that is too long.
            noun: what to call each of the prompts in an error.
            max_total_tokens: maximum number of tokens of all of them together; None for any number.

        Raises:
            TextTooLongError: a text is too long, and `truncate` is False. Its `index` is that of the prompt.
            TooManyTokensError: all prompts together have too many tokens.
            InvalidInputError: an instruction takes more than half of the tokens that the template leaves; or, if there
                is a `max_total_tokens`, a text would take too much memory because it cannot be split into pieces.
        """
        if truncate and max_total_tokens is None:
            return
        if max_total_tokens is not None:
            self._check_pieces(prompts, noun=noun)
        # A few frames are tokenized, as `encode` needs them anyway; of many, their texts are looked at.
        are_few = len({prompt.frame for prompt in prompts}) <= KEPT_FRAMES
        total = 0
        for index, prompt in enumerate(prompts):
            least = max(self._bounds.least(prompt.text), 1)
            if are_few:
                frame = self._frames.shortened(prompt.frame) if truncate else prompt.frame
                layout = self._frames.layout(frame)
                least += len(layout.head) + len(layout.tail)
            elif not truncate:
                least += self._bounds.least(prompt.frame.query or "")
            if least > self._max_tokens and not truncate:
                raise self._too_long(self._max_tokens).about(noun, index)
            total += min(least, self._max_tokens)
            if max_total_tokens is not None and total > max_total_tokens:
                raise _too_many(max_total_tokens)

    def _check_pieces(self, prompts: Sequence[Prompt], *, noun: str) -> None:
        """Refuse texts of which too many characters would be tokenized at once."""
        known: set[int] = set()  # by identity: the pairs of a call share their query
        for index, prompt in enumerate(prompts):
            for text in (prompt.text, *(part.text for part in (*prompt.frame.before, *prompt.frame.after))):
                if len(text) <= _LONGEST_PIECE or id(text) in known:
                    continue
                known.add(id(text))
                if (longest := self._bounded.longest_piece(text)) > _LONGEST_PIECE:
                    raise InvalidInputError(
                        f"{longest} characters in a row have no white space or punctuation at which the text can be "
                        f"split to be tokenized, and the limit is {_LONGEST_PIECE}: split or shorten the text"
                    ).about(noun, index)

    def encode(
        self,
        prompts: Iterable[Prompt],
        *,
        truncate: Truncate,
        max_tokens: int | None = None,
        max_total_tokens: int | None = None,
        abandonment: Abandonment | None = None,
    ) -> Outcome[TokenRow]:
        """Turn prompts into token ids.

        Args:
            prompts: texts with their frames.
            truncate: which part is cut off from a text that is too long. Its frame is kept, except that the query of a
                pair that is too long keeps at most half of the tokens that template and instruction leave.
            max_tokens: maximum number of ids for one text, if it is less than what the model takes.
            max_total_tokens: maximum number of ids of all texts together; None for any number.
            abandonment: tells whether the ids are still wanted; None if they are in any case.

        Returns:
            For each prompt its ids. If `truncate` is False, the failure of the first prompt that is too long, a
            `TextTooLongError`.

        Raises:
            InvalidInputError: an instruction takes more than half of the tokens that the template leaves, or the frame
                alone has `max_tokens` tokens.
            TooManyTokensError: all texts together have too many tokens.
            AbandonedError: the ids are no longer wanted.
        """
        from_end = truncate == "start"
        limit = self._max_tokens if max_tokens is None else min(max_tokens, self._max_tokens)
        rows: list[TokenRow] = []
        total = 0
        for batch in _batches(prompts, most=_BATCH):
            whole: list[tuple[Prompt, Layout]] = []
            for prompt in batch:
                if abandonment is not None:
                    abandonment.check()  # each prompt may have a query of its own
                whole.append((prompt, self._frames.layout(prompt.frame)))
            bodies = self._bounded.encode(
                [f"{layout.lead}{prompt.text}{layout.follow}" for prompt, layout in whole],
                from_end=from_end,
                room=limit,
                abandonment=abandonment,
            )
            for (prompt, layout), body in zip(whole, bodies, strict=True):
                if limit < self._max_tokens and layout.length >= limit:
                    raise InvalidInputError(
                        f"max_tokens {limit} leaves no room for the text: what the model reads around it has "
                        f"{layout.length} tokens; allow more tokens, or shorten the instruction"
                    ).about("text", len(rows))
                if len(layout.head) + len(body) + len(layout.tail) <= limit:
                    rows.append(TokenRow(np.array([*layout.head, *body, *layout.tail], dtype=np.int64)))
                elif truncate is False:
                    return Outcome(rows, self._too_long(limit))
                else:
                    rows.append(self._cut(prompt, body, limit=limit, from_end=from_end))
                total += rows[-1].ids.size
                if max_total_tokens is not None and total > max_total_tokens:
                    raise _too_many(max_total_tokens)
        return Outcome(rows)

    def characters_cut(self, prompt: Prompt, row: TokenRow) -> int:
        """Return how many characters `encode` cut off from the end of a text; 0 for none.

        They are counted by decoding the ids that were kept, so the cost does not depend on the length of what was cut,
        unless the tokenizer normalises the text.

        Args:
            prompt: the text with its frame.
            row: what `encode` returned for it.
        """
        if not row.is_cut:
            return 0
        layout = self._frames.layout(prompt.frame)
        whole = text = f"{layout.lead}{prompt.text}"
        kept = self._tokenizer.decode(
            row.ids[len(layout.head) : row.ids.size - len(layout.tail)].tolist(), skip_special_tokens=False
        )
        is_as_tokenized = text.startswith(kept.rstrip("\ufffd")) and unicodedata.is_normalized("NFC", text)
        if not is_as_tokenized and self._tokenizer.normalizer is not None:
            whole = self._tokenizer.normalizer.normalize_str(text)
        while not whole.startswith(kept):  # if a character was cut in two, its first bytes decode to U+FFFD
            kept = kept[:-1]
        return len(whole) - len(kept)

    def _too_long(self, limit: int) -> TextTooLongError:
        who = "model takes" if limit == self._max_tokens else "call allows"
        return TextTooLongError(
            f"more than the {limit} tokens that the {who}, with instruction and all that the client adds; shorten or "
            "split the text, or let truncate=True cut its end"
        )

    def _cut(self, prompt: Prompt, body: list[int], *, limit: int, from_end: bool) -> TokenRow:
        """Return the ids of a prompt that is too long.

        Args:
            prompt: the prompt.
            body: ids of lead, text and follow: all, or more than `limit`.
            limit: maximum number of ids.
            from_end: whether the beginning of the text is cut, instead of its end.
        """
        frame = self._frames.shortened(prompt.frame)
        layout, is_query_cut = self._frames.layout(frame), frame != prompt.frame
        if is_query_cut:
            body = self._bounded.encode_one(f"{layout.lead}{prompt.text}{layout.follow}", from_end=from_end)
        room = limit - len(layout.head) - len(layout.tail)
        if is_cut := len(body) > room:
            lead = self._bounded.encode_one(layout.lead) if from_end else []
            follow = self._bounded.encode_one(layout.follow)
            kept = room - len(lead) - len(follow)
            if from_end:
                text = self._bounded.encode_one(prompt.text, from_end=True)
                body = [*lead, *text[len(text) - kept :], *follow]
            else:
                text = self._bounded.encode_one(f"{layout.lead}{prompt.text}") if follow else body
                body = [*text[:kept], *follow]
        ids = np.array([*layout.head, *body, *layout.tail], dtype=np.int64)
        return TokenRow(ids, is_cut=is_cut, is_query_cut=is_query_cut)


def _batches(prompts: Iterable[Prompt], *, most: int) -> Iterator[list[Prompt]]:
    """Split prompts into batches whose texts have at most so many characters, or a single text."""
    batch: list[Prompt] = []
    characters = 0
    for prompt in prompts:
        if batch and characters + len(prompt.text) > most:
            yield batch
            batch, characters = [], 0
        batch.append(prompt)
        characters += len(prompt.text)
    if batch:
        yield batch


def _too_many(max_total_tokens: int) -> TooManyTokensError:
    return TooManyTokensError(
        f"the texts have more than the {max_total_tokens} tokens together that the call allows; send fewer at once"
    )
