"""The process of a contender, seen from outside: it sends commands and reads answers, with time-outs."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bench.peers.workloads import Text

_ROOT = Path(__file__).parents[2]


class WorkerFailedError(Exception):
    """A contender failed; the message says why."""


class Worker:
    """One process. As a context manager, it ends the process and everything that the process started.

    Args:
        module: The process's module in `bench.peers.workers`.
        python: Its interpreter.
        log: The file for its other output.
    """

    def __init__(self, module: str, *, python: Path, log: Path) -> None:
        self._module, self._python, self._log_path = module, python, log

    def __enter__(self) -> Worker:
        self._log = self._log_path.open("ab")
        quiet = {
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "DO_NOT_TRACK": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            "PYTHONPATH": "",
        }
        self._process = subprocess.Popen(
            [str(self._python), "-m", f"bench.peers.workers.{self._module}"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=os.environ | quiet,
            start_new_session=True,  # so that Ctrl-C reaches this process only
        )
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        stdin, stdout = self._pipes()
        started: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = psutil.Process(self._process.pid)
            started = [worker, *worker.children(recursive=True)]
        try:
            stdin.close()
            if exc_type is None:
                self._process.wait(60)
        except (OSError, subprocess.TimeoutExpired):
            pass
        finally:
            for process in started:  # a worker that failed or was interrupted may leave a server behind
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait()
            stdout.close()
            self._log.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def do(self, command: str, *, timeout_s: float = 900.0, **arguments: object) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            WorkerFailedError: The process reports an error, ends, or takes too long.
        """
        stdin, stdout = self._pipes()
        try:
            stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
            stdin.flush()
        except OSError as error:
            raise self._ended() from error
        ends = time.monotonic() + timeout_s
        received = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not received.endswith(b"\n"):
                if not selector.select(max(0.0, ends - time.monotonic())):
                    raise WorkerFailedError(f"{command} took longer than {timeout_s:.0f} s")
                part = os.read(stdout.fileno(), 1 << 16)
                if not part:
                    raise self._ended()
                received += part
        answer: dict[str, Any] = json.loads(received)
        if "error" in answer:
            raise WorkerFailedError(answer["error"])
        return answer

    def measure(
        self, groups: Sequence[Sequence[Text]], *, width: int, warm_up: Sequence[Sequence[Text]], timeout_s: float
    ) -> dict[str, Any]:
        """Time groups of texts.

        Returns:
            `seconds` of each group, `processor_s` of all groups, `foreign`, the share of the cores' time that others
            took meanwhile, and `peak_memory` in bytes.
        """
        return self.do(
            "measure",
            groups=[_items(group) for group in groups],
            warm_up=[_items(group) for group in warm_up],
            width=width,
            timeout_s=timeout_s,
        )

    def vectors(self, texts: Sequence[Text], *, width: int) -> list[list[float]]:
        """Return the unit vectors of texts."""
        found: list[list[float]] = self.do("vectors", texts=_items(texts), width=width)["vectors"]
        return found

    def arrivals(self, at_s: Sequence[float], texts: Sequence[Text], *, width: int, timeout_s: float) -> dict[str, Any]:
        """Embed texts that arrive at given times.

        Returns:
            `latencies`, the seconds from the arrival of each text to its vector, and `foreign`, as `measure` has it.
        """
        return self.do("arrivals", at=list(at_s), texts=_items(texts), width=width, timeout_s=timeout_s)

    def _pipes(self) -> tuple[Any, Any]:
        return self._process.stdin, self._process.stdout

    def _ended(self) -> WorkerFailedError:
        code = self._process.wait()
        last = self._log_path.read_text(errors="replace").strip().splitlines()[-1:]
        return WorkerFailedError(f"its process ended with code {code}: {(last or ['it printed nothing'])[0]}")


def _items(texts: Sequence[Text]) -> list[Mapping[str, Any]]:
    return [{"text": text.text, "ids": text.ids} for text in texts]


def own_python() -> Path:
    """Return this project's interpreter."""
    return Path(sys.executable)
