"""The options of one call: checked when they are given, completed once the model is known, and what prompts they make.

This module knows nothing about tokens or servers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from .contract import ModelInfo, RerankerInfo
from .errors import InvalidInputError
from .frame import NO_FRAME, Frame, Prompt
from .options import Kind, Priority, Truncate, checked_kind, checked_priority, checked_truncate
from .prompts import frame_of, pair_prompt, pair_task
from .vectors import checked_dimensions

_PRIORITY_OF: Final[dict[Kind, Priority]] = {"query": "interactive", "document": "bulk"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The options of one call that embeds texts.

    Attributes:
        kind: whether they are queries or documents.
        instruction: the task of the queries; None for the model's default. Documents take none.
        dimensions: length of the vectors; None for the model's.
        truncate: which part is cut off from a text that is too long.
        priority: which requests go first where some wait; None for "interactive" if the texts are queries, and "bulk"
            otherwise.
        prefix: the text that the model reads before each text; None for the model's own for this kind of text.
        frame: what the model reads around each text; empty until the model is known.
        is_normalized: whether the model's vectors have norm 1; True until the model is known.

    Raises:
        InvalidInputError: an option has a value that no model accepts.
    """

    kind: Kind
    instruction: str | None = None
    dimensions: int | None = None
    truncate: Truncate = True
    priority: Priority | None = None
    prefix: str | None = None
    frame: Frame = NO_FRAME
    is_normalized: bool = True

    def __post_init__(self) -> None:
        checked_kind(self.kind)
        object.__setattr__(self, "truncate", checked_truncate(self.truncate))
        checked_priority(self.priority, default="bulk")

    def completed(self, info: ModelInfo) -> "Encoding":
        """Return the same with the model's defaults for what is None.

        Raises:
            InvalidInputError: one of the options cannot be used with this model.
        """
        return replace(
            self,
            frame=frame_of(info, self.kind, instruction=self.instruction, prefix=self.prefix),
            dimensions=checked_dimensions(self.dimensions, info=info),
            is_normalized=info.is_normalized,
            priority=checked_priority(self.priority, default=_PRIORITY_OF[self.kind]),
        )

    def prompts(self, texts: Iterable[str]) -> list[Prompt]:
        """Return the prompts for texts, once these options are completed."""
        return [Prompt(text, self.frame) for text in texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """The options of one call that judges pairs.

    Attributes:
        instruction: the task; None for the model's default.
        truncate: whether a pair that is too long is cut, at the ends of query and document; False to raise an error
            instead.
        priority: which requests go first where some wait; None for "interactive".
        template: the model's prompt template; empty until the model is known.

    Raises:
        InvalidInputError: there is no such priority, or `truncate` is neither True nor False.
    """

    instruction: str | None = None
    truncate: bool = True
    priority: Priority | None = None
    template: str = ""

    def __post_init__(self) -> None:
        if self.truncate not in (True, False):
            raise InvalidInputError(f"truncate must be True or False for pairs, not {self.truncate!r}")
        object.__setattr__(self, "truncate", bool(self.truncate))
        checked_priority(self.priority, default="interactive")

    def completed(self, info: RerankerInfo) -> "Judging":
        """Return the same with the model's defaults for what is None.

        Raises:
            InvalidInputError: the instruction is not a text, or the model takes none.
        """
        return replace(
            self,
            instruction=pair_task(info, self.instruction),
            template=info.prompt_template,
            priority=checked_priority(self.priority, default="interactive"),
        )

    def prompts(self, pairs: Iterable[tuple[str, str]]) -> list[Prompt]:
        """Return the prompts for pairs, once these options are completed."""
        return [pair_prompt(pair, template=self.template, instruction=self.instruction or "") for pair in pairs]
