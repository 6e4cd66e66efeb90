"""One server: the transport to it, and the threads that wait for its answers.

This module knows nothing about texts or models: it runs calls, a bounded number at once, and gives their results
in order.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from ._address import Address
from ._errors import Qwen3ClientError
from ._transport import Transport

__all__ = ["Connection", "connect"]

_Result = TypeVar("_Result")


def connect(address: Address) -> Transport:
    """Returns the transport for an address. Nothing is sent yet."""
    # Imported here so that a program pays only for the protocol that it uses.
    if address.protocol == "grpc":
        from ._grpc_transport import GrpcTransport

        return GrpcTransport(address)
    from ._http_transport import HttpTransport

    return HttpTransport(address)


class Connection:
    """A transport, and a pool of threads that all callers share. Nothing is sent before the first call.

    Args:
        address: the server.
        timeout_s: seconds that each request may take.
        concurrency: most calls that run at once.
    """

    def __init__(self, address: Address, *, timeout_s: float, concurrency: int) -> None:
        self.timeout_s = timeout_s
        self.concurrency = concurrency
        self._is_closed = False
        self._transport = connect(address)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="qwen3-client")

    @property
    def transport(self) -> Transport:
        """The transport, as long as it is open.

        Raises:
            Qwen3ClientError: it was closed.
        """
        self._refuse_if_closed()
        return self._transport

    def in_order(self, groups: Iterable[list[Callable[[], _Result]]]) -> Iterator[_Result]:
        """Runs calls at once and yields their results in order.

        A group is taken once no more than `concurrency` results are still to come. Closing the iterator gives up
        what is pending.

        Raises:
            Qwen3ClientError: the first failure, in the order of the calls, after the results before it.
        """
        pending: deque[Future[_Result]] = deque()
        try:
            for calls in groups:
                pending.extend(self._submit(call) for call in calls)
                # What stays on its way while the next group is made.
                while len(pending) > self.concurrency:
                    yield self._wait(pending.popleft())
            while pending:
                yield self._wait(pending.popleft())
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Gives up what is on its way and closes the transport. Closing again does nothing."""
        self._is_closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._transport.close()  # wakes the threads that wait for an answer
        self._pool.shutdown(wait=True)

    def _submit(self, call: Callable[[], _Result]) -> Future[_Result]:
        try:
            return self._pool.submit(call)
        except RuntimeError:
            self._refuse_if_closed()  # the pool takes nothing more, as another thread closed the client
            raise

    def _wait(self, future: Future[_Result]) -> _Result:
        try:
            return future.result()
        except (CancelledError, Qwen3ClientError, ValueError):  # ValueError: gRPC's for a closed channel
            self._refuse_if_closed()  # if another thread closed the client, that is why this failed
            raise

    def _refuse_if_closed(self) -> None:
        if self._is_closed:
            raise Qwen3ClientError("this Client is closed; make a new one")
