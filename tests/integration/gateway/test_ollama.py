"""Ollama's API, through Ollama's own client, and as its users call it from the shell."""

import json
import subprocess
from collections.abc import Iterator

import httpx
import numpy as np
import ollama
import pytest
from qwen3_client import Client
from support.gateway import Gateway

MODEL = "qwen3-embedding:8b"
TEXTS = ["Why is the sky blue?", "Why is the grass green?", "Процедура банкротства физических лиц"]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[ollama.Client]:
    with ollama.Client(host=gateway.url, trust_env=False) as made:
        yield made


def test_embed_gives_what_the_client_gives(client: ollama.Client, direct: Client) -> None:
    answer = client.embed(model=MODEL, input=TEXTS, keep_alive="5m", options={"num_ctx": 4096, "temperature": 0.5})
    np.testing.assert_array_equal(np.array(answer.embeddings, np.float32), direct.encode_document(TEXTS))
    assert answer.model == MODEL
    assert answer.prompt_eval_count == sum(len(row) for row in direct.tokenize(TEXTS))
    assert (answer.total_duration or 0) > 0
    short = client.embed(model="qwen3-embedding", input=TEXTS[0], dimensions=32)
    np.testing.assert_array_equal(
        np.array(short.embeddings, np.float32), direct.encode_document(TEXTS[:1], dimensions=32)
    )


def test_the_older_route(client: ollama.Client, direct: Client) -> None:
    answer = client.embeddings(model=MODEL, prompt=TEXTS[0])
    np.testing.assert_array_equal(np.array(answer.embedding, np.float32), direct.encode_document(TEXTS[0]))


def test_the_line_that_users_have_in_their_notes_works_with_only_the_port_changed(
    gateway: Gateway, direct: Client
) -> None:
    line = """curl http://localhost:11434/api/embeddings -d '{
  "model": "qwen3-embedding:8b",
  "prompt": "Процедура банкротства физических лиц"
}'"""
    port = gateway.url.rpartition(":")[2]
    done = subprocess.run(
        ["bash", "-c", line.replace("11434", port).replace("localhost", "127.0.0.1")],
        capture_output=True,
        check=True,
        timeout=60,
    )
    expected = direct.encode_document("Процедура банкротства физических лиц")
    np.testing.assert_array_equal(np.float32(json.loads(done.stdout)["embedding"]), expected)


def test_models_are_listed_and_described(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == [MODEL, "qwen3-reranker:8b"]
    assert [model.model for model in client.ps().models] == [MODEL, "qwen3-reranker:8b"]
    shown = client.show(MODEL)
    assert shown.details is not None
    assert shown.details.parameter_size == "8B"
    assert shown.capabilities == ["embedding"]


def test_a_request_without_a_text_loads_the_model(http: httpx.Client) -> None:
    assert http.post("/api/embeddings", json={"model": MODEL}).json() == {"embedding": []}
    assert http.post("/api/embed", json={"model": MODEL}).json()["embeddings"] == []
    assert http.post("/api/embed", json={"model": "llama3"}).status_code == 404
    assert "version" in http.get("/api/version").json()


def test_failures_are_those_that_the_client_knows(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="no model 'llama3' here") as caught:
        client.embed(model="llama3", input="a")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match=r"no model 'qwen3-embedding:0\.6b' here"):
        client.embed(model="qwen3-embedding:0.6b", input="a")
    with pytest.raises(ollama.ResponseError, match="longer than") as caught:
        client.embed(model=MODEL, input="long " * 2000, truncate=False)
    assert caught.value.status_code == 400
    assert len(client.embed(model=MODEL, input="long " * 2000).embeddings) == 1
