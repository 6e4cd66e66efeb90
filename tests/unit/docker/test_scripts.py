"""serve.sh and ready.sh, run with servers of the tests' own."""

import http.server
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.container import DOCKER, is_ready


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that has one answer for all, and its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("script", "shell"), [("serve.sh", "sh"), ("ready.sh", "bash")])
def test_the_scripts_parse(script: str, shell: str) -> None:
    for checker in (shell, "bash"):
        subprocess.run([checker, "-n", DOCKER / script], check=True)


def test_a_signal_reaches_triton_through_the_script(tmp_path: Path) -> None:
    """A container stops in order only if no shell stays between its first process and Triton."""
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\necho $$\nexec sleep 60\n")
    program.chmod(0o755)
    with subprocess.Popen(
        [DOCKER / "serve.sh"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert int(process.stdout.readline()) == process.pid
        finally:
            process.terminate()
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize(("status", "ready"), [(200, True), (400, False), (404, False), (500, False), (503, False)])
def test_only_200_is_ready(status: int, *, ready: bool) -> None:
    with answering(status) as port:
        assert is_ready(port, "/ready") == ready


def test_nobody_there_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert not is_ready(port, "/ready")


def test_a_server_that_says_nothing_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_ready(silent.getsockname()[1], "/ready")
