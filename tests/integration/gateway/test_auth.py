"""API keys."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from qwen3_serve.gateway.middleware.auth import read_keys
from qwen3_serve.gateway.settings import SettingsError
from support.gateway import failure_text, running


@pytest.fixture(scope="module")
def locked(gateway_triton: Triton) -> Iterator[httpx.Client]:
    settings = Settings(triton=gateway_triton.grpc_url, api_keys=("first-key", "second-key"))
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
        yield http


@pytest.mark.parametrize("key", ["first-key", "second-key"])
@pytest.mark.parametrize("header", ["Authorization", "api-key", "x-api-key", "X-API-Key"])
def test_every_key_opens_in_every_header(locked: httpx.Client, header: str, key: str) -> None:
    shown = f"Bearer {key}" if header == "Authorization" else key
    assert locked.get("/v1/models", headers={header: shown}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v2/rerank", "/embed", "/api/embed", "/", "/nonesuch"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer first-key-and-more"},
        {"authorization": "Bearer first"},
        {"authorization": "first-key"},
        {"api-key": ""},
        {"x-api-key": "\xff\xfe"},
    ],
)
def test_without_a_key_there_is_nothing(locked: httpx.Client, path: str, headers: dict[str, str]) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = locked.post(path, json={}, headers=encoded)  # type: ignore[arg-type]
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "API key" in failure_text(path, answer.json())


def test_probes_need_no_key(locked: httpx.Client) -> None:
    assert [locked.get(path).status_code for path in ("/health", "/ready", "/metrics", "/docs")] == [200] * 4


def test_keys_come_from_a_file_and_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("# for the crawler\none\n\n  two  \n")
    monkeypatch.delenv("QWEN3_GATEWAY_API_KEYS", raising=False)
    assert read_keys(None) == ()
    assert read_keys(file) == ("one", "two")
    monkeypatch.setenv("QWEN3_GATEWAY_API_KEYS", "three, one four")
    assert read_keys(file) == ("three", "one", "four", "two")
    file.write_text("# nothing\n")
    with pytest.raises(SettingsError, match="holds no API key"):
        read_keys(file)
    with pytest.raises(SettingsError, match="cannot read"):
        read_keys(tmp_path / "nonesuch")


def test_settings_do_not_show_secrets() -> None:
    shown = repr(Settings(api_keys=("opensesame",), triton_token="opensesame"))  # noqa: S106 - made up
    assert "opensesame" not in shown
