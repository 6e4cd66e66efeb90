"""The connection to one server: its transport, the limit on requests on their way, and the one retry policy.

This module knows nothing about texts or models. Its coroutines run on the session's loop: that of `io_thread`, unless
`Session.work_on_running_loop` chose another; `infer` also runs at once, see `at_once`.
"""

import asyncio
import logging
import os
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from . import io_thread
from .at_once import NeedsLoopError, has_loop, need_loop
from .errors import (
    ConnectionLostError,
    InvalidInputError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerUnavailableError,
)
from .options import ClientOptions, Priority
from .running_loop import Loop, RunningLoop
from .transports.base import BlockingTransport, Outputs, Transport
from .window import Window

_T = TypeVar("_T")

_log = logging.getLogger("qwen3_client")

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0

_grpc_process: int | None = None  # id of the process that used gRPC first


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request that was sent at once, and failed.

    Attributes:
        sent_at: when it was sent, by the monotonic clock.
        error: what came of it.
    """

    sent_at: float
    error: Qwen3ClientError


# Set for the call that is then made on the loop, whose first try this was.
_failed_at_once: ContextVar[_Failure | None] = ContextVar("failed_at_once", default=None)


def connect(options: ClientOptions) -> Transport:
    """Return the transport to the servers that the options name, for the running event loop. Nothing is sent yet.

    Raises:
        Qwen3ClientError: the URL is for gRPC, which a parent process used before it forked this one.
    """
    global _grpc_process
    # Imported here so that a program pays only for the protocol that it uses.
    if options.address.protocol == "grpc":
        if _grpc_process not in (None, os.getpid()):
            raise Qwen3ClientError(
                "gRPC was used before this process was forked, and it does not work after a fork; use http://, or "
                "start the process with multiprocessing's 'spawn'"
            )
        _grpc_process = os.getpid()
        from .transports.grpc import GrpcTransport as OneServer
    else:
        from .transports.http import HttpTransport as OneServer  # type: ignore[assignment]
    if len(options.addresses) == 1 and not options.address.is_name:
        return OneServer(options, options.address)
    from .transports.spread import SpreadTransport

    return SpreadTransport(options.addresses, open_one=partial(OneServer, options), concurrency=options.concurrency)


def pause_s(tries: int) -> float:
    """Return the seconds to wait before the next try: exponential backoff up to a limit, with jitter.

    The jitter, which shortens a pause by up to a half, keeps clients that failed together from retrying together.

    Args:
        tries: how often the request has been sent, at least 1.
    """
    longest: float = min(_FIRST_PAUSE_S * 2 ** min(tries - 1, 10), _LONGEST_PAUSE_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - a pause is no secret


def _seen(task: "asyncio.Task[Any]") -> None:
    """Retrieve the exception of a task, so that asyncio does not log that nobody did."""
    if not task.cancelled():
        task.exception()


class Session:
    """A connection to one server, which the first call opens. It can be used by the process that opened it only.

    Args:
        options: the server and how to reach it.
        transport: what carries the requests; None to connect to the server that `options` name.

    Attributes:
        options: the same.
        loop: the event loop on which its coroutines run.
    """

    def __init__(self, options: ClientOptions, *, transport: Transport | None = None) -> None:
        self.options = options
        self.loop: Loop = io_thread
        self._window = Window(options.concurrency)
        self._transport = transport
        self._given_in = None if transport is None else os.getpid()  # the process that made it
        self._is_kept = False  # whether the loop has registered the transport as one to close
        self._at_once: Callable[..., Outputs] | None = None  # the transport's way without a loop, if it has one
        self._tasks: set[asyncio.Task[Any]] = set()
        self._process: int | None = None  # id of the process that opened the transport
        self._is_closed = False
        self._is_away = False

    def work_on_running_loop(self) -> None:
        """Run all coroutines on the running event loop, instead of on the thread of `io_thread`.

        Raises:
            Qwen3ClientError: coroutines have run on another loop.
            RuntimeError: no event loop is running.
        """
        if self._process is not None:
            raise Qwen3ClientError("this client has been used already; choose its event loop before its first call")
        self.loop = RunningLoop()

    def refuse_to_block(self) -> None:
        """Refuse a caller that would wait, on the session's loop, for what runs there.

        Raises:
            Qwen3ClientError: the caller is on the session's loop.
        """
        if self.loop.is_current():
            raise Qwen3ClientError(
                "this client works on the event loop that runs in this thread, so waiting for it would never end; "
                "await the methods of its AsyncClient instead"
            )

    def claim(self) -> None:
        """Claim the session for this process, before a call is started.

        Raises:
            Qwen3ClientError: the session is closed, or another process opened it.
        """
        if self._process not in (None, os.getpid()):
            raise Qwen3ClientError(
                "this client was used before the process forked, and its connections belong to the parent process; "
                "make a new client in the child process"
            )
        self._refuse_if_closed()
        self._process = os.getpid()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Register the current task as one that does the work of a call, which closing the session cancels.

        Raises:
            Qwen3ClientError: as `claim`; or the session was closed meanwhile.
        """
        self.claim()  # it may have been closed since the call was started
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        self._tasks.add(task)
        task.add_done_callback(_seen)  # if the caller cancelled it, nobody else retrieves its exception
        try:
            yield
        except asyncio.CancelledError:
            self._refuse_if_closed()  # if closing was the reason; otherwise the caller cancelled it
            raise
        finally:
            self._tasks.discard(task)

    async def wait_for_end(self, call: Coroutine[Any, Any, Any]) -> None:
        """Wait for the end of a call that has been cancelled.

        Args:
            call: the coroutine that does its work.
        """
        if tasks := [task for task in self._tasks if task.get_coro() is call]:
            await asyncio.wait(tasks)

    def create_task(self, coroutine: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Start a task on the session's loop, which closing the session cancels."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def infer(
        self, model: str, input_ids: NDArray[np.int64], *, outputs: Sequence[str], priority: Priority
    ) -> Outputs:
        """Send one request as soon as the window permits it, and retry it if the server is unavailable or overloaded.

        Retrying is safe because inference changes nothing on the server.

        Args:
            model: name of the model.
            input_ids: int64 `[b, n]`.
            outputs: names of the tensors that are wanted.
            priority: which requests go first where some wait.

        Returns:
            The wanted tensors, float32 `[b, k]` each, by name.

        Raises:
            NeedsLoopError: there is no loop to wait on, and a request that runs at once cannot be sent, or failed.
            Qwen3ClientError: the error of the last try.
        """
        if not has_loop():
            return self._infer_at_once(model, input_ids, outputs=outputs, priority=priority)
        clock = time.monotonic
        failure = _failed_at_once.get()
        _failed_at_once.set(None)  # what else this call sends is sent for the first time
        if failure is not None and not isinstance(failure.error, ServerOverloadedError | ServerUnavailableError):
            raise failure.error
        permit = await self._window.enter(priority, first=failure is not None)
        deadline = (clock() if failure is None else failure.sent_at) + self.options.timeout_s
        refused_since: float | None = None
        tries = 0

        def send(timeout_s: float) -> Awaitable[Outputs]:
            return self.transport.infer(model, input_ids, outputs=outputs, priority=priority, timeout_s=timeout_s)

        while True:
            tries += 1
            try:
                refused, failure = failure, None  # the first try may have been made at once
                if refused is not None and not isinstance(refused.error, ConnectionLostError):
                    raise refused.error
                answer = await self._sent(send, timeout_s=deadline - clock())
            except (ServerOverloadedError, ServerUnavailableError) as error:
                if isinstance(error, ServerOverloadedError):
                    # A smaller window relieves the server. A long pause would leave it idle.
                    self._window.shrink(permit)
                    pause = pause_s(1)
                else:
                    pause = pause_s(tries)
                refused_since = refused_since or clock()
                if clock() + pause >= min(refused_since + self.options.retry_s, deadline):
                    if tries == 1:
                        raise
                    raise error.saying(f"{error.args[0]} (tried {tries} times)") from error
                self._warn(error)
            else:
                self._window.grow()
                self._is_away = False
                return answer
            finally:
                self._window.leave()
            await asyncio.sleep(pause)
            permit = await self._window.enter(priority, first=True)

    @property
    def can_run_at_once(self) -> bool:
        """Whether a request could be sent now without an event loop: the transport has a way, and the window room."""
        return self._at_once is not None and not self._window.is_full

    def _infer_at_once(
        self, model: str, input_ids: NDArray[np.int64], *, outputs: Sequence[str], priority: Priority
    ) -> Outputs:
        """Send one request as `infer` does, and wait for the answer in this thread. A failure is left to `infer`."""
        send, request, sent_at = self._at_once, object(), time.monotonic()
        try:
            if send is None or not self._window.enter_at_once(request):
                raise NeedsLoopError
            answer = send(model, input_ids, outputs=outputs, priority=priority, timeout_s=self.options.timeout_s)
        except Qwen3ClientError as error:
            _failed_at_once.set(_Failure(sent_at, error))
            raise NeedsLoopError from error
        finally:
            if self._window.leave_at_once(request):
                self.loop.submit(self._hand_out())
        self._window.grow()
        self._is_away = False
        return answer

    async def _hand_out(self) -> None:
        self._window.hand_out()

    async def models(self) -> list[str]:
        """See `Transport.models`."""
        return await self._sent(lambda timeout_s: self.transport.models(timeout_s=timeout_s))

    async def model_config(self, model: str) -> dict[str, Any]:
        """See `Transport.model_config`."""
        return await self._sent(lambda timeout_s: self.transport.model_config(model, timeout_s=timeout_s))

    async def is_ready(self, model: str) -> bool:
        """See `Transport.is_ready`."""
        return await self._sent(lambda timeout_s: self.transport.is_ready(model, timeout_s=timeout_s))

    @property
    def transport(self) -> Transport:
        """The transport, to be used on the session's loop only."""
        self._refuse_if_closed()
        if self._transport is None:
            self._transport = connect(self.options)
        if not self._is_kept:
            if issubclass(type(self._transport), BlockingTransport):  # a mock or a proxy may make up any method
                self._at_once = cast("BlockingTransport", self._transport).infer_at_once
            self.loop.keep(self._transport)
            self._is_kept = True
            # A session that is collected as garbage without having been closed has its transport closed.
            weakref.finalize(self, self.loop.close_soon, self._transport).atexit = False
        return self._transport

    async def close(self) -> None:
        """Cancel all requests and close the transport. Closing again does nothing."""
        self._is_closed = True
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._transport is not None:
            transport, self._transport = self._transport, None
            self.loop.forget(transport)
            await transport.close()

    def picklable_options(self) -> ClientOptions:
        """Return the options with which the same session can be opened again.

        Raises:
            InvalidInputError: the session was given its transport, which belongs to this process.
        """
        if self._given_in is not None:
            raise InvalidInputError(
                "a client with a transport of its own cannot be pickled or copied: pass a function that makes the "
                "client, or give the client a url="
            )
        return self.options

    def close_soon(self) -> "Future[None] | None":
        """Start closing, from any thread.

        Returns:
            The result to wait for; None if this process has nothing to close.
        """
        if self._is_closed and self._transport is None and not self._tasks:
            return None
        self._is_closed = True
        is_ours = self._process == os.getpid() or (self._process is None and self._given_in == os.getpid())
        if not is_ours:
            return None
        try:
            return self.loop.submit(self.close())
        except Qwen3ClientError:  # the loop has ended, and nothing can be closed on it any more
            return None

    async def _sent(self, send: Callable[[float], Awaitable[_T]], *, timeout_s: float | None = None) -> _T:
        """Send a request, and once more at once if its connection was lost: a server may close an idle connection.

        Args:
            send: sends the request, given its time-out in seconds.
            timeout_s: seconds for both tries together; None for `timeout_s` of the options.

        Raises:
            NeedsLoopError: there is no loop to wait on.
        """
        need_loop()
        clock = time.monotonic
        deadline = clock() + (self.options.timeout_s if timeout_s is None else timeout_s)
        try:
            return await send(max(deadline - clock(), 0.001))
        except ConnectionLostError:
            return await send(max(deadline - clock(), 0.001))

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Qwen3ClientError("this client is closed; make a new one")

    def _warn(self, error: Qwen3ClientError) -> None:
        """Log once, for all requests, that the server is unavailable."""
        if isinstance(error, ServerUnavailableError) and not self._is_away:
            self._is_away = True
            seconds = min(self.options.retry_s, self.options.timeout_s)
            _log.warning("%s; trying again for %g s", error, seconds)
