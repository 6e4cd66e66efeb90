"""API error responses: one set of causes for all APIs.

An `ApiError` says what went wrong, in a sentence for the client that sent the request. Each API renders it in its own
JSON (`Api.render_error`), and `middleware.error_responses` sends it. This module knows nothing about HTTP but its
status codes.
"""

from typing import Final, Literal

from qwen3_client import (
    ContractMismatchError,
    EmptyTextError,
    InvalidInputError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
    TextTooLongError,
    TooManyTokensError,
)

Cause = Literal[
    "malformed",  # the body is not JSON, or JSON of another form
    "invalid",  # a value that cannot be used
    "empty",  # an empty text, or no text at all
    "too_long",  # a text with more tokens than the model takes
    "too_many",  # more items or tokens in one request than the gateway allows
    "too_large",  # a body with more bytes than the gateway allows
    "encoding",  # a body in a content encoding that the gateway does not read
    "too_slow",  # a body that does not arrive in time
    "unauthorized",
    "no_route",
    "no_method",
    "no_model",  # a model that this gateway does not serve
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
    "encoding": 415,
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


class ApiError(Exception):
    """An API error response.

    Attributes:
        cause: What went wrong.
        message: The same in a sentence, for the client that sent the request.
        param: The request's field that is wrong; None if the error is not about one field.
        retry_after_s: Seconds after which to try again; None where trying again does not help.
        headers: Further headers of the response.
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
        """The HTTP status that most APIs use for this cause."""
        return STATUS[self.cause]


def api_error_for(error: Qwen3ClientError, *, request_id: str) -> ApiError:
    """Translate an error of `qwen3_client` for the client that sent the request.

    Only errors about the request's own texts and options keep their message. The messages of all others may name hosts
    and files behind the gateway, so they go to the gateway's log. Among these is `RefusedError`: Triton refused the
    gateway's credentials, which the sender of the request can do nothing about.

    Args:
        error: What `qwen3_client` raised.
        request_id: The request's id in the gateway's log.
    """
    if isinstance(error, EmptyTextError):
        return ApiError("empty", str(error))
    if isinstance(error, TextTooLongError):
        return ApiError("too_long", str(error))
    if isinstance(error, TooManyTokensError):
        return ApiError("too_many", str(error))
    if isinstance(error, InvalidInputError):
        return ApiError("invalid", str(error))
    if isinstance(error, ServerOverloadedError):
        return ApiError("overloaded", "the model's queue is full; try again later", retry_after_s=1)
    if isinstance(error, ServerTimeoutError):
        return ApiError("timeout", "the model did not answer in time; send less at once, or try again later")
    if isinstance(error, ServerUnavailableError):
        return ApiError(
            "unavailable", "the model server is not available; try again later", retry_after_s=_UNAVAILABLE_RETRY_S
        )
    if isinstance(error, ContractMismatchError):
        return ApiError(
            "unavailable",
            "the model server serves no model that this request can use; "
            f"the gateway's log gives the reason under request {request_id}",
            retry_after_s=_UNAVAILABLE_RETRY_S,
        )
    return ApiError(
        "internal", f"an error occurred behind the gateway; its log gives the reason under request {request_id}"
    )
