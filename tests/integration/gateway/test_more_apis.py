"""The APIs of NVIDIA NIM, vLLM, Azure and SageMaker, and Cohere's embeddings, against the answers of our own client."""

import base64
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import numpy as np
import ollama
import openai
import pytest
from numpy.typing import ArrayLike, NDArray
from qwen3_client import Client, quantize
from support.gateway import MAX_TOKENS, Gateway, failure_text

EMBEDDING, RERANKER = "Qwen/Qwen3-Embedding-8B", "Qwen/Qwen3-Reranker-8B"
QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = ["Venus is the hottest planet.", "Mars is often called the Red Planet.", "Юпитер"]


def floats(numbers: ArrayLike | None) -> NDArray[np.float32]:
    assert numbers is not None
    return np.array(numbers, np.float32)


@pytest.fixture
def plain_http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as made:
        yield made


def test_coheres_client_embeds(gateway: Gateway, plain_http: httpx.Client, direct: Client) -> None:
    two = cohere.ClientV2(api_key="any", base_url=gateway.url, httpx_client=plain_http)
    for input_type, expected in (
        ("search_query", direct.encode_query(DOCUMENTS)),
        ("search_document", direct.encode_document(DOCUMENTS)),
        ("clustering", direct.encode_document(DOCUMENTS)),
    ):
        answer = two.embed(
            model=EMBEDDING, texts=DOCUMENTS, input_type=input_type, embedding_types=["float", "ubinary", "base64"]
        )
        np.testing.assert_array_equal(floats(answer.embeddings.float_), expected)
        np.testing.assert_array_equal(floats(answer.embeddings.ubinary), quantize(expected, "ubinary"))
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in answer.embeddings.base64 or []]
        np.testing.assert_array_equal(rows, expected)
    cut = two.embed(
        model=EMBEDDING,
        inputs=[cohere.EmbedInput(content=[cohere.TextEmbedContent(text=DOCUMENTS[0])])],
        input_type="search_document",
        output_dimension=32,
    )
    expected = direct.encode_document(DOCUMENTS[:1], dimensions=32)
    np.testing.assert_array_equal(floats(cut.embeddings.float_), expected)
    one = cohere.Client(api_key="any", base_url=gateway.url, httpx_client=plain_http)
    plain = one.embed(texts=["long " * 2000], model=EMBEDDING, input_type="search_document")
    expected = direct.encode_document(["long " * 2000], truncate="end")
    assert isinstance(plain.embeddings, list)
    np.testing.assert_array_equal(floats(plain.embeddings), expected)
    with pytest.raises(cohere.BadRequestError, match="text 0 is longer"):
        one.embed(texts=["long " * 2000], model=EMBEDDING, input_type="search_document", truncate="NONE")
    with pytest.raises(cohere.BadRequestError, match="images: this route does not support it"):
        two.embed(model=EMBEDDING, images=["data:"], texts=["a"], input_type="search_document")
    with pytest.raises(cohere.BadRequestError, match="without --calibration"):
        two.embed(model=EMBEDDING, texts=["a"], input_type="search_document", embedding_types=["int8"])


@pytest.mark.parametrize("path", ["/openai/v1", "", "/v1"])
def test_openais_client_at_other_addresses(gateway: Gateway, direct: Client, path: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}{path}", api_key="any", max_retries=0) as client:
        answer = client.embeddings.create(model=EMBEDDING, input=DOCUMENTS)
        assert [model.id for model in client.models.list().data] == [EMBEDDING, RERANKER]
    np.testing.assert_array_equal(floats([item.embedding for item in answer.data]), direct.encode_document(DOCUMENTS))


def test_azures_client_embeds(gateway: Gateway, http: httpx.Client, direct: Client) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=gateway.url, api_key="any", api_version="2024-10-21", max_retries=0
    ) as client:
        answer = client.embeddings.create(model="qwen3_embedding", input=DOCUMENTS)
        with pytest.raises(openai.NotFoundError, match="no model 'gpt-4' here"):
            client.embeddings.create(model="gpt-4", input="a")
    np.testing.assert_array_equal(floats([item.embedding for item in answer.data]), direct.encode_document(DOCUMENTS))
    by_path = http.post("/openai/deployments/nonesuch/embeddings", json={"input": "a"})
    assert (by_path.status_code, by_path.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/v1/ranking", "/v1/retrieval/qwen/qwen3-reranker/reranking"])
def test_nim_ranks(http: httpx.Client, direct: Client, path: str) -> None:
    body: dict[str, Any] = {"query": {"text": QUERY}, "passages": [{"text": text} for text in DOCUMENTS]}
    expected = [{"index": hit.index, "logit": hit.logit} for hit in direct.rank(QUERY, DOCUMENTS)]
    assert http.post(path, json=body).json()["rankings"] == expected
    assert http.post(path, json={**body, "model": RERANKER, "top_k": 2}).json()["rankings"] == expected[:2]
    long = {**body, "passages": [{"text": "long " * 2000}]}
    assert http.post(path, json=long).status_code == 400
    assert http.post(path, json={**long, "truncate": "END"}).status_code == 200


def test_nim_says_how_it_is(http: httpx.Client) -> None:
    for state in ("live", "ready"):
        answer = http.get(f"/v1/health/{state}")
        assert (answer.status_code, answer.json()["status"]) == (200, state)
    assert [each["shortName"] for each in http.get("/v1/metadata").json()["modelInfo"]] == [EMBEDDING, RERANKER]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
def test_vllm_scores(http: httpx.Client, direct: Client, path: str) -> None:
    def scores(first: object, second: object) -> list[float]:
        answer = http.post(path, json={"model": RERANKER, "text_1": first, "text_2": second}).json()
        assert [each["index"] for each in answer["data"]] == list(range(len(answer["data"])))
        return [each["score"] for each in answer["data"]]

    pairs = [("a", "b"), ("c", "d")]
    assert scores(QUERY, DOCUMENTS) == direct.score([(QUERY, text) for text in DOCUMENTS]).tolist()
    assert scores(["a", "c"], ["b", "d"]) == direct.score(pairs).tolist()
    assert scores("a", "b") == scores(["a"], ["b"])
    refused = http.post(path, json={"text_1": ["a", "b"], "text_2": ["a", "b", "c"]})
    assert (refused.status_code, "2 queries and 3 documents" in refused.json()["detail"]) == (400, True)


def test_vllm_pools_and_tokenizes(http: httpx.Client, direct: Client) -> None:
    pooled = http.post("/pooling", json={"model": EMBEDDING, "input": DOCUMENTS, "task": "embed"}).json()
    np.testing.assert_array_equal(floats([item["data"] for item in pooled["data"]]), direct.encode_document(DOCUMENTS))
    ids = direct.tokenize(["hi é"])[0].tolist()
    tokenized = http.post("/tokenize", json={"prompt": "hi é", "return_token_strs": True}).json()
    assert (tokenized["tokens"], tokenized["count"], tokenized["max_model_len"]) == (ids, len(ids), MAX_TOKENS)
    assert len(tokenized["token_strs"]) == len(ids)
    assert http.post("/detokenize", json={"tokens": ids}).json() == {"prompt": "hi é<|endoftext|>"}
    assert http.get("/version").json().keys() == {"version"}
    assert (http.get("/ping").status_code, http.post("/ping").status_code) == (200, 200)
    wrong = http.post("/tokenize", json={"prompt": "a", "model": "nonesuch"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "model_not_found")


def test_tei_decodes(http: httpx.Client, direct: Client) -> None:
    rows = [row.tolist() for row in direct.tokenize(["hi é", "日本"])]
    assert http.post("/decode", json={"ids": rows}).json() == ["hi é", "日本"]
    whole = http.post("/decode", json={"ids": rows[0], "skip_special_tokens": False}).json()
    assert whole == ["hi é<|endoftext|>"]


def test_sagemaker_invokes(http: httpx.Client, direct: Client) -> None:
    embedded = http.post("/invocations", json={"inputs": DOCUMENTS}).json()
    np.testing.assert_array_equal(floats(embedded), direct.encode_document(DOCUMENTS))
    ranked = http.post("/invocations", json={"query": QUERY, "texts": DOCUMENTS}).json()
    assert ranked == [{"index": hit.index, "score": hit.score} for hit in direct.rank(QUERY, DOCUMENTS)]


def test_a_tei_client_may_have_the_reranker(http: httpx.Client) -> None:
    assert http.get("/info").json()["model_type"].keys() == {"embedding"}
    described = http.get("/reranker/info").json()
    assert (described["model_id"], list(described["model_type"])) == (RERANKER, ["reranker"])
    assert http.get("/reranker/health").status_code == 200


def test_ollama_pulls_what_is_there_and_knows_latest(gateway: Gateway, direct: Client) -> None:
    with ollama.Client(host=gateway.url, trust_env=False) as client:
        assert client.pull("qwen3-embedding").status == "success"
        assert [event.status for event in client.pull("qwen3-embedding", stream=True)] == ["success"]
        for name in ("qwen3_embedding:latest", "qwen3-embedding:latest", EMBEDDING):
            vector = client.embed(model=name, input="a").embeddings[0]
            np.testing.assert_array_equal(floats(vector), direct.encode_document("a"))
        with pytest.raises(ollama.ResponseError, match="no model 'llama3' here"):
            client.pull("llama3")


def test_jinas_and_voyages_fields(http: httpx.Client, direct: Client) -> None:
    def vectors(**body: object) -> NDArray[np.float32]:
        answer = http.post("/v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text
        return floats([item["embedding"] for item in answer.json()["data"]])

    queries, documents = direct.encode_query(DOCUMENTS), direct.encode_document(DOCUMENTS)
    as_objects = [{"text": text} for text in DOCUMENTS]
    np.testing.assert_array_equal(vectors(input=as_objects, task="retrieval.query"), queries)
    np.testing.assert_array_equal(vectors(input=as_objects, task="text-matching", late_chunking=False), documents)
    np.testing.assert_array_equal(vectors(input=DOCUMENTS, input_type="document", truncation=True), documents)
    cut = vectors(input=DOCUMENTS, output_dimension=32, output_dtype="float")
    np.testing.assert_array_equal(cut, direct.encode_document(DOCUMENTS, dimensions=32))
    long = "".join(f"{number} " for number in range(MAX_TOKENS))
    ends = direct.encode_document([long], truncate="end")
    np.testing.assert_array_equal(vectors(input=long, truncate=True), ends)
    np.testing.assert_array_equal(vectors(input=long, truncate_prompt_tokens=-1), ends)
    *_, end = direct.tokenize(["a"])[0]
    ten = [np.array([*direct.tokenize([long[:100]])[0][:9], end])]
    np.testing.assert_array_equal(vectors(input=long, truncate_prompt_tokens=10), direct.encode_tokens(ten))


@pytest.mark.parametrize(
    ("body", "is_query"),
    [
        *(({"input_type": name}, True) for name in ("query", "search_query")),
        *(
            ({"input_type": name}, False)
            for name in ("passage", "document", "search_document", "classification", "clustering")
        ),
        ({"task": "retrieval.query"}, True),
        *(
            ({"task": name}, False)
            for name in ("retrieval.passage", "text-matching", "classification", "clustering", "separation")
        ),
        ({"embedding_type": "base64"}, False),
        ({"truncate": True}, False),
        ({"truncate": False}, False),
    ],
)
def test_synonyms_that_neighbours_clients_send(
    http: httpx.Client, direct: Client, body: dict[str, object], *, is_query: bool
) -> None:
    expected = direct.encode_query(DOCUMENTS) if is_query else direct.encode_document(DOCUMENTS)
    for path in ("/v1/embeddings", "/embeddings", "/openai/v1/embeddings"):
        data = http.post(path, json={"input": DOCUMENTS, **body}).json()["data"]
        rows = [
            np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
            if isinstance(item["embedding"], str)
            else item["embedding"]
            for item in data
        ]
        np.testing.assert_array_equal(floats(rows), expected)
        assert isinstance(data[0]["embedding"], str) == (body == {"embedding_type": "base64"})


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/embeddings", "input"),
        ("/embeddings", "input"),
        ("/openai/v1/embeddings", "input"),
        ("/openai/deployments/qwen3_embedding/embeddings", "input"),
        ("/pooling", "input"),
        ("/embed", "inputs"),
        ("/invocations", "inputs"),
        ("/", "inputs"),
    ],
)
def test_no_route_takes_ids_of_another_vocabulary(http: httpx.Client, direct: Client, path: str, field: str) -> None:
    rows = [row.tolist() for row in direct.tokenize(DOCUMENTS)]
    for given in (rows, rows[0]):
        assert http.post(path, json={field: given}).status_code == 200
    for given, index in (([rows[0], rows[1][:-1]], 1), (rows[0][:-1], 0)):
        refused = http.post(path, json={field: given})
        assert refused.status_code in (400, 422)
        assert failure_text(path, refused.json()).startswith(f"text {index}: the token ids do not end in")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"late_chunking": True}, "late_chunking"),
        ({"task": "code.query"}, "task"),
        ({"input_type": "image"}, "input_type"),
        ({"messages": []}, "messages"),
        ({"dimensions": 64, "output_dimension": 32}, "dimensions"),
        ({"input_type": "query", "task": "retrieval.passage"}, "task"),
        ({"truncate": "NONE", "truncation": True}, "truncate"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"embedding_type": "base64", "encoding_format": "float"}, "encoding_format"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(http: httpx.Client, body: dict[str, object], field: str) -> None:
    answer = http.post("/v1/embeddings", json={"input": "a", **body})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)
    assert answer.json()["detail"] == answer.json()["error"]["message"], "where Jina's clients read it"
