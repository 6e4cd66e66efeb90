"""`qwen3-triton status` and `reload`: what they print of what a server says. On a real Triton: integration/e2e."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from qwen3_client import ModelInfo
from qwen3_client.cli import reload
from qwen3_client.cli.main import main

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport


@pytest.fixture
def index(transport: "SlowTransport", monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The server's repository index, to be filled."""
    entries: list[dict[str, Any]] = []

    async def index(*, timeout_s: float) -> list[dict[str, Any]]:
        assert timeout_s > 0
        return entries

    monkeypatch.setattr(transport, "index", index)
    return entries


def test_a_table_of_the_models(
    index: list[dict[str, Any]], transport: "SlowTransport", capsys: pytest.CaptureFixture[str]
) -> None:
    index += [
        {"name": "qwen3_reranker", "version": "2", "state": "READY"},
        {"name": "qwen3_embedding", "version": "1", "state": "READY"},
        {"name": "fresh"},
        {"name": "gone", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "no such file\n" * 10},
    ]
    parameters = transport.configs["qwen3_embedding"]["parameters"]
    parameters["model_sha256"] = {"string_value": "a" * 64}
    fingerprint = ModelInfo.from_config(transport.configs["qwen3_embedding"]).fingerprint
    assert main(["status"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert " ".join(lines[0]).startswith(
        "Triton 2.51.0 (fake) at grpc://localhost:8001 is ready; this is qwen3-triton "
    )
    assert lines[2:] == [
        ["model", "version", "checkpoint", "precision", "dimensions", "max_tokens", "fingerprint", "state"],
        ["broken", "1", "-", "-", "-", "-", "-", "unavailable,", "see", "below"],
        ["fresh", "-", "-", "-", "-", "-", "-", "not", "loaded"],
        ["gone", "1", "-", "-", "-", "-", "-", "unavailable:", "unloaded"],
        ["qwen3_embedding", "1", "Qwen3-Embedding", "tiny", "fp32", "64", "128", fingerprint, "ready"],
        ["qwen3_reranker", "2", "Qwen3-Reranker", "tiny", "fp32", "-", "512", "-", "ready"],
        [],
        ["broken,", "version", "1:", *["no", "such", "file"] * 10],
    ]


def test_not_ready_is_1(
    index: list[dict[str, Any]], transport: "SlowTransport", capsys: pytest.CaptureFixture[str]
) -> None:
    index.append({"name": "fresh"})
    assert main(["status", "http://127.0.0.1:8000"]) == 1
    said = capsys.readouterr().out
    assert "http://127.0.0.1:8000 is ready" in said
    assert said.endswith(
        "No Qwen3-Embedding or Qwen3-Reranker model is ready: export one, then run `qwen3-triton reload`\n"
    )
    index.append({"name": "qwen3_embedding", "version": "1", "state": "READY"})
    assert main(["status"]) == 0
    transport.is_closed = False
    transport.is_ready_itself = False
    assert main(["status"]) == 1
    assert "is not ready" in capsys.readouterr().out


@pytest.mark.usefixtures("transport")
def test_the_url_may_come_from_the_environment(
    index: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    index.append({"name": "qwen3_embedding", "version": "1", "state": "READY"})
    monkeypatch.setenv("QWEN3_TRITON_URL", "http://there:9000")
    for arguments, url in (
        ([], "http://there:9000"),
        (["--url", "here"], "grpc://here:8001"),
        (["b"], "grpc://b:8001"),
    ):
        assert main(["status", *arguments]) == 0
        assert f" at {url} is ready" in capsys.readouterr().out
    monkeypatch.setenv("QWEN3_TRITON_URL", "")
    assert main(["status"]) == 0
    assert " at grpc://localhost:8001 is ready" in capsys.readouterr().out
    monkeypatch.setenv("QWEN3_TRITON_URL", "there:99999")
    assert main(["status"]) == 1
    assert "cannot use the URL 'there:99999'" in capsys.readouterr().err


def test_reload_takes_what_is_loaded_and_what_was_exported_since(index: list[dict[str, Any]], tmp_path: Path) -> None:
    index += [
        {"name": "loaded", "version": "1", "state": "READY"},
        {"name": "fresh"},
        {"name": "empty"},
        {"name": "gone", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
    ]
    for name in ("fresh", "gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
    (tmp_path / "empty").mkdir()
    chosen = reload.chosen_models
    assert chosen([], index, repository=tmp_path) == ["loaded", "fresh"]
    assert chosen([], index, repository=tmp_path / "elsewhere") == ["loaded"]
    assert chosen(["gone", "empty", "gone"], index, repository=tmp_path) == ["gone", "empty"]


def test_reload_names_a_model_that_does_not_exist(
    index: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    index += [{"name": "a", "version": "1", "state": "READY"}, {"name": "b"}]
    assert main(["reload", "a", "nonesuch"]) == 2
    assert capsys.readouterr().err == (
        "qwen3-triton reload: no model nonesuch in the server's repository; it holds: a, b\n"
    )
