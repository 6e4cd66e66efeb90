"""Limits on incoming requests: how many at once, the bytes of one body and of all, and the time one may take to arrive.

They apply to bytes, before these are parsed; `pending` limits the work that the parsed requests ask for. A compressed
body is decompressed here, as it arrives, because the limits are about the bytes that come out of it.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..content_encoding import Decoder, decoder_for
from ..errors import ApiError
from ..settings import Settings

_RETRY_S = 1
_UNLIMITED = {
    "/health",
    "/ready",
    "/metrics",
    "/ping",
    "/v1/health/live",
    "/v1/health/ready",
}  # so that an overloaded gateway can still be probed


class Limits:
    """Middleware that refuses requests beyond the limits.

    Args:
        app: The application within.
        settings: The limits.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._requests = 0
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] != "http" or (scope["path"] in _UNLIMITED and scope["method"] in ("GET", "HEAD")):
            await self._app(scope, receive, send)
            return
        settings = self._settings
        if self._requests >= settings.max_requests:
            raise _too_busy()
        self._check_size(_content_length(scope))
        decoder = decoder_for(scope["headers"])
        deadline = asyncio.get_running_loop().time() + settings.body_timeout_s
        body = _Body(self, receive, decoder=decoder, max_bytes=settings.max_body_bytes, deadline=deadline)
        self._requests += 1
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._requests -= 1
            self._held_bytes -= body.size

    def hold(self, size: int, *, more: int) -> None:
        """Count bytes that arrived.

        Args:
            size: Bytes of the same body that arrived before.
            more: Bytes that arrived now.

        Raises:
            ApiError: The body is too large, or all bodies together are.
        """
        self._check_size(size + more)
        if self._held_bytes + more > self._settings.max_held_bytes:
            raise _too_busy()
        self._held_bytes += more

    def _check_size(self, size: int) -> None:
        limit = self._settings.max_body_bytes
        if size > limit:
            raise ApiError("too_large", f"the body is larger than the {limit} bytes that this gateway takes")


class _Body:
    """One request's body while it arrives."""

    def __init__(
        self, limits: Limits, receive: Receive, *, decoder: Decoder | None, max_bytes: int, deadline: float
    ) -> None:
        self._limits = limits
        self._receive = receive
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._deadline = deadline
        self._is_complete = False
        self.size = 0

    async def receive(self) -> Message:
        """Receive the next message; until the body is complete, count its bytes and apply the time limit."""
        if self._is_complete:
            return await self._receive()
        left_s = self._deadline - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), max(left_s, 0.001))
        except asyncio.TimeoutError:
            raise ApiError("too_slow", "the body did not arrive in time") from None
        if message["type"] == "http.request":
            content, self._is_complete = message.get("body", b""), not message.get("more_body", False)
            if self._decoder is not None:
                # One byte beyond the limit is enough to see that the body is too large.
                content = self._decoder.decode(
                    content, max_bytes=self._max_bytes - self.size + 1, is_last=self._is_complete
                )
                message = {**message, "body": content}
            self._limits.hold(self.size, more=len(content))
            self.size += len(content)
        return message


def _content_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and len(value) < 20:
            return int(value)
    return 0  # no such header, or one that the HTTP server has refused already


def _too_busy() -> ApiError:
    return ApiError("overloaded", "the gateway is busy; try again later", retry_after_s=_RETRY_S)
