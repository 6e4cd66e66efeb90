"""ONNX Runtime sends nothing to Microsoft from our processes, and keeps no identifier for it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from qwen3_export import export

# ONNX Runtime is silent by itself where it sees that it is tested.
_SILENT_WITH = ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
KEPT = ".cache/Microsoft"


def run(home: Path, *command: str) -> str:
    """Run Python with a home of its own; what it wrote to stderr."""
    environment = {key: value for key, value in os.environ.items() if key not in _SILENT_WITH}
    result = subprocess.run(
        [sys.executable, *command],
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


@pytest.fixture
def no_home() -> Path:
    return Path("/proc/nonexistent")  # nobody, not even root, can write there


def test_onnx_runtime_would_send_events(tmp_path: Path, no_home: Path) -> None:
    """What the other tests find absent is there without us: else they would prove nothing."""
    run(tmp_path, "-c", "import onnxruntime")
    assert list((tmp_path / KEPT).rglob("onnxruntime.db"))
    assert "telemetry" in run(no_home, "-c", "import onnxruntime")


def test_what_opens_sessions_sends_nothing(tmp_path: Path, no_home: Path) -> None:
    script = "from qwen3_export.cpu import int8_sums_saturate; int8_sums_saturate()"
    assert "telemetry" not in run(no_home, "-c", script)
    run(tmp_path, "-c", script)
    assert not (tmp_path / KEPT).exists()


def test_serve_sends_nothing(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path / "repository")
    home = tmp_path / "home"
    home.mkdir()
    ports = []
    for name in ("http", "grpc", "metrics"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(f"--{name}-port={probe.getsockname()[1]}")
    environment = {key: value for key, value in os.environ.items() if key not in _SILENT_WITH}
    with subprocess.Popen(
        [sys.executable, "-m", "qwen3_client", "serve", f"--repository={tmp_path / 'repository'}", *ports],
        env={**environment, "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            while "Ctrl-C" not in (line := server.stdout.readline()):
                assert line, "serve ended"
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        finally:
            server.kill()
    assert not (home / KEPT).exists()
