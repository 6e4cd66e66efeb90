"""The worker for Ray Data, which needs no Ray itself: Arrow tables in and out, arguments, errors."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from qwen3_client import Client, ClientOptions, EmptyTextError, InvalidInputError, Kind, Qwen3ClientError
from qwen3_client.integrations.ray import Qwen3Embedder
from qwen3_client.transports import FakeTransport

TEXTS = ["red", "green", "a longer text"]


def client() -> Client:
    return Client(transport=FakeTransport(dimensions=64))


@pytest.mark.parametrize("kind", ["document", "query"])
@pytest.mark.parametrize("dimensions", [None, 32])
def test_rows_get_the_vectors_of_the_client(kind: Kind, dimensions: int | None) -> None:
    rows = pa.table({"id": [7, 8, 9], "body": pa.chunked_array([TEXTS[:1], TEXTS[1:]])})
    with client() as asked:
        worker = Qwen3Embedder(client=asked, text_column="body", vector_column="v", kind=kind, dimensions=dimensions)
        found = worker(rows)
        encode = asked.encode_query if kind == "query" else asked.encode_document
        expected = encode(TEXTS, dimensions=dimensions)
    assert found.select(["id", "body"]).equals(rows)
    assert found.schema.field("v").type == pa.list_(pa.float32(), dimensions or 64)
    np.testing.assert_array_equal(np.array(found["v"].to_pylist(), np.float32), expected)


def test_a_block_without_rows_stays_one() -> None:
    """Ray calls workers with such blocks, where a filter has left nothing."""
    with client() as asked:
        found = Qwen3Embedder(client=asked)(pa.table({"text": pa.array([], pa.string())}))
    assert found.schema.field("embedding").type == pa.list_(pa.float32(), 64)
    assert found.num_rows == 0


def test_what_cannot_be_used_is_refused_with_the_fix() -> None:
    with pytest.raises(InvalidInputError, match="give either server="):
        Qwen3Embedder()
    with pytest.raises(InvalidInputError, match="instruction= is for queries"):
        Qwen3Embedder("localhost:8001", instruction="Find it")
    with pytest.raises(InvalidInputError, match="kind must be"):
        Qwen3Embedder("localhost:8001", kind="passage")  # type: ignore[arg-type]
    with client() as asked:
        worker = Qwen3Embedder(client=asked)
        with pytest.raises(InvalidInputError, match="no column 'text', only id; name it with text_column="):
            worker(pa.table({"id": [1]}))
        with pytest.raises(InvalidInputError, match="'embedding' is there already"):
            worker(pa.table({"text": ["a"], "embedding": [1]}))
        with pytest.raises(EmptyTextError):
            worker(pa.table({"text": ["a", ""]}))
        with pytest.raises(Qwen3ClientError, match="text 1"):
            worker(pa.table({"text": ["a", None]}))


def test_its_arguments_can_be_sent_to_another_machine() -> None:
    options = ClientOptions("a:8001,b:8001", expected_fingerprint="0" * 16)
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - made in this line
