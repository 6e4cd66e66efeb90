"""The record of one request and its response, for the log, the metrics and traces. It never holds a text."""

import re
import uuid
from dataclasses import dataclass, field
from time import perf_counter

from starlette.types import Scope

_KEY = "qwen3_serve.gateway.exchange"
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its response.

    Attributes:
        request_id: The request's id in the log, and in the response header `x-request-id`.
        method: The HTTP method; "other" for one that HTTP does not define.
        items: The number of texts or pairs in the request.
        tokens: The number of tokens in all of them.
        status: The HTTP status of the response; 0 before there is one, 499 if the client closed the connection first.
        cause: The cause of an error response; "" for a success.
        fingerprint: The fingerprint of the model that answered; "" if none did, or if it has none.
        truncated: What was cut off from the texts, as the response header `x-truncated` says it; "" for nothing.
        started: When the request arrived, in seconds of `perf_counter`.
    """

    request_id: str
    method: str
    items: int = 0
    tokens: int = 0
    status: int = 0
    cause: str = ""
    fingerprint: str = ""
    truncated: str = ""
    started: float = field(default_factory=perf_counter)

    def warnings(self) -> list[str]:
        """Return sentences about what was cut off, for the APIs whose responses have room for them."""
        cut = (entry.partition("=") for entry in self.truncated.split(", ") if entry)
        return [
            f"truncated to fit the limit of tokens: {noun if not count else f'{count} of the {noun}'}"
            for noun, _, count in cut
        ]


def open_exchange(scope: Scope) -> Exchange:
    """Begin the record of a request. The client's own `x-request-id` is kept if it is safe to log."""
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    exchange = Exchange(
        request_id=given if _SAFE_ID.fullmatch(given) else uuid.uuid4().hex,
        method=scope["method"] if scope["method"] in _METHODS else "other",
    )
    scope[_KEY] = exchange
    return exchange


def exchange_of(scope: Scope) -> Exchange:
    """Return the record of the request that a scope belongs to."""
    exchange: Exchange = scope[_KEY]
    return exchange
