"""Frames to token ids: what the model reads around a text, tokenized once for all texts of a call.

The characters next to a text are tokenized together with it, because tokens may span both. This module knows nothing
about texts, except how many tokens they need at least.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from .added_tokens import AddedTokens
from .bounded_tokenizer import SEAM, BoundedTokenizer
from .errors import ContractMismatchError, InvalidInputError
from .frame import Frame, Part

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KEPT_FRAMES = 16  # frames whose ids are kept
_SEAM_REACH = 24  # characters around a text in which a seam is looked for

# The id of an added token, and the text after it up to the next one.
_Run: TypeAlias = tuple[int | None, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """A frame as token ids, except for the characters next to the text, which are tokenized together with it.

    Attributes:
        head: ids of what is before `lead`.
        lead: the characters directly before the text.
        follow: the characters directly after it.
        tail: ids of what is after `follow`, including the end token.
        length: number of tokens of the whole frame.
    """

    head: list[int]
    lead: str
    follow: str
    tail: list[int]
    length: int


class FrameTokenizer:
    """The tokenizer of frames of one served model. It keeps the ids of a few frames. Threads may share it.

    Args:
        tokenizer: the tokenizer of texts.
        bounded: the same, for long instructions and queries.
        added: the added tokens that the model's own parts may hold; None if `tokenizer` reads them itself.
        end: ids that follow every text: the end token, or none.
        max_tokens: maximum number of ids for one text with its frame.

    Attributes:
        layout: from a frame to its `Layout`. It raises what `_lay_out` does.
        shortened: from a frame to the same with a query that leaves the text enough room.
    """

    def __init__(
        self,
        tokenizer: "Tokenizer",
        *,
        bounded: BoundedTokenizer,
        added: AddedTokens | None,
        end: Sequence[int],
        max_tokens: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._bounded = bounded
        self._added = added
        self._end = list(end)
        self._max_tokens = max_tokens
        # What is kept is for the calls that are running: each asks for its frame again and again.
        self.layout = lru_cache(KEPT_FRAMES)(self._lay_out)
        self.shortened = lru_cache(KEPT_FRAMES)(self._shorten)
        # Frames that differ in their queries have most of their template in common.
        self._pieces_of = lru_cache(KEPT_FRAMES)(self._pieces)
        self._run_ids = lru_cache(KEPT_FRAMES)(self._bounded.encode_one)

    def _shorten(self, frame: Frame) -> Frame:
        """Return a frame whose query has at most half of the tokens that template and instruction leave."""
        if frame.query is None:
            return frame
        most = (self._max_tokens - self.layout(frame.with_texts(query="")).length) // 2
        ids = self._bounded.encode_one(frame.query, room=most)
        if len(ids) <= most:
            return frame
        # Of a character that is cut in two, the first bytes decode to U+FFFD.
        kept = self._tokenizer.decode(ids[:most], skip_special_tokens=False).rstrip("\ufffd")
        return frame.with_texts(query=kept)

    def _lay_out(self, frame: Frame) -> Layout:
        """Tokenize a frame.

        Raises:
            ContractMismatchError: the model's own parts leave no room for a text.
            InvalidInputError: the instruction takes more than half of what they leave.
        """
        *before, (first_id, lead) = self._runs(frame.before)
        (_, follow), *after = self._runs(frame.after)
        # What must be tokenized again with each text begins and ends at the seams that are nearest to the text.
        seams = [seam.start() for seam in SEAM.finditer(lead, max(len(lead) - _SEAM_REACH, 0))]
        start = seams[-1] if self._bounded.has_seams and seams else 0
        seam = SEAM.search(follow, 1)
        stop = seam.start() if self._bounded.has_seams and seam else len(follow)
        head = self._ids_of_runs([*before, (first_id, lead[:start])])
        tail = [*self._ids_of_runs([(None, follow[stop:]), *after]), *self._end]
        lead, follow = lead[start:], follow[:stop]
        length = len(head) + len(self._run_ids(lead)) + len(self._run_ids(follow)) + len(tail)
        if length > self._max_tokens // 4:
            self._check_room(frame, length)
        return Layout(head=head, lead=lead, follow=follow, tail=tail, length=length)

    def _check_room(self, frame: Frame, length: int) -> None:
        """Check that a frame of so many tokens leaves room for a query and a text."""
        if frame.query:
            length = self.layout(frame.with_texts(query="")).length
        own = frame.with_texts(instruction="", query="")
        template = length if own == frame else self.layout(own).length
        free = self._max_tokens - template
        if free < 1:
            raise ContractMismatchError(
                f"the model takes {self._max_tokens} tokens, and its template alone has {template}: there is no room "
                "for a text; export it again with a larger max_tokens"
            )
        if length - template > free // 2:
            raise InvalidInputError(
                f"the instruction has more than {free // 2} tokens, half of what the model has for instruction and "
                "text, so it leaves too little room for the text: shorten it"
            )

    def _runs(self, parts: Sequence[Part]) -> list[_Run]:
        """Return the texts between the added tokens of parts. The first run has no added token before it."""
        runs: list[_Run] = [(None, "")]
        for part in parts:
            for piece in self._pieces_of(part.text) if part.role == "template" else (part.text,):
                if isinstance(piece, int):
                    runs.append((piece, ""))
                else:
                    id_, text = runs[-1]
                    runs[-1] = (id_, f"{text}{piece}")
        return runs

    def _ids_of_runs(self, runs: Iterable[_Run]) -> list[int]:
        ids: list[int] = []
        for id_, text in runs:
            ids += [] if id_ is None else [id_]
            ids += self._run_ids(text)
        return ids

    def _pieces(self, text: str) -> tuple[str | int, ...]:
        """Return the texts and added tokens of a part that belongs to the model."""
        return (text,) if self._added is None else tuple(self._added.split(text))
