"""One server: the transport to it, how many requests are on their way, and what is tried again.

This module knows nothing about texts or models. All coroutines run on the thread of `_io_thread`; `start` brings
them there from any other.
"""

import asyncio
import logging
import os
import random
import weakref
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import _io_thread
from ._address import Address
from ._credentials import Credentials
from ._errors import Qwen3ClientError, ServerOverloadedError, ServerUnavailableError
from ._priority import Priority
from ._transport import Outputs, Transport
from ._window import Window

__all__ = ["Connection", "connect", "pause_s"]

_T = TypeVar("_T")

_log = logging.getLogger("qwen3_client")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0


_grpc_process: int | None = None  # that used gRPC first


def connect(address: Address, credentials: Credentials) -> Transport:
    """Returns the transport for an address, for the event loop that runs. Nothing is sent yet.

    Raises:
        Qwen3ClientError: it is gRPC's, which this process inherited by a fork and cannot use.
    """
    global _grpc_process
    # Imported here so that a program pays only for the protocol that it uses.
    if address.protocol == "grpc":
        if _grpc_process not in (None, os.getpid()):
            raise Qwen3ClientError(
                "gRPC was used before this process forked, and does not survive that; use http://, or start the "
                "process with multiprocessing's 'spawn'"
            )
        _grpc_process = os.getpid()
        from ._grpc_transport import GrpcTransport

        return GrpcTransport(address, credentials)
    from ._http_transport import HttpTransport

    return HttpTransport(address, credentials)


def pause_s(tries: int) -> float:
    """Seconds to wait before the next try: twice as long each time, up to a limit, and by chance up to half less.

    Chance keeps clients that were refused together from coming back together.
    """
    longest: float = min(_FIRST_PAUSE_S * 2 ** min(tries - 1, 10), _LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - nothing secret about it


class Connection:
    """A transport, opened by the first call. A process that forks opens its own after the fork.

    Args:
        address: the server.
        credentials: what shows who we are.
        timeout_s: seconds that each request may take once it was sent, all its tries together.
        retry_s: seconds for which a request is tried again that finds the server away or its queue full.
        concurrency: most requests on their way at once.
    """

    def __init__(
        self, address: Address, *, credentials: Credentials, timeout_s: float, retry_s: float, concurrency: int
    ) -> None:
        self.timeout_s = timeout_s
        self.concurrency = concurrency
        self.address = address
        self._credentials = credentials
        self._retry_s = retry_s
        self._window = Window(concurrency)
        self._transport: Transport | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._process: int | None = None  # that opened the transport
        self._is_closed = False
        self._is_away = False

    def start(self, coroutine: Coroutine[Any, Any, _T]) -> "Future[_T]":
        """Runs a coroutine, on the thread of `_io_thread`, until this connection is closed.

        Raises:
            Qwen3ClientError: the connection is closed, or another process opened it.
        """
        try:
            if self._process not in (None, os.getpid()):
                raise Qwen3ClientError(
                    "this client was used before the process forked, and its connections are the parent's; "
                    "make a new client in the child"
                )
            self._refuse_if_closed()
            self._process = os.getpid()
            return _io_thread.submit(self._until_closed(coroutine))
        except Exception:  # not Ctrl-C, which may come when it runs already
            coroutine.close()  # it never will
            raise

    async def infer(
        self, model: str, input_ids: NDArray[np.int64], *, outputs: Sequence[str], priority: Priority
    ) -> Outputs:
        """Sends one request, when there is room for it, and again when the server was away or its queue full.

        A text may be sent any number of times: inference changes nothing on the server.

        Args:
            model: name of the model.
            input_ids: int64 `[b, n]`.
            outputs: names of the tensors that are wanted.
            priority: whether it goes before others that wait.

        Raises:
            Qwen3ClientError: what came of it in the end.
        """
        clock = asyncio.get_running_loop().time
        slot = await self._window.enter(priority)
        deadline = clock() + self.timeout_s
        refused_since: float | None = None
        tries = 0
        while True:
            tries += 1
            try:
                answer = await self.transport.infer(
                    model, input_ids, outputs=outputs, priority=priority, timeout_s=max(deadline - clock(), 0.001)
                )
            except (ServerOverloadedError, ServerUnavailableError) as error:
                if isinstance(error, ServerOverloadedError):
                    self._window.shrink(slot)  # which is what helps; a long pause would leave the server idle
                    pause = pause_s(1)
                else:
                    pause = pause_s(tries)
                refused_since = refused_since or clock()
                if clock() + pause >= min(refused_since + self._retry_s, deadline):
                    if tries == 1:
                        raise
                    raise type(error)(f"{error.args[0]} (tried {tries} times)") from error
                self._warn(error)
            else:
                self._window.grow()
                self._is_away = False
                return answer
            finally:
                self._window.leave()
            await asyncio.sleep(pause)
            slot = await self._window.enter(priority, first=True)

    @property
    def transport(self) -> Transport:
        """The transport; for the thread of `_io_thread`."""
        if self._transport is None:
            self._transport = connect(self.address, self._credentials)
            _io_thread.keep(self._transport)
            # One that nobody closed is closed when nobody can any more.
            weakref.finalize(self, _io_thread.close_soon, self._transport).atexit = False
        return self._transport

    async def close(self) -> None:
        """Gives up what is on its way and closes the transport. Closing again does nothing."""
        self._is_closed = True
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            transport, self._transport = self._transport, None
            _io_thread.forget(transport)
            await transport.close()

    def close_soon(self) -> "Future[None] | None":
        """Starts to close, from any thread; None when there is nothing to close in this process."""
        self._is_closed = True
        return _io_thread.submit(self.close()) if self._process == os.getpid() else None

    async def _until_closed(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._is_closed:  # since it was started
            coroutine.close()
        self._refuse_if_closed()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._tasks.add(task)
        try:
            return await coroutine
        except asyncio.CancelledError:
            self._refuse_if_closed()  # that is why; else the caller gave it up
            raise
        finally:
            self._tasks.discard(task)

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Qwen3ClientError("this client is closed; make a new one")

    def _warn(self, error: Qwen3ClientError) -> None:
        """Says once, for all requests, that the server is away."""
        if isinstance(error, ServerUnavailableError) and not self._is_away:
            self._is_away = True
            _log.warning("%s; trying again for %g s", error, min(self._retry_s, self.timeout_s))
