"""The start of a Triton, with an HTTP server of the test's own in its place."""

import http.server
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from qwen3_serve.errors import ServeError
from qwen3_serve.triton.http_probe import HttpProbe
from qwen3_serve.triton.log import Log
from qwen3_serve.triton.startup import Startup

MODEL = "qwen3_embedding"
CONFIG = {
    "name": MODEL,
    "input": [{"name": "input_ids", "data_type": "TYPE_INT64", "dims": ["-1"]}],
    "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": ["2"]}],
}
RIGHT = (200, {"outputs": [{"name": "embedding", "shape": [1, 2], "data": [0.6, 0.8]}]})
REFUSED = (503, {"error": "Exceeds maximum queue size"})


class Clock:
    """The time as `Startup` sees it; each of its pauses takes as long as the test says.

    Attributes:
        pause_s: seconds that a pause takes.
    """

    def __init__(self, *, pause_s: float) -> None:
        self.pause_s = pause_s
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, _: float) -> None:
        self._now += self.pause_s


@contextmanager
def starting(
    infer: Callable[[int], tuple[int, object]], *, timeout_s: float
) -> Iterator[tuple[Startup, "subprocess.Popen[str]"]]:
    """Give a start whose server answers the n-th inference, from 1, with the status and the content of `infer(n)`."""
    inferences = 0

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content: object = {"name": "id"} if self.path == "/v2" else CONFIG if self.path.endswith("/config") else {}
            self._answer(200, content)

        def do_POST(self) -> None:
            nonlocal inferences
            self.rfile.read(int(self.headers["content-length"]))
            inferences += 1
            self._answer(*infer(inferences))

        def _answer(self, status: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    log = Log()
    log.add("Started Metrics Service at 127.0.0.1:1")
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        subprocess.Popen(["sleep", "600"], text=True) as process,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield (
                Startup(
                    process,
                    server_id="id",
                    models=[MODEL],
                    probe=HttpProbe("127.0.0.1", server.server_port, arguments=()),
                    log=log,
                    join_log=lambda: None,
                    metrics_port=1,
                    timeout_s=timeout_s,
                ),
                process,
            )
        finally:
            process.kill()
            server.shutdown()
            thread.join()


def test_a_queue_that_is_full_at_first_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_serve.triton.startup.time", Clock(pause_s=1))
    asked: list[int] = []

    def infer(number: int) -> tuple[int, object]:
        asked.append(number)
        return REFUSED if number < 4 else RIGHT

    with starting(infer, timeout_s=60) as (startup, _):
        startup.wait()
    assert asked == [1, 2, 3, 4]


def test_a_queue_that_always_refuses_is_the_reason_also_if_its_last_refusal_comes_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So a hundredth of a second is left for the second request.
    monkeypatch.setattr("qwen3_serve.triton.startup.time", Clock(pause_s=59.99))

    def infer(number: int) -> tuple[int, object]:
        if number > 1:
            time.sleep(0.2)
        return REFUSED

    said = (
        f"^{MODEL} was loaded, but refused every request for 60 s: .*Exceeds maximum queue size.* "
        "Is max_queue_size or default_timeout_microseconds in its configuration too small"
    )
    with starting(infer, timeout_s=60) as (startup, _), pytest.raises(ServeError, match=said):
        startup.wait()


def test_a_wrong_first_answer_is_not_asked_for_again() -> None:
    asked: list[int] = []

    def infer(number: int) -> tuple[int, object]:
        asked.append(number)
        return 200, {"outputs": []}

    with (
        starting(infer, timeout_s=60) as (startup, _),
        pytest.raises(
            ServeError, match=r"its answer does not match its configuration: embedding should have the shape"
        ),
    ):
        startup.wait()
    assert asked == [1]


def test_a_triton_that_ends_while_its_queue_refuses_is_the_reason() -> None:
    def infer(_: int) -> tuple[int, object]:
        process.kill()
        process.wait()
        return REFUSED

    with starting(infer, timeout_s=60) as (startup, process), pytest.raises(ServeError, match="it ended with signal 9"):
        startup.wait()
