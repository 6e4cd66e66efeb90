"""What is known of one request while it is worked on: for its log line, its metrics and its trace. Never a text."""

import re
import uuid
from dataclasses import dataclass, field
from time import perf_counter

from starlette.types import Scope

__all__ = ["Exchange", "exchange_of", "open_exchange"]

_KEY = "qwen3_serve.gateway.exchange"
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer.

    Attributes:
        request_id: names it in the log, and in the answer's header `x-request-id`.
        method: the HTTP method; "other" for one that nobody knows.
        items: texts or pairs that it asks about.
        tokens: tokens of them together.
        status: of the answer; 0 before there is one, 499 when the client left before.
        cause: why there is no better answer; "" when there is one.
        started: when it came, on `perf_counter`'s clock.
    """

    request_id: str
    method: str
    items: int = 0
    tokens: int = 0
    status: int = 0
    cause: str = ""
    started: float = field(default_factory=perf_counter)


def open_exchange(scope: Scope) -> Exchange:
    """Begins the record of a request. A caller's own `x-request-id` is kept if it is safe to log."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    exchange = Exchange(
        request_id=given if _SAFE_ID.fullmatch(given) else uuid.uuid4().hex,
        method=scope["method"] if scope["method"] in _METHODS else "other",
    )
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: Scope) -> Exchange:
    """Returns the record of the request that a scope belongs to."""
    exchange: Exchange = scope[_KEY]
    return exchange
