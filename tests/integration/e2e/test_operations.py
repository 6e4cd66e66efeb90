"""What the configurations and docs/operate.md offer, tried on a real Triton."""

import http.server
import json
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from qwen3_client import Client, ServerOverloadedError
from qwen3_export import export
from qwen3_serve import ServeError, Triton
from support.checkpoints import Shape, make_checkpoint
from support.settings import change, uncomment
from support.wire import Wire, metrics, pending_requests, texts_of

CONFIG = Path("qwen3_embedding") / "configs" / "embedded.pbtxt"
ONE_LEVEL, TWO_LEVELS = "dynamic_batching { }", "# dynamic_batching {"
CACHE = "# response_cache { enable: true }"
CACHE_ARGUMENT = "--cache-config=local,size=16777216"

BULK = 24  # requests with a long text
LONG = np.append(np.full(1500, 97, np.int64), 256)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the tiny embedding model, whose configuration a test may change."""
    export("tiny", repository=tmp_path)
    return tmp_path


# -- warm-up ---------------------------------------------------------------------------------------------------


def test_the_warm_up_has_run_when_the_server_is_ready(repository: Path) -> None:
    with Triton(repository, threads=1) as triton:
        wire = Wire(triton.grpc_url)
        assert wire.settled_batches() == {1: 3}, "a query, a document, and what `serve` asks for a first answer"
        wire.close()


def test_a_warm_up_that_fails_is_no_readiness(repository: Path) -> None:
    change(repository / CONFIG, "dims: [ 16 ] zero_data", "dims: [ 4096 ] zero_data")
    # Triton 2.51 itself crashes in a quarter of such starts, before it gives the reason.
    reason = r"failed to run warmup sample 'query'.*4096 tokens, more than the model's 2048|ended with signal 11"
    with pytest.raises(ServeError, match=reason):
        Triton(repository, threads=1).__enter__()


# -- queue and priorities --------------------------------------------------------------------------------------


@contextmanager
def busy_with_bulk(triton: Triton) -> Iterator[Callable[[], int]]:
    """A server with a long text at work and the other bulk in its queue; gives what counts the texts done since.

    Triton counts a text before it begins the next one.
    """
    wire = Wire(triton.grpc_url)
    before = texts_of(wire.settled_batches())

    def texts_done() -> int:
        return texts_of(wire.batches()) - before

    futures = [wire.send(LONG[np.newaxis]) for _ in range(BULK)]
    while texts_done() + pending_requests(triton) < BULK - 1:  # what has not arrived yet could be overtaken
        time.sleep(0.001)
    yield texts_done
    for future in futures:
        future.result(120)
    wire.close()


@pytest.mark.parametrize("protocol", ["grpc_url", "http_url"])
def test_levels_let_a_query_go_before_bulk_in_triton(repository: Path, protocol: str) -> None:
    change(repository / CONFIG, ONE_LEVEL, "")
    uncomment(repository / CONFIG, TWO_LEVELS)
    change(repository / CONFIG, "max_batch_size: 64", "max_batch_size: 1")
    with Triton(repository, threads=1) as triton, Client(getattr(triton, protocol)) as client:
        alone = client.encode_tokens([[97, 256]])
        with busy_with_bulk(triton) as texts_done:
            # Its text is short: only what is at work already can end before it.
            np.testing.assert_array_equal(client.encode_tokens([[97, 256]], priority="interactive"), alone)
            before = texts_done()
            np.testing.assert_array_equal(client.encode_tokens([[97, 256]], priority="bulk"), alone)
            after = texts_done()
    assert before < 2 / 3 * BULK, "it waited behind bulk"
    assert after > BULK, "bulk overtook bulk"  # the bulk before it, and the query


@pytest.mark.parametrize("protocol", ["grpc_url", "http_url"])
def test_a_server_without_levels_takes_priorities_as_equal(repository: Path, protocol: str) -> None:
    change(repository / CONFIG, "max_batch_size: 64", "max_batch_size: 1")
    with Triton(repository, threads=1) as triton, Client(getattr(triton, protocol)) as client:
        client.encode_tokens([[97, 256]])
        with busy_with_bulk(triton) as texts_done:
            client.encode_tokens([[97, 256]], priority="interactive")
            assert texts_done() >= BULK


def test_a_full_queue_and_a_long_wait_are_overload(repository: Path) -> None:
    change(repository / CONFIG, ONE_LEVEL, "")
    uncomment(repository / CONFIG, TWO_LEVELS)
    change(repository / CONFIG, "max_batch_size: 64", "max_batch_size: 1")
    texts = ["a" * 500] * 24
    original = (repository / CONFIG).read_text()
    for before, after, said in (
        ("max_queue_size: 1024", "max_queue_size: 2", "Exceeds maximum queue size"),
        ("default_timeout_microseconds: 30000000", "default_timeout_microseconds: 1000", "Request timeout expired"),
    ):
        (repository / CONFIG).write_text(original)
        change(repository / CONFIG, before, after)
        with Triton(repository, threads=1) as triton:
            with Client(triton.grpc_url, retry_s=0) as client, pytest.raises(ServerOverloadedError, match=said):
                client.encode_document(texts)
            with Client(triton.http_url, concurrency=8) as client:
                rows = client.encode_document(texts[:8])  # tried again until all are in
            assert np.array_equal(rows, np.repeat(rows[:1], 8, axis=0))


# -- response cache --------------------------------------------------------------------------------------------


def cache_hits(triton: Triton) -> dict[str, float]:
    return {kind: metrics(triton)[f"nv_cache_num_{kind}_per_model"] for kind in ("hits", "misses")}


def test_cached_answers_have_the_same_bits_and_texts_are_not_confused(repository: Path) -> None:
    texts = [f"{i} {'x' * (i % 9)}" for i in range(40)]
    with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as client:
        expected = client.encode_document(texts)
        short = client.encode_document(texts, dimensions=32)
    uncomment(repository / CONFIG, CACHE)
    with Triton(repository, threads=1, arguments=[CACHE_ARGUMENT]) as triton, Client(triton.grpc_url) as client:
        np.testing.assert_array_equal(client.encode_document(texts), expected)
        wire = Wire(triton.grpc_url)
        batches = wire.settled_batches()
        assert cache_hits(triton) == {"hits": 0, "misses": 41}, "the texts, and the first answer at the start"
        np.testing.assert_array_equal(client.encode_document(texts[::-1]), expected[::-1])
        assert wire.settled_batches() == batches, "nothing ran"
        wire.close()
        assert cache_hits(triton) == {"hits": 40, "misses": 41}
        assert client.encode_query(texts[0]).tobytes() != expected[0].tobytes()
        with Client(triton.http_url) as other:
            np.testing.assert_array_equal(other.encode_document(texts, dimensions=32), short)


def test_the_cache_does_not_outlive_a_version(repository: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(tmp_path / "other", Shape(), seed=7)
    uncomment(repository / CONFIG, CACHE)
    with Triton(repository, threads=1, arguments=[CACHE_ARGUMENT]) as triton, Client(triton.http_url) as client:
        old = client.encode_document("a")
        export(str(checkpoint), repository=repository, kind="embedding", version=2)
        load = urllib.request.Request(f"{triton.http_url}/v2/repository/models/qwen3_embedding/load", method="POST")  # noqa: S310
        urllib.request.urlopen(load, timeout=60).close()  # noqa: S310
        assert np.abs(client.encode_document("a") - old).max() > 0.01


def test_without_a_cache_the_setting_does_nothing(repository: Path) -> None:
    uncomment(repository / CONFIG, CACHE)
    with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as client:
        assert np.array_equal(client.encode_document(["a"]), client.encode_document(["a"]))


# -- traces ----------------------------------------------------------------------------------------------------


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes OTLP over HTTP, as JSON."""

    received: ClassVar[deque[bytes]] = deque()

    def do_POST(self) -> None:
        self.received.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


def test_spans_go_to_a_collector_and_belong_to_the_callers_trace(repository: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    arguments = [
        "--trace-config=mode=opentelemetry",
        "--trace-config=rate=1",
        "--trace-config=level=TIMESTAMPS",
        f"--trace-config=opentelemetry,url={endpoint}",
    ]
    traces = {protocol: f"{number:032x}" for number, protocol in enumerate(("grpc_url", "http_url"), start=1)}
    with Triton(repository, threads=1, arguments=arguments) as triton:
        for protocol, trace in traces.items():
            headers = {"traceparent": f"00-{trace}-00000000000000aa-01"}
            with Client(getattr(triton, protocol), headers=headers) as client:
                # On a busy machine Triton 2.51 was once seen to give a request over gRPC a trace of its own.
                for text in ("a", "b", "c"):
                    client.encode_document(text)
    server.shutdown()
    server.server_close()
    spans = [
        span
        for body in Collector.received
        for resource in json.loads(body)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    assert {"qwen3_embedding", "compute", "InferRequest"} <= {span["name"] for span in spans}
    for trace in traces.values():
        assert any(span["traceId"].lower() == trace for span in spans), [span["traceId"] for span in spans]


def test_traces_in_a_file(repository: Path, tmp_path: Path) -> None:
    arguments = ["--trace-config=rate=1", "--trace-config=level=TIMESTAMPS", f"--trace-config=triton,file={tmp_path}/t"]
    with Triton(repository, threads=1, arguments=arguments) as triton, Client(triton.grpc_url) as client:
        client.encode_document("a")
    names = {
        stamp["name"] for entry in json.loads((tmp_path / "t").read_text()) for stamp in entry.get("timestamps", [])
    }
    assert {"REQUEST_START", "QUEUE_START", "COMPUTE_START", "COMPUTE_END", "REQUEST_END"} <= names


# -- addresses -------------------------------------------------------------------------------------------------


def test_it_listens_on_ipv6(repository: Path) -> None:
    with Triton(repository, threads=1, host="::1") as triton:
        assert triton.grpc_url.startswith("[::1]:")
        for url in (triton.grpc_url, triton.http_url):
            with Client(url) as client:
                assert client.encode_document("a").shape == (64,)
        with urllib.request.urlopen(triton.metrics_url, timeout=30) as answer:  # noqa: S310
            assert b"nv_inference_count" in answer.read()
