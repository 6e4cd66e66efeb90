"""The HTTP gateway as a process beside Triton, for `qwen3-triton serve --gateway`.

It is started as a command, so this module needs to know nothing of it but its options.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import time
from types import TracebackType

from .child_process import ending_with_parent
from .errors import ServeError
from .gateway_options import GatewayOptions
from .triton.ports import choose_ports, in_url, reachable
from .triton.server import Triton

_POLL_S = 0.05
_START_S = 60.0
_KILL_AFTER_S = 5.0  # beyond `drain_timeout_s`


class Gateway:
    """A running gateway.

    Args:
        triton: `host:port` of Triton's gRPC.
        options: Its other options.
    """

    def __init__(self, triton: str, options: GatewayOptions) -> None:
        self._triton = triton
        self._options = options
        self._port = options.port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http{'s' if self._options.is_secure else ''}://{in_url(self._options.host)}:{self._port}"

    def __enter__(self) -> Gateway:
        """Start, and return once it listens.

        Raises:
            ServeError: Its port is taken, or it does not start.
        """
        # Checked, so that another server on the port is not mistaken for the gateway.
        self._port = choose_ports(self._options.host, {"gateway": self._options.port})["gateway"]
        self._process = subprocess.Popen(
            ending_with_parent(
                [
                    *(sys.executable, "-m", "qwen3_serve.gateway"),
                    *self._options.arguments,
                    *(f"--triton={self._triton}", f"--port={self._port}"),
                ]
            ),
            # A Ctrl-C in the terminal then reaches this process only, which stops the gateway in order.
            start_new_session=True,
        )
        try:
            self._wait_until_listening(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the gateway finish the requests that it accepted, then stop it."""
        self._stop()

    def wait(self) -> int:
        """Block until the gateway ends by itself; return its exit code."""
        if self._process is None:
            raise ServeError("the gateway is not running; use it inside its `with` block")
        return self._process.wait()

    def _wait_until_listening(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_S
        while not self._is_listening():
            if process.poll() is not None:
                raise ServeError(f"the gateway did not start, exit code {process.returncode}; its own message is above")
            if time.monotonic() > deadline:
                raise ServeError(f"the gateway did not listen on {self.url} within {_START_S:.0f} s")
            time.sleep(_POLL_S)

    def _is_listening(self) -> bool:
        try:
            socket.create_connection((reachable(self._options.host), self._port), timeout=_POLL_S).close()
        except OSError:
            return False
        return True

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(self._options.drain_timeout_s + _KILL_AFTER_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            pass  # it did not end in time, or the user pressed Ctrl-C again
        finally:
            process.kill()  # has no effect if it has ended
            process.wait()


def first_to_end(triton: Triton, gateway: Gateway | None) -> tuple[str, int]:
    """Block until one of the two ends by itself; return its name and exit code."""
    ended: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def wait_for(name: str, server: Triton | Gateway) -> None:
        with contextlib.suppress(ServeError):  # it was stopped before this thread started
            ended.put((name, server.wait()))

    for name, server in (("Triton", triton), ("the gateway", gateway)):
        if server is not None:
            threading.Thread(target=wait_for, args=(name, server), daemon=True).start()
    return ended.get()
