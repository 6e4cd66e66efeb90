"""The client against a real Triton: vectors, order, limits and errors."""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import (
    Client,
    ContractMismatchError,
    InvalidInputError,
    ServerTimeoutError,
    ServerUnavailableError,
    TokenizerUnavailableError,
    similarity,
)
from qwen3_export import export
from qwen3_export.checkpoint.tiny import write_tiny_checkpoint
from qwen3_serve import Triton
from support.oracle import reference_embeddings

TASK = "Given a web search query, retrieve relevant passages that answer the query"


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, triton: Triton) -> Iterator[Client]:
    with Client(triton.grpc_url if request.param == "grpc" else triton.http_url) as connection:
        yield connection


def _ids(text: str) -> np.ndarray:  # type: ignore[type-arg]
    """What the tiny tokenizer makes of a text: its bytes in the byte-level alphabet's order, then 256."""
    from tokenizers import pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}  # GPT-2's bytes_to_unicode
    spare = iter(range(256, 512))
    symbols = [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
    return np.array([*(alphabet.index(symbols[byte]) for byte in text.encode()), 256], np.int64)


def test_vectors_match_transformers_from_text_to_unit_norm(client: Client, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path)
    queries = ["What is the capital of China?", "Explain gravity"]
    documents = ["The capital of China is Beijing.", "Процедура банкротства", "北京", "🦜" * 50, "a", "\0"]
    reference = reference_embeddings(
        tmp_path,
        [_ids(f"Instruct: {TASK}\nQuery:{query}") for query in queries] + [_ids(text) for text in documents],
    )
    rows = np.concatenate([client.encode_query(queries), client.encode_document(documents)])
    assert rows.dtype == np.float32
    assert (rows * reference).sum(axis=1).min() >= 0.999999
    assert np.abs(rows - reference).max() <= 1e-5


def test_texts_of_equal_length_share_requests(client: Client, triton: Triton) -> None:
    texts = [f"text {number:02} {'x' * (number % 3)}" for number in range(60)]  # twenty of each of three lengths

    def counts() -> tuple[int, int]:
        statistics = f"{triton.http_url}/v2/models/qwen3_embedding/stats"
        with urllib.request.urlopen(statistics, timeout=30) as answer:  # noqa: S310
            stats = json.load(answer)["model_stats"][0]
        return stats["inference_stats"]["success"]["count"], stats["inference_count"]

    before = None
    while before != (before := counts()):  # Triton answers first and counts then
        time.sleep(0.2)
    together = client.encode_document(texts)
    deadline = time.monotonic() + 10
    while counts()[1] < before[1] + 60 and time.monotonic() < deadline:
        time.sleep(0.05)
    requests, inferences = np.subtract(counts(), before)
    assert (requests, inferences) == (3, 60)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(client.encode_document(text), row)


def test_shapes_order_and_duplicates(client: Client) -> None:
    texts = [f"text number {i % 50}" for i in range(200)]
    rows = client.encode_document(texts)
    assert rows.shape == (200, 64)
    np.testing.assert_array_equal(rows[:50], rows[50:100])
    np.testing.assert_array_equal(rows[7], client.encode_document(texts[7]))
    np.testing.assert_array_equal(rows[::-1], client.encode_document(texts[::-1]))
    assert client.encode_document([]).shape == (0, 64)
    assert client.encode_query("one").shape == (64,)
    assert similarity(rows[:2], rows[:3]).shape == (2, 3)
    streamed = np.stack(list(client.encode_stream(iter(texts))))
    np.testing.assert_array_equal(streamed, rows)


def test_dimensions_are_cut_and_renormalised(client: Client) -> None:
    full, cut = client.encode_document("text"), client.encode_document("text", dimensions=32)
    assert cut.shape == (32,)
    np.testing.assert_allclose(cut, full[:32] / np.linalg.norm(full[:32]), rtol=1e-6)
    for dimensions in (31, 65, 0, -1):
        with pytest.raises(InvalidInputError, match="32"):
            client.encode_document("text", dimensions=dimensions)


def test_an_instruction_changes_queries_only(client: Client) -> None:
    assert not np.array_equal(client.encode_query("text"), client.encode_document("text"))
    assert not np.array_equal(client.encode_query("text"), client.encode_query("text", instruction="Classify"))
    np.testing.assert_array_equal(client.encode_query("text"), client.encode_query("text", instruction=TASK))


def test_long_texts_lose_their_end_but_keep_the_end_token(client: Client) -> None:
    long = "x" * 100_000
    np.testing.assert_array_equal(client.encode_document(long), client.encode_document("x" * 2047))
    with pytest.raises(InvalidInputError, match="more than the 2048 tokens"):
        client.encode_document(long, truncate=False)


@pytest.mark.parametrize("bad", ["", "\ud800", 3, None, b"bytes"])
def test_bad_texts_are_named(client: Client, bad: object) -> None:
    with pytest.raises(InvalidInputError, match="text 1"):
        client.encode_document(["good", bad, "good"])  # type: ignore[list-item]


def test_what_the_server_says_about_itself(client: Client) -> None:
    info = client.info()
    assert (info.source, info.precision, info.dimensions, info.max_tokens) == ("tiny", "fp32", 64, 2048)
    assert info.default_instruction == TASK
    assert client.is_ready()


def test_another_tokenizer_is_refused(triton: Triton, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path)
    with Client(triton.grpc_url, tokenizer=tmp_path) as client:
        client.encode_document("the same file is welcome")
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["added_tokens"][0]["content"] = "<|other|>"
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with (
        Client(triton.grpc_url, tokenizer=tmp_path) as client,
        pytest.raises(ContractMismatchError, match="sha256"),
    ):
        client.encode_document("text")
    with (
        Client(triton.grpc_url, tokenizer=tmp_path / "no") as client,
        pytest.raises(TokenizerUnavailableError),
    ):
        client.encode_document("text")


def test_an_unknown_model(triton: Triton) -> None:
    for url in (triton.grpc_url, triton.http_url):
        with Client(url, model="nonesuch") as client, pytest.raises(ContractMismatchError, match="nonesuch"):
            client.encode_document("text")


def test_a_deadline_is_kept(triton: Triton) -> None:
    for url in (triton.grpc_url, triton.http_url):
        with Client(url) as client:
            client.encode_document("warm")
        with Client(url, timeout_s=0.001) as client, pytest.raises(ServerTimeoutError):
            client.encode_document("x" * 2000)


def test_a_server_that_goes_away(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path)
    triton = Triton(tmp_path, threads=1, drain_timeout_s=1)  # the open HTTP connection would hold it longer
    with triton, Client(triton.grpc_url, retry_s=0) as grpc, Client(triton.http_url, retry_s=0) as http:
        for client in (grpc, http):
            client.encode_document("warm")
        triton.__exit__(None, None, None)
        for client in (grpc, http):
            with pytest.raises(ServerUnavailableError, match="qwen3-triton serve"):
                client.encode_document("text")


def test_a_moved_model_directory_says_what_to_pass(tmp_path: Path) -> None:
    export("tiny", repository=tmp_path / "made")
    shutil.move(tmp_path / "made", tmp_path / "moved")
    with Triton(tmp_path / "moved", threads=1) as triton, Client(triton.grpc_url) as client:
        with pytest.raises(TokenizerUnavailableError, match="pass tokenizer="):
            client.encode_document("text")
        with Client(triton.grpc_url, tokenizer=tmp_path / "moved" / "qwen3_embedding") as told:
            assert told.encode_document("text").shape == (64,)
