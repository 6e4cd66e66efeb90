"""A Triton process from start to stop.

``Triton`` is a context manager: inside the block the server is ready, after it nothing of it is left. It knows
processes, ports and health checks, and nothing about texts or vectors.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

from ._errors import ServeError
from ._hosts import Host, HostWatch
from ._integrity import Check, check_integrity
from ._ports import PortLostError, choose_ports, in_url, listening, reachable
from ._repository import check_config, exported_models
from ._runtime import EMBEDDED_CONFIG, Runtime, find_runtime

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 5.0
_METRICS_START_S = 5.0
_KILL_AFTER_S = 5.0  # past the time that Triton may take to stop
_LOG_LINES = 500
_PORT_ATTEMPTS = 5
_NO_GPU = "failed to allocate pinned system memory"  # on every start without a GPU; it goes on without
# "E1121 20:15:02.123456 1234 model_lifecycle.cc:654] " before the message
_LOG_PREFIX = re.compile(r"^[EWI]\d{4} [\d:.]+ +\d+ [\w.]+:\d+\] ")


class Triton:
    """A running Triton that serves every exported model of a repository.

    >>> with Triton("model_repository") as triton:  # doctest: +SKIP
    ...     print(triton.grpc_url)

    Start and stop it from one thread. If that is the main thread, Triton ends with this process even when the
    process is killed.

    Args:
        repository: The model repository.
        host: Address to listen on.
        http_port: Port of HTTP; a free one if None. Likewise the next two.
        grpc_port: Port of gRPC.
        metrics_port: Port of the Prometheus metrics.
        threads: Threads of one operator of the embedded host; 0 takes every core.
        tritonserver: Another Triton than the one in the nvidia-pytriton wheel.
        check: ``quick`` compares sizes and the hashes of small files with the manifest before starting; ``full``
            hashes the weights too.
        ready_timeout_s: How long loading may take.
        drain_timeout_s: How long stopping may take: Triton finishes accepted requests, and waits for HTTP clients
            to close their connections, idle ones too. Whole seconds.
        echo_log: Pass Triton's warnings and errors on to stderr, once it is ready; what it says before that
            (about missing GPUs, mostly) is in ``log``, and in the error if it fails.
        arguments: More arguments for tritonserver, such as ``--grpc-use-ssl=1``.
    """

    def __init__(
        self,
        repository: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        http_port: int | None = None,
        grpc_port: int | None = None,
        metrics_port: int | None = None,
        threads: int = 0,
        tritonserver: Path | None = None,
        check: Check = "quick",
        ready_timeout_s: float = 600.0,
        drain_timeout_s: int = 10,
        echo_log: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        self._repository = Path(repository)
        self._host = host
        self._wanted_ports = {"http": http_port, "grpc": grpc_port, "metrics": metrics_port}
        self._threads = threads
        self._tritonserver = tritonserver
        self._check = check
        self._ready_timeout_s = ready_timeout_s
        self._drain_timeout_s = drain_timeout_s
        self._echo_log = echo_log
        self._more_arguments = list(arguments)
        self._ports: dict[str, int] = {}
        self._log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._id = ""  # names this one server: in its answers and in /dev/shm
        self._ready = False
        self._watch: HostWatch | None = None
        self._runtime: Runtime | None = None

    # -- what the block sees --------------------------------------------------------------------------------

    @property
    def grpc_url(self) -> str:
        """``host:port`` of gRPC."""
        return f"{in_url(self._host)}:{self._port('grpc')}"

    @property
    def http_url(self) -> str:
        """URL of HTTP."""
        return f"http://{in_url(self._host)}:{self._port('http')}"

    @property
    def metrics_url(self) -> str:
        """URL of the Prometheus metrics."""
        return f"http://{in_url(self._host)}:{self._port('metrics')}/metrics"

    @property
    def pid(self) -> int:
        """Process id of Triton."""
        return self._running.pid

    @property
    def log(self) -> str:
        """The last lines that Triton wrote."""
        return "\n".join(self._log)

    @property
    def embedded(self) -> bool:
        """Whether this project's embedded host runs the models, in Triton's python backend."""
        return self._runtime is not None and self._runtime.config_name == EMBEDDED_CONFIG

    def server_version(self) -> str:
        """Triton's version, as it says itself."""
        return str(self._get_json("/v2")["version"])

    def models(self) -> dict[str, dict[str, str]]:
        """The served models by name, each with the parameters of its configuration."""
        served = {}
        for name in exported_models(self._repository):
            config = self._get_json(f"/v2/models/{name}/config")
            served[name] = {key: value["string_value"] for key, value in config["parameters"].items()}
        return served

    def wait(self) -> int:
        """Block until Triton ends by itself; its exit code."""
        return self._running.wait()

    # -- start and stop -------------------------------------------------------------------------------------

    def __enter__(self) -> Triton:
        """Start, and return once every model is ready.

        Raises:
            ServeError: Nothing is exported, a port is taken, a model fails to load, or it takes too long.
        """
        models = exported_models(self._repository)
        runtime = self._runtime = find_runtime(self._tritonserver)
        check_config(self._repository, models, runtime.config_name)
        for name in models:
            check_integrity(self._repository / name, self._check)
        for attempt in range(_PORT_ATTEMPTS):
            self._ports = choose_ports(self._host, self._wanted_ports)
            try:
                self._start(runtime, models)
                self._wait_until_ready()
            except PortLostError:
                # Another process took a port between our choice and Triton's bind.
                self._stop()
                if None not in self._wanted_ports.values() or attempt == _PORT_ATTEMPTS - 1:
                    raise
            except BaseException:
                self._stop()
                raise
            else:
                break
        self._ready = True
        self._watch = HostWatch(self._running.pid, is_wanted=self._is_ready_version, end=self._running.terminate)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let Triton finish what it accepted, then stop it and remove all that it left."""
        self._stop()

    def _start(self, runtime: Runtime, models: list[str]) -> None:
        self._log.clear()
        self._scratch = tempfile.TemporaryDirectory(prefix="qwen3-triton-")
        self._id = f"qwen3-triton-{uuid.uuid4().hex[:12]}"
        arguments = [
            str(runtime.binary),
            f"--model-repository={self._repository.resolve()}",
            f"--backend-directory={runtime.backend_directory(Path(self._scratch.name))}",
            f"--backend-config=python,shm-region-prefix-name={self._id}",
            f"--id={self._id}",
            # Completing a configuration from the graph would undo its ragged input.
            "--disable-auto-complete-config",
            # Only what is exported; the folder may hold configurations still without weights.
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in models),
            f"--exit-timeout-secs={self._drain_timeout_s}",
        ]
        if runtime.caches.is_dir():
            arguments.append(f"--cache-directory={runtime.caches}")  # used once --cache-config asks for a cache
        if runtime.config_name is not None:
            arguments.append(f"--model-config-name={runtime.config_name}")
        for protocol, port in self._ports.items():
            arguments += [f"--{protocol}-address={listening(protocol, self._host)}", f"--{protocol}-port={port}"]
        arguments += self._more_arguments
        environment = runtime.environment()
        environment["QWEN3_TRITON_THREADS"] = str(self._threads)
        self._process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # a Ctrl-C in the terminal reaches us alone, and we stop Triton in order
            preexec_fn=die_with_parent(),
        )
        self._reader = threading.Thread(target=self._read_log, args=(self._process,), daemon=True)
        self._reader.start()

    def _read_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None  # noqa: S101 - Popen was given a pipe
        with process.stdout as lines:
            for line in lines:
                self._log.append(line.rstrip("\n"))
                if self._ready and self._echo_log and line[0] in "EW" and _LOG_PREFIX.match(line):
                    print(f"triton: {line}", end="", file=sys.stderr, flush=True)  # noqa: T201

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        while not self._is_ready():
            if self._running.poll() is not None:
                self._reader_done()
                reason = _failure(self._log)
                error = PortLostError if "already in use" in reason else ServeError
                raise error(f"Triton did not start: {reason}")
            if time.monotonic() > deadline:
                raise ServeError(
                    f"Triton was not ready within {self._ready_timeout_s:.0f} s; its last words: "
                    f"{self._log[-1] if self._log else 'none'}"
                )
            time.sleep(_POLL_S)
        self._check_metrics()

    def _check_metrics(self) -> None:
        """Metrics start last, and a Triton that lost their port goes on without: only its log tells."""
        deadline = time.monotonic() + _METRICS_START_S
        while not any("Started Metrics Service" in line for line in list(self._log)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        time.sleep(_POLL_S)  # it says so before it binds; the failure follows within milliseconds
        if any("failed to start Metrics service" in line for line in list(self._log)):
            raise PortLostError(f"Triton has no metrics: port {self._ports['metrics']} is already in use")

    def _is_ready(self) -> bool:
        """Whether this Triton is ready; on a port lost to another server, that one's answer does not count."""
        try:
            return bool(self._get_json("/v2")["name"] == self._id) and self._get("/v2/health/ready")[0] == 200
        except (OSError, HTTPException, ValueError, KeyError):
            return False

    def _stop(self) -> None:
        self._ready = False
        watch, self._watch = self._watch, None
        if self._process is not None:
            process, self._process = self._process, None
            try:
                if watch is not None:
                    watch.stop()
                if process.poll() is None:
                    process.terminate()
                    process.wait(self._drain_timeout_s + _KILL_AFTER_S)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                pass  # it would not end in time, or the user asked twice
            finally:
                _kill_group(process)
                process.wait()
                self._reader_done()
        if self._id:
            for region in Path("/dev/shm").glob(f"{self._id}*"):  # noqa: S108
                region.unlink(missing_ok=True)
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
        self._ports = {}

    def _reader_done(self) -> None:
        if self._reader is not None:
            self._reader.join(_PROBE_TIMEOUT_S)

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ServeError("Triton is not running; use it inside its `with` block")
        return self._process

    def _port(self, protocol: str) -> int:
        if not self._ports:
            raise ServeError("Triton is not running; use it inside its `with` block")
        return self._ports[protocol]

    def _is_ready_version(self, host: Host) -> bool:
        try:
            return self._get(f"/v2/models/{host.model}/versions/{host.version}/ready")[0] == HTTPStatus.OK
        except (OSError, HTTPException):  # Triton itself is gone
            return False

    def _get(self, path: str) -> tuple[int, bytes]:
        # Not urllib: a proxy in the environment must not come between us and our own child.
        connection = HTTPConnection(reachable(self._host), self._port("http"), timeout=_PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _get_json(self, path: str) -> Any:  # noqa: ANN401
        return json.loads(self._get(path)[1])


def _failure(log: collections.deque[str]) -> str:
    """Triton's own reason, without the complaints about missing GPUs that come before it."""
    reasons = [line.removeprefix("error: ") for line in log if line.startswith("error: ")]
    if not reasons:
        reasons = [
            _LOG_PREFIX.sub("", line).strip('" ') for line in log if "failed to " in line and _NO_GPU not in line
        ]
    if not reasons:
        return log[-1] if log else "it ended without a word"
    return "\n  ".join(reasons)


def die_with_parent() -> Any:  # noqa: ANN401
    """A hook for the child that has Linux end Triton when this process is killed.

    Linux ties the child to the thread that started it, so only the main thread may ask for this.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
    return lambda: prctl(set_parent_death_signal, signal.SIGTERM)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End whatever of Triton's process group is still there, its python stubs included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
