"""What a request to a text model asks for: its texts, and the options among its request parameters.

This module knows neither Triton nor tokens. Errors are the client's, so that they read the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from qwen3_client import InvalidInputError

_T = TypeVar("_T")

# What Triton's HTTP front end and tritonclient write into the parameters for themselves.
_TRITONS_OWN = {"binary_data_output", "headers", "priority", "sequence_end", "sequence_id", "sequence_start", "timeout"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingParameters:
    """The options of a request for vectors.

    Attributes:
        kind: Whether the texts are queries or documents.
        instruction: The task of queries; None for the model's default.
        dimensions: The size of the vectors; None for the model's.
        truncate: Which part is cut off from a text that is too long.
    """

    kind: Literal["query", "document"] = "document"
    instruction: str | None = None
    dimensions: int | None = None
    truncate: bool | Literal["start", "end"] = True

    def __post_init__(self) -> None:
        if self.kind not in ("query", "document"):
            raise InvalidInputError(f"kind must be 'query' or 'document', not {self.kind!r}")
        if self.kind == "document" and self.instruction is not None:
            raise InvalidInputError("documents take no instruction: leave it out, or set the parameter kind to 'query'")


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankingParameters:
    """The options of a request for scores.

    Attributes:
        instruction: The task; None for the model's default.
        truncate: Whether a pair that is too long is cut.
    """

    instruction: str | None = None
    truncate: bool = True


def read_parameters(options: type[_T], text: str, **defaults: str) -> _T:
    """Read the parameters of a request.

    Args:
        options: `EmbeddingParameters` or `RerankingParameters`.
        text: The request's parameters as JSON; "" for none.
        defaults: What holds for options that the request does not have.

    Raises:
        InvalidInputError: A parameter is unknown, or has a value that cannot be used.
    """
    given: Mapping[str, Any] = json.loads(text) if text else {}
    wanted = {name: value for name, value in given.items() if name not in _TRITONS_OWN}
    known = [field.name for field in fields(options)]  # type: ignore[arg-type] # both are dataclasses
    if unknown := sorted(wanted.keys() - set(known)):
        raise InvalidInputError(f"there is no parameter {unknown[0]!r}; the parameters are {', '.join(known)}")
    return options(**(defaults | wanted))


def as_strings(items: Sequence[object], *, noun: str) -> list[str]:
    """Decode the items of a BYTES tensor.

    Args:
        items: The bytes of each text.
        noun: What to call each of them in an error.

    Raises:
        InvalidInputError: A text is not UTF-8.
    """
    texts: list[str] = []
    for index, item in enumerate(items):
        try:
            texts.append(item.decode() if isinstance(item, bytes) else str(item))
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"the bytes are not UTF-8 (byte {error.start}): encode the text as UTF-8", index=index, noun=noun
            ) from None
    return texts
