"""What an operator sees: probes, metrics, the access log, traces."""

import json
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings, create_app
from qwen3_serve.gateway.settings import SettingsError
from support.gateway import running, wait_until

TEXT = "a text that no log may hold"


@pytest.fixture
def fresh(gateway_triton: Triton) -> Iterator[httpx.Client]:
    """A gateway that has counted nothing yet."""
    with (
        running(Settings(triton=gateway_triton.grpc_url)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
    ):
        yield http


def numbers(http: httpx.Client) -> dict[tuple[str, ...], float]:
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def test_metrics_count_what_happened(fresh: httpx.Client) -> None:
    tokens = fresh.post("/v1/embeddings", json={"input": ["a", "b", "c"]}).json()["usage"]["total_tokens"]
    fresh.post("/v1/embeddings", json={"input": 5})
    fresh.get(f"/{TEXT}")
    fresh.get("/v1/models/nonesuch")
    found = numbers(fresh)
    assert found["qwen3_gateway_requests_total", "/v1/embeddings", "200", "POST"] == 1
    assert found["qwen3_gateway_requests_total", "/v1/embeddings", "400", "POST"] == 1
    assert found["qwen3_gateway_requests_total", "404", "GET", "other"] == 1
    assert found["qwen3_gateway_requests_total", "/v1/models/{name}", "404", "GET"] == 1
    assert found["qwen3_gateway_failures_total", "/v1/embeddings", "malformed"] == 1
    assert found["qwen3_gateway_items_total", "/v1/embeddings"] == 3
    assert found["qwen3_gateway_tokens_total", "/v1/embeddings"] == tokens
    assert found["qwen3_gateway_request_seconds_count", "/v1/embeddings"] == 2
    assert found["qwen3_gateway_request_seconds_bucket", "+Inf", "/v1/embeddings"] == 2
    assert found["qwen3_gateway_requests_in_progress",] == 1, "the one that asks"
    assert found["qwen3_gateway_pending_items",] == found["qwen3_gateway_pending_tokens",] == 0
    assert TEXT not in fresh.get("/metrics").text


def test_the_access_log_tells_of_requests_and_not_of_texts(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    def logged() -> list[str]:
        return [r.message for r in caplog.records if r.name == "qwen3_serve.gateway.access"]

    with caplog.at_level(logging.INFO):
        http.post("/v1/embeddings", json={"input": [TEXT, TEXT]}, headers={"x-request-id": "mine-1"})
        http.post("/v1/embeddings", json={"input": TEXT, "dimensions": 1})
        http.post("/v1/rerank", json={"query": TEXT, "documents": {TEXT: TEXT}})
        http.get(f"/{TEXT}?{TEXT}", headers={"authorization": f"Bearer {TEXT}"})
        wait_until(lambda: len(logged()) >= 4, what="a request is not logged")  # each is just after its response
    lines = [json.loads(line) for line in logged()]
    assert [(line["method"], line["route"], line["status"], line["items"]) for line in lines] == [
        ("POST", "/v1/embeddings", 200, 2),
        ("POST", "/v1/embeddings", 400, 0),
        ("POST", "/v1/rerank", 422, 0),
        ("GET", "other", 404, 0),
    ]
    assert lines[0]["request_id"] == "mine-1"
    assert lines[0]["tokens"] > 2
    assert all(line["ms"] > 0 for line in lines)
    assert TEXT not in caplog.text


def test_every_answer_names_its_request(http: httpx.Client) -> None:
    assert http.get("/health", headers={"x-request-id": "abc.DEF-1"}).headers["x-request-id"] == "abc.DEF-1"
    unsafe = http.get("/health", headers={"x-request-id": 'a" b'}).headers["x-request-id"]
    assert len(unsafe) == 32, "an id that is not safe to log is replaced"
    assert http.get("/health").headers["x-request-id"] != unsafe


def test_the_document_describes_every_route(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/", "/health", "/metrics", "/ready",
        "/decode", "/embed", "/info", "/invocations", "/rerank", "/similarity", "/tokenize",
        "/reranker/health", "/reranker/info", "/reranker/rerank",
        "/api/embed", "/api/embeddings", "/api/ps", "/api/pull", "/api/show", "/api/tags", "/api/version",
        "/embeddings", "/models", "/v1/embeddings", "/v1/models", "/v1/models/{name}",
        "/openai/deployments/{deployment}/embeddings", "/openai/v1/embeddings", "/openai/v1/models",
        "/v1/embed", "/v2/embed", "/v1/rerank", "/v2/rerank",
        "/v1/health/live", "/v1/health/ready", "/v1/metadata", "/v1/ranking", "/v1/retrieval/{model}/reranking",
        "/detokenize", "/ping", "/pooling", "/score", "/v1/score", "/version",
    }  # fmt: skip
    schemas = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    bodies = [each["$ref"] for schema in schemas for each in schema.get("anyOf", [schema])]
    assert all(body.rpartition("/")[2] in document["components"]["schemas"] for body in bodies)
    assert http.get("/docs").status_code == 200


class Collector(BaseHTTPRequestHandler):
    """Takes what an OpenTelemetry collector takes."""

    received: list[ExportTraceServiceRequest] = []  # noqa: RUF012 - one collector in the process

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            self.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def test_a_configured_gateway_sends_traces(gateway_triton: Triton, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = Thread(target=collector.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.delenv("OTEL_TRACES_EXPORTER", raising=False)
        with running(Settings(triton=gateway_triton.grpc_url)) as gateway:
            httpx.post(
                f"{gateway.url}/v1/embeddings",
                json={"input": TEXT},
                headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"},
                trust_env=False,
                timeout=60,
            )
        collector.shutdown()
        thread.join()
    spans = [
        span
        for request in Collector.received
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["POST /v1/embeddings"]
    assert (spans[0].trace_id.hex(), spans[0].parent_span_id.hex()) == ("ab" * 16, "cd" * 8)
    facts = {pair.key: pair.value for pair in spans[0].attributes}
    assert facts["http.response.status_code"].int_value == 200
    assert facts["qwen3_serve.gateway.items"].int_value == 1
    assert TEXT not in str(spans)


def test_traces_that_cannot_be_sent_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "nonesuch")
    with pytest.raises(SettingsError, match="'nonesuch', which is not installed"):
        create_app(Settings())
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    create_app(Settings())
