"""The life of a Triton process: ready, refused, failed, stopped, and nothing left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from qwen3_export import export
from qwen3_serve import ServeError, Triton
from qwen3_serve.triton.runtime import find_runtime

END_S = 120  # in which a command ends, also on a busy machine


class Version(NamedTuple):
    """As `sys.version_info`."""

    major: int
    minor: int


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    return folder


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _shared_memory(server_id: str) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{server_id}*"))


def test_ready_inside_the_block_and_gone_after_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Triton(repository, threads=1) as triton:
        assert triton.server_version() == "2.51.0"
        about = triton.models()["qwen3_embedding"]
        assert (about["source"], about["dimensions"]) == ("tiny", "64")
        assert triton.grpc_url.startswith("127.0.0.1:")
        family = _family(triton.pid)
        assert len(family) > 1, "the python backend runs its host in a process of its own"
        server_id = httpx.get(f"{triton.http_url}/v2", trust_env=False).json()["name"]
        assert _shared_memory(server_id)
        assert list(tmp_path.iterdir())
        listening = {c.laddr.ip for c in family[0].net_connections() if c.status == psutil.CONN_LISTEN}
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    assert not any(process.is_running() for process in family)
    assert not _shared_memory(server_id)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ServeError, match="not running"):
        _ = triton.grpc_url


def test_two_run_side_by_side_on_free_ports(repository: Path) -> None:
    with Triton(repository, threads=1) as one, Triton(repository, threads=1) as two:
        ports = [url.rpartition(":")[2] for t in (one, two) for url in (t.grpc_url, t.http_url)]
        assert len(set(ports)) == 4


def test_another_triton_by_its_path(repository: Path) -> None:
    with Triton(repository, threads=1, tritonserver=find_runtime().binary) as triton:
        assert triton.models()
    with pytest.raises(ServeError, match="no program"):
        Triton(repository, tritonserver=Path("/nonexistent/tritonserver")).__enter__()


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_each_python_gets_its_own_stub(minor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", Version(3, minor))
    stub = find_runtime().stub
    assert stub is not None
    assert stub.parent.name == f"3.{minor}"


def test_a_python_without_a_stub_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.version_info", Version(3, 99))
    with pytest.raises(ServeError, match=r"no python backend for Python 3\.99; use Python 3\.10 to 3\.13"):
        find_runtime()


@pytest.mark.parametrize("protocol", ["http", "grpc", "metrics"])
def test_a_taken_port_is_named(repository: Path, protocol: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = {f"{protocol}_port": port}
        with pytest.raises(ServeError, match=rf"{protocol} cannot listen on 127\.0\.0\.1:{port}.*--{protocol}-port"):
            Triton(repository, **ports).__enter__()


@pytest.mark.parametrize("protocol", ["http", "grpc", "metrics"])
def test_a_port_lost_after_the_check_is_not_mistaken_for_ours(
    repository: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server takes the port in the meantime, and even answers that it is ready."""
    with Triton(repository, threads=1) as other:
        chosen = {name: _free_port() for name in ("http", "grpc", "metrics")}
        taken = {"http": other.http_url, "grpc": f"//{other.grpc_url}", "metrics": other.metrics_url}
        port = urlsplit(taken[protocol]).port
        assert port is not None
        chosen[protocol] = port
        monkeypatch.setattr("qwen3_serve.triton.server.choose_ports", lambda *_: dict(chosen))
        with pytest.raises(ServeError, match="already in use"):
            Triton(repository, threads=1, http_port=1, grpc_port=1, metrics_port=1).__enter__()
        # With ports of our own choice the next attempt takes others.
        attempts = iter([chosen, {name: _free_port() for name in chosen}])
        monkeypatch.setattr("qwen3_serve.triton.server.choose_ports", lambda *_: dict(next(attempts)))
        with Triton(repository, threads=1) as triton:
            assert triton.models()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_model_that_fails_gives_tritons_reason(tmp_path: Path) -> None:
    directory = export("tiny", repository=tmp_path).directory
    config = directory / "configs" / "embedded.pbtxt"
    config.write_text(config.read_text().replace('value { string_value: "512" }', 'value { string_value: "many" }'))
    with pytest.raises(
        ServeError,
        match=r"load failed for model 'qwen3_embedding'.*the parameter max_batch_tokens must be a number.*many",
    ):
        Triton(tmp_path).__enter__()


def test_damaged_files_are_found_before_triton_starts(tmp_path: Path) -> None:
    directory = export("tiny", repository=tmp_path).directory
    originals = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    for name in ("1/model.onnx", "1/model.onnx.data", "1/model.py", "tokenizer.json"):
        path = directory / name
        content = bytearray(originals[path])
        content[len(content) // 2] ^= 1
        for damage, message in ((bytes(content), "sha256 differs"), (originals[path][:-1], "bytes instead of")):
            path.write_bytes(damage)
            with pytest.raises(ServeError, match=f"{path.name}.*{message}.*export it again"):
                Triton(tmp_path).__enter__()
        path.unlink()
        with pytest.raises(ServeError, match=f"{path.name} is missing|no exported model yet"):
            Triton(tmp_path).__enter__()
        path.write_bytes(originals[path])
    (directory / "manifest.json").unlink()
    with pytest.raises(ServeError, match=r"manifest.json is missing"):
        Triton(tmp_path).__enter__()


def test_large_files_are_hashed_on_demand(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(repository, tmp_path / "copy")
    weights = tmp_path / "copy" / "qwen3_embedding" / "1" / "model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr("qwen3_serve.triton.integrity._SMALL_BYTES", 100_000)  # now the weights count as large
    with Triton(tmp_path / "copy", threads=1) as triton:
        assert triton.models()
    with pytest.raises(ServeError, match="sha256 differs"):
        Triton(tmp_path / "copy", check="full").__enter__()


def test_it_gives_up_when_loading_takes_too_long(repository: Path) -> None:
    triton = Triton(repository, ready_timeout_s=0.01)
    with pytest.raises(ServeError, match="not ready within"):
        triton.__enter__()
    with pytest.raises(ServeError, match="not running"):
        triton.wait()


# -- the command --------------------------------------------------------------------------------------------


def _serve(repository: Path, *options: str) -> subprocess.Popen[str]:
    ports = [f"--{name}-port={_free_port()}" for name in ("http", "grpc", "metrics")]
    command = [sys.executable, "-m", "qwen3_client", "serve", f"--repository={repository}", *ports, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _until_ready(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    shown = ""
    while "Ctrl-C" not in shown:
        line = server.stdout.readline()
        assert line, server.stderr.read() if server.stderr else ""
        shown += line
    return shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_says_what_runs_and_stops_on_a_signal(repository: Path, number: signal.Signals) -> None:
    with _serve(repository, "--threads=1") as server:
        shown = _until_ready(server)
        for text in (
            "Triton 2.51.0 is ready",
            "http://127.0.0.1:",
            "Qwen3-Embedding tiny, 64 dimensions",
            "; attention: ragged, AVX",
            "Next: ",
        ):
            assert text in shown
        family = _family(server.pid)
        server.send_signal(number)
        _, errors = server.communicate(timeout=END_S)
    assert server.returncode == 0
    assert "Stopped." in errors
    assert "warning" not in errors
    assert "Traceback" not in errors
    assert not any(process.is_running() for process in family)


def test_serve_warns_if_other_machines_can_reach_triton(repository: Path) -> None:
    with _serve(repository, "--host=0.0.0.0", "--threads=1") as server:
        _until_ready(server)
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=END_S)
    (warning,) = [line for line in errors.splitlines() if "warning" in line]
    assert "on 0.0.0.0" in warning
    assert "--gateway --gateway-host 0.0.0.0" in warning
    assert "published vulnerabilities" in warning, "this is the wheel's Triton"


def test_serve_passes_arguments_on(repository: Path) -> None:
    with _serve(repository, "--", "--cache-config=local,size=1048576", "--log-verbose=1") as server:
        _until_ready(server)
        (triton,) = psutil.Process(server.pid).children()
        assert triton.cmdline()[-2:] == ["--cache-config=local,size=1048576", "--log-verbose=1"]
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=END_S)
    assert server.returncode == 0
    with _serve(repository, "model_repository") as server:
        _, errors = server.communicate(timeout=END_S)
    assert server.returncode == 2
    assert "no argument model_repository" in errors


def test_serve_ends_when_triton_does(repository: Path) -> None:
    with _serve(repository) as server:
        _until_ready(server)
        (triton,) = psutil.Process(server.pid).children()
        triton.kill()
        _, errors = server.communicate(timeout=END_S)
    assert server.returncode == 1
    assert "ended by itself" in errors


def test_triton_ends_when_serve_is_killed(repository: Path) -> None:
    with _serve(repository) as server:
        _until_ready(server)
        family = _family(server.pid)
        server.kill()
    deadline = time.monotonic() + END_S
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family):
        assert time.monotonic() < deadline, "Triton outlived the command that started it"
        time.sleep(0.1)


def test_serve_fails_with_one_line(repository: Path, tmp_path: Path) -> None:
    for folder, options, expected in (
        (tmp_path, [], "no exported model"),
        (repository, ["--tritonserver=/nonexistent"], "no program"),
    ):
        with _serve(folder, *options) as server:
            output, errors = server.communicate(timeout=END_S)
        assert server.returncode == 1
        assert output == ""
        assert expected in errors.splitlines()[-1]
        assert "Traceback" not in errors


def test_the_stub_finds_this_environment(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's python stub takes the first python3 on PATH; a foreign one must not shadow ours."""
    monkeypatch.setenv("PATH", f"/usr/bin{os.pathsep}{os.environ['PATH']}")
    with Triton(repository, threads=1) as triton:
        assert triton.models()
