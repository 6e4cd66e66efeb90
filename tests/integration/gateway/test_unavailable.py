"""A Triton that is away, comes back, or lacks a model."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import export_as_8b, failure_text, running, standing_still, wait_until

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "a"},
    "/embed": {"inputs": "a"},
    "/api/embed": {"model": "qwen3-embedding", "input": "a"},
}


def test_absence_is_said_and_recovered_from(tmp_path: Path) -> None:
    export_as_8b(tmp_path, kind="embedding")
    with Triton(tmp_path, threads=1) as triton:
        address = triton.grpc_url
    port = int(address.rpartition(":")[2])
    settings = Settings(triton=address, readiness_s=0.05)
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:

        def check_absence() -> None:
            for path, body in REQUESTS.items():
                answer = http.post(path, json=body)
                assert (answer.status_code, int(answer.headers["retry-after"])) == (503, 5)
                message = failure_text(path, answer.json())
                assert "is not available" in message
                assert str(port) not in message, "what is behind the gateway is nobody's business"
            assert http.get("/health").status_code == 200
            assert (http.get("/ready").status_code, http.get("/ready").json()) == (503, {"ready": False})

        check_absence()
        with Triton(tmp_path, threads=1, grpc_port=port):
            wait_until(lambda: http.get("/ready").status_code == 200, what="the gateway does not become ready")
            for path, body in REQUESTS.items():
                assert http.post(path, json=body).status_code == 200

            # This Triton has no reranker.
            for path, field in (("/v1/rerank", "documents"), ("/rerank", "texts")):
                answer = http.post(path, json={"query": "q", field: ["a"]})
                assert answer.status_code == (424 if path == "/rerank" else 404)
                assert "no reranker here" in failure_text(path, answer.json())
            assert len(http.get("/v1/models").json()["data"]) == len(http.get("/api/tags").json()["models"]) == 1
        check_absence()


@pytest.mark.parametrize("path", REQUESTS)
def test_no_embedding_model(gateway_triton: Triton, path: str) -> None:
    settings = Settings(triton=gateway_triton.grpc_url, model="nonesuch")
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
        answer = http.post(path, json=REQUESTS[path])
        assert answer.status_code == (424 if path == "/embed" else 404)
        assert "no embedding model here" in failure_text(path, answer.json())
        assert http.post("/v1/rerank", json={"query": "q", "documents": ["a"]}).status_code == 200
        assert http.get("/info").json()["model_id"] == "Qwen/Qwen3-Reranker-8B"


def test_a_triton_that_does_not_answer_is_not_waited_for_forever(gateway_triton: Triton) -> None:
    settings = Settings(triton=gateway_triton.grpc_url, timeout_s=0.5)
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
        # The first request loads the tokenizer too, for which half a second may be too little.
        wait_until(lambda: http.post("/embed", json={"inputs": "warm"}).is_success, what="Triton does not answer")
        with standing_still(gateway_triton):
            for path, body in REQUESTS.items():
                answer = http.post(path, json=body)
                assert answer.status_code == 504
                failure_text(path, answer.json())


def test_credentials_that_triton_refuses_are_the_gateway_s_matter(tmp_path: Path) -> None:
    export_as_8b(tmp_path, kind="embedding")
    arguments = ["--grpc-restricted-protocol=inference,model-config,model-repository:x-key=sesame"]
    with (
        Triton(tmp_path, threads=1, arguments=arguments) as triton,
        running(Settings(triton=triton.grpc_url, readiness_s=0.05)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
    ):
        for path, body in REQUESTS.items():
            answer = http.post(path, json=body)
            assert answer.status_code == 500
            message = failure_text(path, answer.json())
            assert "its log gives the reason" in message
            assert triton.grpc_url not in answer.text
            assert "x-key" not in answer.text
        assert http.get("/ready").status_code == 503
