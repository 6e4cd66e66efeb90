"""Types and options that several APIs share: what texts are, which end of a text to cut, which numbers to return.

The same wish has many names. Those that mean "these texts are queries" put the model's instruction before the texts;
all others, such as passage, classification and clustering, embed them as they are.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from ..body import RequestBody
from ..engine import Kind
from ..errors import ApiError
from ..inputs import Truncate

_MAX_ID = 2**31 - 1

TokenId = Annotated[int, Field(ge=0, le=_MAX_ID)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
TokenIdLists = Annotated[list[TokenIds], Field(fail_fast=True)]
Texts = Annotated[list[str], Field(fail_fast=True)]

InputType = Literal["query", "passage", "document", "search_query", "search_document", "classification", "clustering"]
Task = Literal["retrieval.query", "retrieval.passage", "text-matching", "classification", "clustering", "separation"]
TruncateEnd = Literal["NONE", "START", "END"]

_QUERIES: Final = {"query", "search_query", "retrieval.query"}
_TRUNCATE: Final[dict[str | bool, Truncate]] = {
    "NONE": False,
    "START": "start",
    "END": "end",
    True: "end",
    False: False,
}


def kind_of(wanted: InputType | Task) -> Kind:
    """Return what texts are that a request calls so."""
    return "query" if wanted in _QUERIES else "document"


def truncate_of(wanted: TruncateEnd | bool) -> Truncate:  # noqa: FBT001 - the value of a field
    """Return which end a text that is too long loses."""
    return _TRUNCATE[wanted]


def one_of(body: RequestBody, *names: str) -> Any:  # noqa: ANN401
    """Return the value of fields that mean the same; None if none is given.

    Raises:
        ApiError: Two are given, with different values.
    """
    given = {name: getattr(body, name) for name in names if getattr(body, name) is not None}
    values = list(given.values())
    if any(value != values[0] for value in values):
        raise ApiError("invalid", f"{' and '.join(given)} mean the same: give one of them", param=next(iter(given)))
    return values[0] if values else None
