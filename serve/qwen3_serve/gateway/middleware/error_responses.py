"""Turns errors into responses: each in the form of the API that was asked, and none with more than the client may know.

What is wrong with a request is told to the client that sent it. What failed behind the gateway goes to the gateway's
log.
"""

import asyncio
import contextlib
import logging
import traceback

import orjson
from qwen3_client import InvalidInputError, Qwen3ClientError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..api import Api, api_of
from ..errors import ApiError, api_error_for
from ..exchange import exchange_of
from ..json import json_response
from .disconnect import ClientGoneError

CLIENT_GONE = 499  # what nginx logs for a client that closed the connection before the response

_LINGER_S = 2.0

_log = logging.getLogger("qwen3_serve.gateway")


class ErrorResponses:
    """Middleware that answers requests whose handling raised an error.

    Args:
        app: The application within.
        apis: The APIs; the first one renders errors on paths that belong to none.
    """

    def __init__(self, app: ASGIApp, *, apis: tuple[Api, ...]) -> None:
        self._app = app
        self._apis = apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (ClientDisconnect, ClientGoneError):
            exchange_of(scope).status = CLIENT_GONE
        except Exception as error:
            if has_begun:
                raise
            api_error = self._api_error(scope, error)
            await _send(api_error, error_response(scope, api_error, apis=self._apis), scope, receive, send)

    def _api_error(self, scope: Scope, error: Exception) -> ApiError:
        """Return the error for the client, and log what the client is not told."""
        request_id = exchange_of(scope).request_id
        if isinstance(error, ApiError):
            if isinstance(error.__cause__, Qwen3ClientError) and not isinstance(error.__cause__, InvalidInputError):
                _log_error(request_id, error=type(error.__cause__).__name__, reason=str(error.__cause__))
            return error
        if isinstance(error, Qwen3ClientError):
            if not isinstance(error, InvalidInputError):
                _log_error(request_id, error=type(error).__name__, reason=str(error))
            return api_error_for(error, request_id=request_id)
        # The message of an unexpected error may hold a text; file names and line numbers cannot.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        _log_error(request_id, error=type(error).__name__, where=where)
        return ApiError(
            "internal", f"an error occurred in the gateway; its log gives the reason under request {request_id}"
        )


def error_response(scope: Scope, error: ApiError, *, apis: tuple[Api, ...]) -> Response:
    """Make the response for an error, in the form of the API that the path belongs to."""
    exchange = exchange_of(scope)
    exchange.cause = error.cause
    api = api_of(scope, apis)
    status, content = api.render_error(error, exchange.request_id)
    headers = dict(error.headers)
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    return json_response(content, status=status, headers=headers)


async def _send(error: ApiError, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if error.cause not in ("too_large", "too_slow"):
        await response(scope, receive, send)
        return
    # Nobody reads the rest of the body, so the connection is closed. A client that is still sending would then see a
    # connection reset instead of the response, so the rest is read and discarded for a moment.
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if error.cause == "too_large":
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), _LINGER_S)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
        pass


def _log_error(request_id: str, **facts: object) -> None:
    _log.error(orjson.dumps({"request_id": request_id, **facts}).decode())
