"""Where failures end: each becomes an answer in the words of the API that was asked, and none says more than it should.

What a request did wrong is told to the client that sent it. What failed behind the gateway is told to its log.
"""

import asyncio
import contextlib
import logging
import traceback

import orjson
from qwen3_client import InvalidInputError, Qwen3ClientError, RefusedError
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..api import Api
from ..errors import Failure, failure_of
from ..exchange import exchange_of
from ..json import json_response
from .disconnect import ClientGoneError

__all__ = ["CLIENT_GONE", "Boundary", "answer_to"]

CLIENT_GONE = 499  # what nginx logs for a client that left

_LINGER_S = 2.0

_log = logging.getLogger("qwen3_serve.gateway")


class Boundary:
    """Answers for what goes wrong within.

    Args:
        app: what may fail.
        apis: the APIs; the first one words what belongs to none.
    """

    def __init__(self, app: ASGIApp, *, apis: tuple[Api, ...]) -> None:
        self._app = app
        self._apis = apis

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_answered = False

        async def watched(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (ClientDisconnect, ClientGoneError):
            exchange_of(scope).status = CLIENT_GONE
        except Exception as error:
            if is_answered:
                raise
            failure = self._failure(scope, error)
            await _send(failure, answer_to(scope, failure, apis=self._apis), scope, receive, send)

    def _failure(self, scope: Scope, error: Exception) -> Failure:
        request_id = exchange_of(scope).request_id
        if isinstance(error, Failure):
            if isinstance(error.__cause__, Qwen3ClientError) and not _is_the_callers(error.__cause__):
                _report(request_id, error=type(error.__cause__).__name__, reason=str(error.__cause__))
            return error
        if isinstance(error, Qwen3ClientError):
            if not _is_the_callers(error):
                _report(request_id, error=type(error).__name__, reason=str(error))
            return failure_of(error, request_id=request_id)
        # The message of an unforeseen error may hold a text; its place in the code cannot.
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        _report(request_id, error=type(error).__name__, where=where)
        return Failure("internal", f"something failed in the gateway; its log says what under request {request_id}")


def _is_the_callers(error: Qwen3ClientError) -> bool:
    return isinstance(error, InvalidInputError) and not isinstance(error, RefusedError)


def answer_to(scope: Scope, failure: Failure, *, apis: tuple[Api, ...]) -> Response:
    """Makes the answer that tells of a failure, in the words of the API whose path was asked for."""
    exchange = exchange_of(scope)
    exchange.cause = failure.cause
    # The longest path that fits: /v1/rerank is Cohere's, the rest of /v1/ OpenAI's.
    fitting = [api for api in apis if api.has(scope["path"])]
    api = next((api for api in fitting if scope["path"] in api.paths), fitting[0] if fitting else apis[0])
    status, content = api.render_error(failure, exchange.request_id)
    headers = dict(failure.headers)
    if failure.retry_after_s is not None:
        headers["retry-after"] = str(failure.retry_after_s)
    return json_response(content, status=status, headers=headers)


async def _send(failure: Failure, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if failure.cause not in ("too_large", "too_slow"):
        await response(scope, receive, send)
        return
    # The rest of the body is unwanted: close the connection. But a client that is still sending would then see a reset
    # and not the answer, so hear it out for a moment.
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    if failure.cause == "too_large":
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_discard(receive), _LINGER_S)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _discard(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
        pass


def _report(request_id: str, **facts: object) -> None:
    _log.error(orjson.dumps({"request_id": request_id, **facts}).decode())
