"""The mapping from failures of gRPC and HTTP to the errors of the client.

This module knows nothing about sending requests.
"""

from ..address import Address
from ..errors import (
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    RefusedError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
    UnknownModelError,
)

# Triton answers UNAVAILABLE when its queue is full (max_queue_size) or a request waited in it for too long
# (default_timeout_microseconds), and gRPC does when no server answers. Only the text shows the difference.
_QUEUE_REFUSALS = ("Exceeds maximum queue size", "Request timeout expired")

# What Triton says, with other codes, about a model whose host was killed, or which is being loaded.
_MODEL_IS_AWAY = ("Stub process", "has no available versions")

# What Triton says over HTTP, with INVALID_ARGUMENT, when a model returned a tensor that is empty or too short.
_BROKEN_ANSWER = "output tensor shape does not match size of output"

# What Triton says, with UNAVAILABLE, to `load` unless it was started with --model-control-mode=explicit.
_NO_CONTROL = "explicit model load / unload is not allowed"

# What Triton says, with UNAVAILABLE, if the header is missing that --grpc-restricted-protocol requires.
_LOCKED = "This protocol is restricted"

# The gRPC code for each HTTP status, as Triton and the proxies in front of it use them.
_HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def grpc_code(status: int) -> str:
    """Return the name of the gRPC code that means the same as an HTTP status."""
    return _HTTP_CODES.get(status, "UNKNOWN")


def misfit(found: str, *, model: str, address: Address) -> ContractMismatchError:
    """Return the error for an answer that contradicts the model's config.

    Args:
        found: what is wrong with the answer, as a clause.
        model: name of the model.
        address: the server.
    """
    return ContractMismatchError(
        f"the model {model!r} at {address} gave an answer that does not fit its config: {found}; export it again with "
        "`qwen3-triton export --force` and load it again; if it was replaced, make a new Client"
    )


def error_for(
    code: str, message: str, *, address: Address, timeout_s: float, model: str | None = None
) -> Qwen3ClientError:
    """Return the error for a failure of the protocol.

    Args:
        code: name of the gRPC status code, such as "UNAVAILABLE"; see `grpc_code` for HTTP.
        message: what the server or the socket said.
        address: the server.
        timeout_s: the time-out of the request, in seconds.
        model: name of the model, if the request was one for inference; else None.
    """
    said = " ".join(message.split()) or "no reason given"
    if model is not None and _BROKEN_ANSWER in said:
        return misfit(said, model=model, address=address)
    if code == "RESOURCE_EXHAUSTED" or (code == "UNAVAILABLE" and any(text in said for text in _QUEUE_REFUSALS)):
        return ServerOverloadedError(
            f"{address} is overloaded ({said}); try again later, send less at once with a smaller "
            "concurrency=, or raise max_queue_size in the model's config.pbtxt"
        )
    if _NO_CONTROL in said:
        return RefusedError(
            f"{address} loads models only when it starts ({said}); start it with "
            "--model-control-mode=explicit, as `qwen3-triton serve` does"
        )
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or _LOCKED in said:
        return RefusedError(f"{address} denies this client access ({said}); pass token=, headers= or tls=")
    if any(text in said for text in _MODEL_IS_AWAY):
        return ServerUnavailableError(
            f"{address} answers, but the model is not ready ({said}); `qwen3-triton status` lists those that are"
        )
    if code == "UNAVAILABLE":
        other = "the HTTP port takes http://" if address.protocol == "grpc" else "the gRPC port takes grpc://"
        return ServerUnavailableError(
            f"no Triton answers at {address} ({said}); start one with `qwen3-triton serve`, or correct the "
            f"URL ({other})"
        )
    if code == "DEADLINE_EXCEEDED":
        return ServerTimeoutError(
            f"no answer from {address} within {timeout_s:.3g} s; raise timeout_s=, or look at the server's load"
        )
    if code == "INVALID_ARGUMENT":
        return InvalidInputError(f"{address} refused the request: {said}")
    if code == "NOT_FOUND":
        return UnknownModelError(
            f"{address} has no such model ({said}); name another with model= or reranker=, or export it "
            "with `qwen3-triton export`"
        )
    return InferenceError(f"{address} failed on this request ({code}: {said}); see the server's log")
