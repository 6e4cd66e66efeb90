"""API error responses: one vocabulary for all APIs.

A `Failure` says what went wrong in words that anybody may read. How an API writes it is the API's business, when it is
sent is `_boundary`'s. This module knows nothing about HTTP but its status codes.
"""

from typing import Final, Literal

from qwen3_client import (
    ContractMismatchError,
    InvalidInputError,
    Qwen3ClientError,
    RefusedError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
)

__all__ = ["STATUS", "Cause", "Failure", "failure_of"]

Cause = Literal[
    "malformed",  # not JSON, or JSON of another form
    "invalid",  # a value that cannot be used
    "empty",  # nothing to work on
    "too_long",  # a text beyond the model's length
    "too_many",  # items or tokens beyond the gateway's limits
    "too_large",  # a body beyond the gateway's limit
    "too_slow",  # a body that does not arrive
    "unauthorized",
    "no_route",
    "no_method",
    "no_model",  # a model that nobody serves here
    "overloaded",
    "unavailable",
    "timeout",
    "internal",
]

STATUS: Final[dict[Cause, int]] = {
    "malformed": 400,
    "invalid": 400,
    "empty": 400,
    "too_long": 400,
    "too_many": 400,
    "too_large": 413,
    "too_slow": 408,
    "unauthorized": 401,
    "no_route": 404,
    "no_method": 405,
    "no_model": 404,
    "overloaded": 429,
    "unavailable": 503,
    "timeout": 504,
    "internal": 500,
}

_UNAVAILABLE_RETRY_S = 5


class Failure(Exception):  # noqa: N818 - most failures are the request's, not the program's
    """An API error response.

    Attributes:
        cause: what went wrong.
        message: the same in a sentence, for the client that sent the request.
        param: the field of the request that is wrong, if it is one.
        retry_after_s: seconds after which it is worth trying again; None where trying again does not help.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        cause: Cause,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.cause: Cause = cause
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """The HTTP status that most APIs use for it."""
        return STATUS[self.cause]


def failure_of(error: Qwen3ClientError, *, request_id: str) -> Failure:
    """Says what a failure of the client means for the client that sent the request.

    Only errors about the input keep their words: the others speak of hosts and files behind the gateway.

    Args:
        error: what the client raised.
        request_id: names the request in the gateway's log.
    """
    if isinstance(error, InvalidInputError) and not isinstance(error, RefusedError):  # which is about the gateway
        return Failure("too_long" if "max_tokens" in str(error) else "invalid", str(error))
    if isinstance(error, ServerOverloadedError):
        return Failure("overloaded", "the model's queue is full; try again later", retry_after_s=1)
    if isinstance(error, ServerTimeoutError):
        return Failure("timeout", "the model did not answer in time; send less at once, or try again later")
    if isinstance(error, ServerUnavailableError):
        return Failure("unavailable", "the model server is away; try again later", retry_after_s=_UNAVAILABLE_RETRY_S)
    if isinstance(error, ContractMismatchError):
        return Failure(
            "unavailable",
            "the model server serves no model that this request could use; "
            f"the gateway's log says why under request {request_id}",
            retry_after_s=_UNAVAILABLE_RETRY_S,
        )
    return Failure("internal", f"something failed behind the gateway; its log says what under request {request_id}")
