"""`/ready` means that an answer was seen, and seeing it costs next to nothing."""

from pathlib import Path

import httpx
import pytest
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import running, wait_until
from support.hosts import FINGERPRINT, replace_host
from support.wire import texts_done

# Answers as it should until it is told to stop, by a file beside it; then with empty vectors.
FAILING = f"""
import json
from pathlib import Path
import numpy as np
import triton_python_backend_utils as pb_utils
{FINGERPRINT}
class TritonPythonModel:
    def initialize(self, args):
        self.fingerprint = fingerprint_of(args)

    def execute(self, requests):
        size = 0 if Path(__file__).with_name("broken").exists() else 64
        shapes = [pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy().shape for request in requests]
        rows = [np.eye(1, size, dtype=np.float32).repeat(shape[0], 0) for shape in shapes]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("embedding", row), named(self.fingerprint, len(row))])
            for row in rows
        ]
"""


def test_a_model_that_answers_wrongly_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = export("tiny", repository=tmp_path).directory
    replace_host(directory, FAILING)
    monkeypatch.setattr("qwen3_serve.gateway.readiness._ANSWER_MAX_AGE_S", 0.05)
    with (
        Triton(tmp_path) as triton,
        running(Settings(triton=triton.grpc_url, readiness_s=0.05)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
    ):
        assert http.get("/ready").status_code == 200
        (directory / "1" / "broken").touch()
        wait_until(lambda: http.get("/ready").status_code == 503, what="it still counts as ready")
        with Client(triton.grpc_url, model="qwen3_embedding") as client:
            assert client.is_ready(), "Triton itself never notices"
        (directory / "1" / "broken").unlink()
        wait_until(lambda: http.get("/ready").status_code == 200, what="it does not become ready again")


def test_probes_do_not_hammer(gateway_triton: Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_serve.gateway.readiness._ANSWER_MAX_AGE_S", 3600.0)
    with (
        running(Settings(triton=gateway_triton.grpc_url, readiness_s=0.001)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
    ):
        before = texts_done(gateway_triton)
        assert [http.get("/ready").status_code for _ in range(30)] == [200] * 30
        assert texts_done(gateway_triton) - before == 1, "one text for all the probes"


def test_answers_to_requests_count(gateway_triton: Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qwen3_serve.gateway.readiness._ANSWER_MAX_AGE_S", 3600.0)
    with (
        running(Settings(triton=gateway_triton.grpc_url, readiness_s=0.001)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
    ):
        assert http.post("/v1/embeddings", json={"input": "a"}).status_code == 200
        before = texts_done(gateway_triton)
        assert http.get("/ready").status_code == 200
        assert texts_done(gateway_triton) == before
