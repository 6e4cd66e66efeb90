"""A Triton process from start to stop.

``Triton`` is a context manager: inside the block the server is ready, after it nothing of it is left. It knows
processes, ports and health checks, and nothing about texts or vectors.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import ServeError
from .first_answer import check_first_answer
from .hosts import Host, HostsAtStart, HostWatch
from .integrity import Check, check_integrity
from .log import Log, is_alarm
from .plain_paths import make_scratch, plain_path
from .ports import PortLostError, choose_ports, in_url, listening, reachable
from .repository import check_config, exported_models
from .runtime import EMBEDDED_CONFIG, Runtime, find_runtime
from .waiting import Waiting

_POLL_S = 0.05
_PROBE_TIMEOUT_S = 5.0
_METRICS_START_S = 5.0
_KILL_AFTER_S = 5.0  # past the time that Triton may take to stop
_PORT_ATTEMPTS = 5
_LAST_WORDS_S = 0.5  # that a Triton gets to give its own reason when a host ended
# "--http-restricted-api=inference,model-config:<header>=<value>"
_RESTRICTED = "--http-restricted-api"


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
        report: Called with a line every ten seconds while starting or stopping takes longer, from another thread.
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
        report: Callable[[str], None] | None = None,
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
        self._headers = _headers(arguments)
        self._ports: dict[str, int] = {}
        self._report = report
        self._doing = ""  # what takes its time
        self._log = Log()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._id = ""  # names this one server: in its answers and in /dev/shm
        self._ready = False
        self._watch: HostWatch | None = None
        self._loaded: dict[Host, int] = {}
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
        return "\n".join(self._log.lines)

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
        """Start, and return once every model is ready and gave an answer.

        Raises:
            ServeError: Nothing is exported, a port is taken, a model fails to load or to answer, or it takes too long.
        """
        with Waiting(self._report, lambda: self._doing):
            return self._enter()

    def _enter(self) -> Triton:
        models = exported_models(self._repository)
        runtime = self._runtime = find_runtime(self._tritonserver)
        check_config(self._repository, models, runtime.config_name)
        for name in models:
            self._doing = f"checking the files of {name}"
            check_integrity(self._repository / name, self._check)
        for attempt in range(_PORT_ATTEMPTS):
            self._ports = choose_ports(self._host, self._wanted_ports)
            try:
                self._start(runtime, models)
                self._wait_until_ready(models)
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
        self._watch = HostWatch(
            self._running.pid, loaded=self._loaded, is_wanted=self._is_ready_version, end=self._running.terminate
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let Triton finish what it accepted, then stop it and remove all that it left."""
        self._doing = "stopping Triton, which finishes what it accepted"
        with Waiting(self._report, lambda: self._doing):
            self._stop()

    def _start(self, runtime: Runtime, models: list[str]) -> None:
        self._log = Log()
        self._scratch = make_scratch()
        scratch = Path(self._scratch.name)
        self._id = f"qwen3-triton-{uuid.uuid4().hex[:12]}"
        arguments = [
            str(runtime.binary),
            f"--model-repository={plain_path(self._repository.resolve(), scratch=scratch, name='repository')}",
            f"--backend-directory={runtime.backend_directory(scratch)}",
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
        environment = runtime.environment(scratch)
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
        self._reader = threading.Thread(target=self._read_log, args=(self._process, self._log), daemon=True)
        self._reader.start()

    def _read_log(self, process: subprocess.Popen[str], log: Log) -> None:
        assert process.stdout is not None  # noqa: S101 - Popen was given a pipe
        with process.stdout as lines:
            for line in lines:
                log.add(line.rstrip("\n"))
                if self._ready and self._echo_log and is_alarm(line):
                    print(f"triton: {line}", end="", file=sys.stderr, flush=True)  # noqa: T201

    def _wait_until_ready(self, models: list[str]) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        hosts = HostsAtStart(self._running.pid)
        while not self._is_ready():
            self._doing = f"loading {', '.join(name for name in models if not self._log.has_loaded(name)) or 'Triton'}"
            if (code := self._running.poll()) is not None:
                self._reader_done()
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                raise self._failed_start(f"it ended with {how}; its last words: {self._log.last}")
            if (ended := hosts.ended()) is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._running.wait(_LAST_WORDS_S)
                    self._reader_done()
                names = f"the process of {', '.join(ended)}" if ended else "a model's process"
                said = self._log.hosts_words() or "no word from it (was it killed, out of memory?)"
                raise self._failed_start(f"{names} ended while it was loading: {said}")
            if time.monotonic() > deadline:
                raise ServeError(
                    f"Triton was not ready within {self._ready_timeout_s:.0f} s; its last words: {self._log.last}"
                )
            time.sleep(_POLL_S)
        self._loaded = hosts.loaded()  # before the first answers, for which memory may not suffice
        for name in models:
            self._doing = f"waiting for the first answer of {name}"
            self._check_first_answer(name, timeout_s=max(deadline - time.monotonic(), _PROBE_TIMEOUT_S))
        self._check_metrics()

    def _failed_start(self, otherwise: str) -> ServeError:
        """The error for a start that failed, with Triton's own reason if it gave one."""
        reason = self._log.failure() or otherwise
        error = PortLostError if "already in use" in reason else ServeError
        return error(f"Triton did not start: {reason}")

    def _check_first_answer(self, model: str, *, timeout_s: float) -> None:
        path = f"/v2/models/{model}"
        try:
            check_first_answer(
                self._get_json(f"{path}/config"),
                lambda body: self._exchange("POST", f"{path}/infer", body, timeout_s=timeout_s),
            )
        except (OSError, HTTPException) as error:
            raise ServeError(f"{model} was loaded, but did not answer within {timeout_s:.0f} s: {error}") from error

    def _check_metrics(self) -> None:
        """Metrics start last, and a Triton that lost their port goes on without: only its log tells."""
        deadline = time.monotonic() + _METRICS_START_S
        while not self._log.says("Started Metrics Service") and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        time.sleep(_POLL_S)  # it says so before it binds; the failure follows within milliseconds
        if self._log.says("failed to start Metrics service"):
            raise PortLostError(f"Triton has no metrics: port {self._ports['metrics']} is already in use")

    def _is_ready(self) -> bool:
        """Whether this Triton is ready; on a port lost to another server, that one's answer does not count."""
        try:
            return bool(self._get_json("/v2")["name"] == self._id) and self._get("/v2/health/ready")[0] == 200
        except (OSError, HTTPException, ValueError, KeyError):
            return False

    def _stop(self) -> None:
        was_ready, self._ready = self._ready, False
        watch, self._watch = self._watch, None
        if self._process is not None:
            process, self._process = self._process, None
            try:
                if watch is not None:
                    watch.stop()
                if was_ready and process.poll() is None:  # before, it has accepted nothing
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
        return self._exchange("GET", path)

    def _exchange(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = _PROBE_TIMEOUT_S
    ) -> tuple[int, bytes]:
        # Not urllib: a proxy in the environment must not come between us and our own child.
        connection = HTTPConnection(reachable(self._host), self._port("http"), timeout=timeout_s)
        try:
            connection.request(method, path, body, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _get_json(self, path: str) -> Any:  # noqa: ANN401
        return json.loads(self._get(path)[1])


def _headers(arguments: Sequence[str]) -> dict[str, str]:
    """The headers that open what the arguments restrict."""
    joined = " ".join(arguments).replace(f"{_RESTRICTED} ", f"{_RESTRICTED}=")
    words = [word.removeprefix(f"{_RESTRICTED}=") for word in joined.split() if word.startswith(f"{_RESTRICTED}=")]
    opened = [word.partition(":")[2] for word in words]  # "protocols:header=value"
    return dict(header.split("=", 1) for header in opened if "=" in header)


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
