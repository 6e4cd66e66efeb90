"""OpenAI's API, through OpenAI's own client."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from qwen3_client import Calibration, Client, quantize
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.gateway import DIMENSIONS, MAX_TOKENS, Gateway, running

Dtype: TypeAlias = Literal["int8", "uint8"]

MODEL = "Qwen/Qwen3-Embedding-8B"
TEXTS = ["Процедура банкротства физических лиц", "b", "日本語のテキスト 🙂", "a longer text " * 20]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as made:
        yield made


def vectors(response: openai.types.CreateEmbeddingResponse) -> NDArray[np.float32]:
    assert [item.index for item in response.data] == list(range(len(response.data)))
    return np.array([item.embedding for item in response.data], dtype=np.float32)


def test_a_string_and_a_list_give_what_the_client_gives(client: openai.OpenAI, direct: Client) -> None:
    one = client.embeddings.create(model=MODEL, input=TEXTS[0])
    assert (one.object, one.model, len(one.data)) == ("list", MODEL, 1)
    np.testing.assert_array_equal(vectors(one)[0], direct.encode_document(TEXTS[0]))
    several = client.embeddings.create(model=MODEL, input=TEXTS, user="someone", dimensions=32)
    np.testing.assert_array_equal(vectors(several), direct.encode_document(TEXTS, dimensions=32))
    tokens = sum(len(row) for row in direct.tokenize(TEXTS))
    assert (several.usage.prompt_tokens, several.usage.total_tokens) == (tokens, tokens)


def test_floats_arrive_exactly_in_both_encodings(client: openai.OpenAI, http: httpx.Client, direct: Client) -> None:
    expected = direct.encode_document(TEXTS)
    # The client asks for base64 where nothing is said, and decodes it.
    np.testing.assert_array_equal(vectors(client.embeddings.create(model=MODEL, input=TEXTS)), expected)
    floats = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    np.testing.assert_array_equal(vectors(floats), expected)
    body = http.post("/v1/embeddings", json={"input": TEXTS, "encoding_format": "base64"}).json()
    packed = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in body["data"]]
    np.testing.assert_array_equal(packed, expected)


def test_token_ids_are_the_text(client: openai.OpenAI, direct: Client) -> None:
    rows = [row.tolist() for row in direct.tokenize(TEXTS)]
    expected = direct.encode_document(TEXTS)
    np.testing.assert_array_equal(vectors(client.embeddings.create(model=MODEL, input=rows)), expected)
    np.testing.assert_array_equal(vectors(client.embeddings.create(model=MODEL, input=rows[0])), expected[:1])


def test_token_ids_without_the_last_token_are_another_models(
    client: openai.OpenAI, direct: Client, gateway_triton: Triton
) -> None:
    rows = [row.tolist() for row in direct.tokenize(TEXTS)]
    bare = [*rows[:2], rows[2][:-1]]
    with pytest.raises(
        openai.BadRequestError, match=r"text 2: the token ids do not end in.*ctx_length=False"
    ) as caught:
        client.embeddings.create(model=MODEL, input=bare)
    assert caught.value.param == "input"
    with (
        running(Settings(triton=gateway_triton.grpc_url, append_end_token=True)) as gateway,
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as lenient,
    ):
        answer = lenient.embeddings.create(model=MODEL, input=bare)
    np.testing.assert_array_equal(vectors(answer), direct.encode_document(TEXTS[:3]))


def test_a_query_is_told_by_input_type_or_by_the_models_name(client: openai.OpenAI, direct: Client) -> None:
    expected = direct.encode_query(TEXTS)
    for model, extra in ((MODEL, {"input_type": "query"}), (f"{MODEL}-query", {})):
        response = client.embeddings.create(model=model, input=TEXTS, extra_body=extra)
        np.testing.assert_array_equal(vectors(response), expected)
    passage = client.embeddings.create(model=f"{MODEL}-passage", input=TEXTS)
    np.testing.assert_array_equal(vectors(passage), direct.encode_document(TEXTS))
    # As the model card has it: the instruction in the text, which is then taken as it is.
    task = direct.info().default_instruction
    written = client.embeddings.create(model=MODEL, input=[f"Instruct: {task}\nQuery:{text}" for text in TEXTS])
    np.testing.assert_array_equal(vectors(written), expected)
    own = client.embeddings.create(
        model=MODEL, input=TEXTS, extra_body={"input_type": "query", "instruction": "Find the law"}
    )
    np.testing.assert_array_equal(vectors(own), direct.encode_query(TEXTS, instruction="Find the law"))
    with pytest.raises(openai.BadRequestError, match="input_type query only"):
        client.embeddings.create(model=MODEL, input="a", extra_body={"instruction": "Find the law"})


def test_truncate_says_what_becomes_of_a_long_text(client: openai.OpenAI, direct: Client) -> None:
    long = "".join(f"{number} " for number in range(MAX_TOKENS))
    *body, end = direct.tokenize([long[:5000]])[0].tolist()
    ids = body * 2
    for extra in ({}, {"truncate": "NONE"}):
        for text in (["short", long], [[1, end], [*ids, end]]):
            with pytest.raises(
                openai.BadRequestError, match=f"text 1 is longer than the {MAX_TOKENS} tokens"
            ) as caught:
                client.embeddings.create(model=MODEL, input=text, extra_body=extra)
            assert caught.value.code == "context_length_exceeded"
    for truncate, side, kept in (("END", "end", ids[: MAX_TOKENS - 1]), ("START", "start", ids[-MAX_TOKENS + 1 :])):
        response = client.embeddings.create(model=MODEL, input=long, extra_body={"truncate": truncate})
        np.testing.assert_array_equal(vectors(response)[0], direct.encode_document(long, truncate=side))  # type: ignore[arg-type]
        of_ids = client.embeddings.create(model=MODEL, input=[*ids, end], extra_body={"truncate": truncate})
        alone = client.embeddings.create(model=MODEL, input=[*kept, end])
        np.testing.assert_array_equal(vectors(of_ids), vectors(alone))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_eight_bits_are_those_of_the_client(
    gateway_triton: Triton, direct: Client, tmp_path: Path, kind: Dtype
) -> None:
    """Vectors from the gateway, from the client, and of an index can be compared: they have the same bytes."""
    calibration = Calibration.of(direct.encode_document([f"document {number}" for number in range(100)]))
    calibration.save(tmp_path / "index.calibration.npz")
    expected = quantize(direct.encode_document(TEXTS), kind, calibration=calibration)
    settings = Settings(triton=gateway_triton.grpc_url, calibration=str(tmp_path / "index.calibration.npz"))
    with running(settings) as gateway, httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
        body = {"input": TEXTS, "embedding_type": kind}
        data = http.post("/v1/embeddings", json=body).json()["data"]
        np.testing.assert_array_equal([item["embedding"] for item in data], expected)
        packed = http.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"]
        bytes_ = [np.frombuffer(base64.b64decode(item["embedding"]), kind) for item in packed]
        np.testing.assert_array_equal(bytes_, expected)
        cut = http.post("/v1/embeddings", json={**body, "dimensions": 32})
        assert (cut.status_code, cut.json()["error"]["param"]) == (400, "dimensions")


def test_eight_bits_without_a_calibration_are_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="started without --calibration") as caught:
        client.embeddings.create(model=MODEL, input=TEXTS, extra_body={"embedding_type": "int8"})
    assert caught.value.param == "embedding_type"


@pytest.mark.parametrize(("kind", "offset"), [("ubinary", 0), ("binary", 128)])
def test_bits_are_the_signs(http: httpx.Client, direct: Client, kind: str, offset: int) -> None:
    body = {"input": TEXTS, "embedding_type": kind, "dimensions": 40}
    codes = np.array([item["embedding"] for item in http.post("/v1/embeddings", json=body).json()["data"]])
    bits = np.unpackbits((codes + offset).astype(np.uint8), axis=1)
    np.testing.assert_array_equal(bits == 1, direct.encode_document(TEXTS, dimensions=40) > 0)
    refused = http.post("/v1/embeddings", json={**body, "dimensions": 33})
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("name", [MODEL, "qwen3-embedding:8b", "qwen/qwen3-embedding-8b", "qwen3_embedding", None])
def test_the_names_of_the_model(http: httpx.Client, name: str | None) -> None:
    answer = http.post("/v1/embeddings", json={"input": "a", "model": name})
    assert (answer.status_code, answer.json()["model"]) == (200, name or MODEL)


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == [MODEL, "Qwen/Qwen3-Reranker-8B"]
    assert [client.models.retrieve(model.id).id for model in listed] == [model.id for model in listed]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_failures_are_those_that_the_client_knows(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'text-embedding-3-small' here") as caught:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    empty: list[tuple[str | list[str], str]] = [
        ("", "text 0 is empty"),
        (["a", ""], "text 1 is empty"),
        ([], "the request has no text"),
    ]
    for nothing, message in empty:
        with pytest.raises(openai.BadRequestError, match=message):
            client.embeddings.create(model=MODEL, input=nothing)
    for dimensions in (31, DIMENSIONS + 1, 10**30):
        with pytest.raises(openai.BadRequestError, match="dimensions must be from 32 to 64"):
            client.embeddings.create(model=MODEL, input="a", dimensions=dimensions)
    with pytest.raises(openai.BadRequestError, match="token ids"):
        client.embeddings.create(model=MODEL, input=[1, 2**31 - 1])


def test_a_bad_token_id_is_named_by_the_index_of_its_text(http: httpx.Client, direct: Client) -> None:
    end = direct.info().eos_token_id
    rows = [[1, 2, end]] * 26
    rows[20] = [10**6]
    answer = http.post("/v1/embeddings", json={"input": rows})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("text 20: token ids must be from 0 to ")
