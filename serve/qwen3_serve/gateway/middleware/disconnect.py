"""Work for a client, as long as it is there to hear the answer."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

__all__ = ["ClientGoneError", "while_connected"]

_T = TypeVar("_T")


class ClientGoneError(Exception):
    """The client closed the connection before the answer."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _T]) -> _T:
    """Does the work, and gives it up when the client leaves. No part of the work outlasts the call.

    Args:
        receive: the request's, its body read to the end.
        work: what to do.

    Raises:
        ClientGoneError: the client left before the work was done.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGoneError
        return doing.result()
    finally:
        for task in (doing, leaving):
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
