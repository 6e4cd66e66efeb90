"""A Triton process from start to stop.

`Triton` is a context manager: inside the block the server is ready, after it nothing of it is left. It knows processes,
ports and folders, and nothing about texts or vectors. `process` starts and ends the program, `startup` waits until it
is ready, `hosts` watches its hosts.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from ..errors import ServeError
from .hosts import HostWatch
from .http_probe import HttpProbe
from .integrity import Check, check_integrity
from .log import Log
from .plain_paths import make_scratch, plain_path
from .ports import PortLostError, choose_ports, in_url, listening
from .process import TritonProcess
from .progress import ProgressMessages
from .repository import check_config, exported_models
from .runtime import EMBEDDED_CONFIG, Runtime, find_runtime
from .startup import Startup
from .text_models import TextModel, text_models, write_text_models
from .text_tensors import TextTensors

_KILL_AFTER_S = 5.0  # beyond `drain_timeout_s`
_PORT_ATTEMPTS = 5


class Triton:
    """A running Triton that serves every exported model of a repository.

    >>> with Triton("model_repository") as triton:  # doctest: +SKIP
    ...     print(triton.grpc_url)

    Start and stop it from one thread. If that is the main thread, Triton ends with this process even when the
    process is killed.

    Args:
        repository: The model repository.
        host: Address to listen on.
        http_port: HTTP port; None for a free one. The same holds for the next two.
        grpc_port: gRPC port.
        metrics_port: Port of the Prometheus metrics.
        threads: Threads of one operator of the embedded host; 0 for all cores.
        tritonserver: Path of another Triton than the one in the nvidia-pytriton wheel.
        check: `quick` compares sizes and the hashes of small files with the manifest before starting; `full` hashes
            the weights too.
        ready_timeout_s: How long loading may take.
        drain_timeout_s: How long stopping may take: Triton finishes accepted requests, and waits for HTTP clients to
            close their connections, also idle ones. Whole seconds.
        echo_log: Whether to copy Triton's warnings and errors to stderr once it is ready. Earlier ones, mostly about
            missing GPUs, are in `log`, and in the error if the start fails.
        arguments: Further arguments for tritonserver, such as `--grpc-use-ssl=1`.
        text: Serve a text model beside each packed model, with tensors of these names; None for none.
        report: Called from another thread with a line every ten seconds while starting or stopping takes longer.
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
        text: TextTensors | None = None,
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
        self._text = text
        self._report = report
        self._step = ""  # what is being done now, for `report`
        self._runtime: Runtime | None = None
        self._text_models: list[TextModel] = []
        # Of the running server:
        self._id = ""  # unique; in its responses and in the names of its shared memory
        self._ports: dict[str, int] = {}
        self._log = Log()
        self._process: TritonProcess | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._startup: Startup | None = None
        self._watch: HostWatch | None = None

    @property
    def grpc_url(self) -> str:
        """`host:port` of gRPC."""
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
        """The last lines of Triton's log."""
        return "\n".join(self._log.lines)

    @property
    def embedded(self) -> bool:
        """Whether this project's embedded host runs the models, in Triton's python backend."""
        return self._runtime is not None and self._runtime.config_name == EMBEDDED_CONFIG

    def server_version(self) -> str:
        """Return Triton's version."""
        return str(self._probe.get_json("/v2")["version"])

    def models(self) -> dict[str, dict[str, str]]:
        """Return the served models by name, each with the parameters of its configuration."""
        served = {}
        for name in exported_models(self._repository):
            config = self._probe.get_json(f"/v2/models/{name}/config")
            served[name] = {key: value["string_value"] for key, value in config["parameters"].items()}
        return served

    @property
    def text_models(self) -> list[str]:
        """The names of the served text models; empty without `text`."""
        return [model.name for model in self._text_models]

    def attention_of(self, model: str) -> str | None:
        """Return which attention a model runs, and why if not the fastest; None if its host is not the embedded one."""
        return self._log.attention_of(model)

    def wait(self) -> int:
        """Block until Triton ends by itself; return its exit code."""
        return self._running.wait()

    def __enter__(self) -> Triton:
        """Start, and return once every model is ready and has given a correct first answer.

        Raises:
            ServeError: Nothing is exported, a port is taken, a model fails to load or to answer, or it takes too long.
        """
        with ProgressMessages(self._report, self._current_step):
            self._start_checked()
        return self

    def _start_checked(self) -> None:
        models = exported_models(self._repository)
        runtime = self._runtime = find_runtime(self._tritonserver)
        for name in models:
            self._step = f"checking the files of {name}"
            check_integrity(self._repository / name, self._check)
        check_config(self._repository, models, runtime.config_name)
        if self._text is not None:
            self._text_models = text_models(
                self._repository.resolve(), models, config_file=runtime.config_file, tensors=self._text
            )
        for attempt in range(_PORT_ATTEMPTS):
            self._ports = choose_ports(self._host, self._wanted_ports)
            try:
                startup = self._startup = self._start(runtime, models)
                startup.wait()
            except PortLostError:
                # Another process took a port after we chose it and before Triton bound it.
                self._stop()
                if None not in self._wanted_ports.values() or attempt == _PORT_ATTEMPTS - 1:
                    raise
            except BaseException:
                self._stop()
                raise
            else:
                break
        self._startup = None
        if self._process is not None:
            self._process.set_ready()
        probe = self._probe
        self._watch = HostWatch(
            self._running.pid,
            loaded=startup.hosts,
            is_wanted=lambda host: probe.is_version_ready(host.model, host.version),
            end=self._running.terminate,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let Triton finish the requests that it accepted, then stop it and remove its temporary files."""
        self._step = "stopping Triton, which finishes accepted requests"
        with ProgressMessages(self._report, self._current_step):
            self._stop()

    def _start(self, runtime: Runtime, models: list[str]) -> Startup:
        self._log = Log()
        self._scratch = make_scratch()
        scratch = Path(self._scratch.name)
        self._id = f"qwen3-triton-{uuid.uuid4().hex[:12]}"
        environment = runtime.environment(scratch)
        environment["QWEN3_TRITON_THREADS"] = str(self._threads)
        process = self._process = TritonProcess(
            self._command(runtime, models, scratch),
            environment=environment,
            server_id=self._id,
            log=self._log,
            echo_log=self._echo_log,
        )
        return Startup(
            process.popen,
            server_id=self._id,
            models=[*models, *self.text_models],
            probe=self._probe,
            log=self._log,
            join_log=process.join_log,
            metrics_port=self._ports["metrics"],
            timeout_s=self._ready_timeout_s,
        )

    def _command(self, runtime: Runtime, models: list[str], scratch: Path) -> list[str]:
        """Return Triton's command line."""
        command = [
            str(runtime.binary),
            f"--model-repository={plain_path(self._repository.resolve(), scratch=scratch, name='repository')}",
            f"--backend-directory={runtime.backend_directory(scratch)}",
            f"--backend-config=python,shm-region-prefix-name={self._id}",
            f"--id={self._id}",
            # Completing a configuration from the graph would undo its ragged input.
            "--disable-auto-complete-config",
            # Only exported models: the repository may also hold folders that have no weights yet.
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in (*models, *self.text_models)),
            f"--exit-timeout-secs={self._drain_timeout_s}",
        ]
        if self._text_models:
            write_text_models(self._text_models, scratch / "text_models", config_file=runtime.config_file)
            command.append(f"--model-repository={scratch / 'text_models'}")
        if runtime.caches.is_dir():
            command.append(f"--cache-directory={runtime.caches}")  # unused unless --cache-config asks for a cache
        if runtime.config_name is not None:
            command.append(f"--model-config-name={runtime.config_name}")
        for protocol, port in self._ports.items():
            command += [f"--{protocol}-address={listening(protocol, self._host)}", f"--{protocol}-port={port}"]
        return command + self._more_arguments

    def _stop(self) -> None:
        watch, self._watch = self._watch, None
        process, self._process = self._process, None
        self._startup = None
        if process is not None:
            try:
                with contextlib.suppress(KeyboardInterrupt):  # the user pressed Ctrl-C again
                    if watch is not None:
                        watch.stop()
                    process.drain(self._drain_timeout_s + _KILL_AFTER_S)
            finally:
                process.kill()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
        self._ports = {}

    def _current_step(self) -> str:
        return self._step if self._startup is None else self._startup.step

    @property
    def _probe(self) -> HttpProbe:
        return HttpProbe(self._host, self._port("http"), arguments=self._more_arguments)

    @property
    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise ServeError("Triton is not running; use it inside its `with` block")
        return self._process.popen

    def _port(self, protocol: str) -> int:
        if not self._ports:
            raise ServeError("Triton is not running; use it inside its `with` block")
        return self._ports[protocol]
