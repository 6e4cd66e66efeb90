"""Waits until a Triton that was just started is ready, or finds out why it is not.

Ready means more here than Triton's own health check: each model has given a correct first answer, and the metrics are
served.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPException

from ..errors import ServeError
from .first_answer import check_first_answer, first_request
from .hosts import Host, HostsAtStart
from .http_probe import TIMEOUT_S, HttpProbe
from .log import Log
from .ports import PortLostError, listens

POLL_S = 0.05

_METRICS_START_S = 5.0
_LAST_WORDS_S = 2.0  # that Triton gets to notice that a host has ended, and to write its own reason
_END_S = 10.0  # that it then gets to end; its last line has the whole reason


class Startup:
    """The start of one Triton.

    Args:
        process: The Triton process.
        server_id: The name that it was given.
        models: Names of the models that it loads.
        probe: Sends it HTTP requests.
        log: What it writes.
        join_log: Waits until the log of a process that has ended is complete.
        metrics_port: Port of its metrics.
        timeout_s: How long loading may take.

    Attributes:
        step: What is being done now, for messages: `loading qwen3_embedding`.
        hosts: The process ids of the hosts that loaded their models, once all are loaded.
    """

    def __init__(
        self,
        process: subprocess.Popen[str],
        *,
        server_id: str,
        models: Sequence[str],
        probe: HttpProbe,
        log: Log,
        join_log: Callable[[], None],
        metrics_port: int,
        timeout_s: float,
    ) -> None:
        self._process = process
        self._server_id = server_id
        self._models = models
        self._probe = probe
        self._log = log
        self._join_log = join_log
        self._metrics_port = metrics_port
        self._timeout_s = timeout_s
        self._hosts_at_start = HostsAtStart(process.pid)
        self.step = "starting Triton"
        self.hosts: dict[Host, int] = {}

    def wait(self) -> None:
        """Wait until every model is ready and has given a correct first answer, and the metrics are served.

        Raises:
            PortLostError: Another process took a port.
            ServeError: Triton or a host ended, it takes too long, or an answer is wrong.
        """
        deadline = time.monotonic() + self._timeout_s
        while not self._probe.is_ready(self._server_id):
            loading = [name for name in self._models if not self._log.has_loaded(name)]
            self.step = f"loading {', '.join(loading) or 'Triton'}"
            self._check_processes()
            if time.monotonic() > deadline:
                raise ServeError(
                    f"Triton was not ready within {self._timeout_s:.0f} s; its last log line: {self._log.last}"
                )
            time.sleep(POLL_S)
        self.hosts = self._hosts_at_start.loaded()  # before the first answers, which may need more memory than there is
        for name in self._models:
            self.step = f"waiting for the first answer of {name}"
            self._check_first_answer(name, timeout_s=max(deadline - time.monotonic(), TIMEOUT_S))
        self._check_metrics()

    def _check_processes(self) -> None:
        """Raise if Triton, or a host, has ended."""
        if (code := self._process.poll()) is not None:
            self._join_log()
            if self._log.misses_a_host:  # before this process noticed
                raise self._failure(self._host_ended([]))
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise self._failure(f"it ended with {how}; its last log line: {self._log.last}")
        if (ended := self._hosts_at_start.ended()) is not None:
            self._await_last_words()
            raise self._failure(self._host_ended(ended))

    def _host_ended(self, models: Sequence[str]) -> str:
        whose = f"the process of {', '.join(models)}" if models else "a model's process"
        reason = self._log.host_output() or "it wrote nothing (was it killed, out of memory?)"
        return f"{whose} ended while it was loading: {reason}"

    def _await_last_words(self) -> None:
        """Wait until Triton has ended because a host has, or has not noticed it for a while."""
        deadline = time.monotonic() + _LAST_WORDS_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._log.misses_a_host or self._log.failure() is not None:
                break
            time.sleep(POLL_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self._log.failure() is None else _END_S)
            self._join_log()

    def _failure(self, otherwise: str) -> ServeError:
        """Return the error for a failed start, with Triton's own reason if its log has one."""
        reason = self._log.failure() or otherwise
        error = PortLostError if "already in use" in reason else ServeError
        return error(f"Triton did not start: {reason}")

    def _check_first_answer(self, model: str, *, timeout_s: float) -> None:
        path = f"/v2/models/{model}"
        try:
            config = self._probe.get_json(f"{path}/config")
            status, body = self._first_answer(model, f"{path}/infer", first_request(config), timeout_s)
        except (OSError, HTTPException) as error:
            raise ServeError(f"{model} was loaded, but did not answer within {timeout_s:.0f} s: {error}") from error
        check_first_answer(config, status, body)

    def _first_answer(self, model: str, path: str, request: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Send a request until its queue takes it: clients that waited for the server may have filled the queue."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            # A last request that is cut short by the deadline would hide that the queue refuses.
            status, body = self._probe.post(path, request, timeout_s=max(left_s, TIMEOUT_S))
            if status != HTTPStatus.SERVICE_UNAVAILABLE:
                return status, body
            self._check_processes()
            time.sleep(POLL_S)
        raise ServeError(
            f"{model} was loaded, but refused every request for {timeout_s:.0f} s: "
            f"{body[:300].decode(errors='replace')}. Is max_queue_size or default_timeout_microseconds in its "
            "configuration too small, or do clients send more than it can do?"
        )

    def _check_metrics(self) -> None:
        """Check that the metrics are served. They start last, and without their port Triton only logs an error."""
        deadline = time.monotonic() + _METRICS_START_S
        # Triton logs that they have started before it binds the port, and another server may answer there.
        while not listens(self._process.pid, self._metrics_port) and time.monotonic() < deadline:
            if self._log.says("failed to start Metrics service"):
                raise PortLostError(f"Triton has no metrics: port {self._metrics_port} is already in use")
            time.sleep(POLL_S)
