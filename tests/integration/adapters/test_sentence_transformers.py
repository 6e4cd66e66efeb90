"""The sentence-transformers integration beside the real library, which runs the same weights in torch."""

import inspect
import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch
from numpy.typing import NDArray
from qwen3_client import Client, InferenceError, InvalidInputError, ServerUnavailableError
from qwen3_client.integrations.sentence_transformers import SentenceTransformer
from qwen3_client.transports import FakeTransport
from qwen3_export.checkpoint.tiny import write_tiny_checkpoint
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from sentence_transformers.util import cos_sim, paraphrase_mining, semantic_search

TASK = "Given a web search query, retrieve relevant passages that answer the query"
PROMPTS = {"query": f"Instruct: {TASK}\nQuery:", "document": ""}  # of the published config_sentence_transformers.json
TEXTS = ["What is the capital of China?", "Процедура банкротства", "", "北京" * 20, "a"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sentence_transformers.SentenceTransformer]:
    """The library's own model, with the modules and prompts of the published ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads than free cores wait for one another
    folder = tmp_path_factory.mktemp("checkpoint")
    write_tiny_checkpoint(folder)
    end = "<|endoftext|>"
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": end, "eos_token": end}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 2048}))
    modules = [
        Transformer(str(folder), model_kwargs={"dtype": "float32"}),
        Pooling(64, pooling_mode="lasttoken"),
        Normalize(),
    ]
    yield sentence_transformers.SentenceTransformer(modules=modules, prompts=dict(PROMPTS), device="cpu")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def remote(url: str) -> Iterator[SentenceTransformer]:
    with SentenceTransformer(url) as model:
        yield model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prompt_name": "query"},
        {"prompt_name": "document", "batch_size": 2},
        {"prompt": "Instruct: Find it\nQuery:"},
        {"prompt": ""},
        {"truncate_dim": 32},
        {"truncate_dim": 32, "normalize_embeddings": True},
        {"normalize_embeddings": True, "show_progress_bar": False},
        {"convert_to_tensor": True},
        {"convert_to_numpy": False},
        {"precision": "binary"},
        {"precision": "ubinary", "truncate_dim": 32},
        {"precision": "ubinary", "convert_to_tensor": True},
    ],
    ids=str,
)
def test_encode_is_the_librarys(
    real: sentence_transformers.SentenceTransformer, remote: SentenceTransformer, options: dict[str, Any]
) -> None:
    for sentences in (TEXTS, TEXTS[0]):
        expected, given = real.encode(sentences, **options), remote.encode(sentences, **options)
        assert type(given) is type(expected)
        if isinstance(given, list):
            expected, given = torch.stack(expected), torch.stack(given)
        assert (given.shape, given.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(given, expected, atol=1e-6)


def test_queries_and_documents(
    real: sentence_transformers.SentenceTransformer, remote: SentenceTransformer, client: Client
) -> None:
    for name in ("encode_query", "encode_document"):
        for options in ({}, {"prompt": "about: "}, {"truncate_dim": 32, "convert_to_tensor": True}):
            expected, given = getattr(real, name)(TEXTS, **options), getattr(remote, name)(TEXTS, **options)
            np.testing.assert_allclose(given, expected, atol=1e-6)
    texts = [text for text in TEXTS if text]
    np.testing.assert_array_equal(remote.encode_query(texts), client.encode_query(texts))
    np.testing.assert_array_equal(remote.encode(texts, prompt_name="query"), client.encode_query(texts))
    np.testing.assert_array_equal(remote.encode_document(texts), client.encode_document(texts))
    np.testing.assert_array_equal(remote.encode(texts), client.encode_document(texts))
    np.testing.assert_array_equal(
        remote.encode(texts, truncate_dim=32, normalize_embeddings=True), client.encode_document(texts, dimensions=32)
    )


def test_the_model_card_reads_the_same(
    real: sentence_transformers.SentenceTransformer, remote: SentenceTransformer
) -> None:
    """The snippet of Qwen3-Embedding's model card, with both models."""
    queries = ["What is the capital of China?", "Explain gravity"]
    documents = ["The capital of China is Beijing.", "Gravity is a force that attracts two bodies."]
    scores = []
    for model in (real, remote):
        query_embeddings = model.encode(queries, prompt_name="query")
        document_embeddings = model.encode(documents)
        scores.append(model.similarity(query_embeddings, document_embeddings))
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-6)


def test_similarities_are_cosines_of_arrays_and_tensors(
    real: sentence_transformers.SentenceTransformer, remote: SentenceTransformer
) -> None:
    cut = remote.encode(TEXTS, truncate_dim=32)
    assert not np.allclose(np.linalg.norm(cut, axis=1), 1)
    for name in ("similarity", "similarity_pairwise"):
        expected = getattr(real, name)(cut, cut[::-1].copy())
        array = getattr(remote, name)(cut, cut[::-1])
        tensor = getattr(remote, name)(torch.from_numpy(cut), cut[::-1])
        assert (type(array), type(tensor)) == (np.ndarray, torch.Tensor)
        np.testing.assert_allclose(array, expected, atol=1e-6)
        np.testing.assert_array_equal(tensor, array)
    assert remote.similarity_fn_name == real.similarity_fn_name
    np.testing.assert_array_equal(remote.similarity(np.zeros(32), cut), np.zeros((1, len(TEXTS))))
    with pytest.raises(InvalidInputError, match="equal shapes"):
        remote.similarity_pairwise(cut, cut[:2])


def test_what_a_model_says_of_itself(
    real: sentence_transformers.SentenceTransformer, remote: SentenceTransformer, url: str
) -> None:
    assert remote.prompts == real.prompts
    assert remote.default_prompt_name is real.default_prompt_name is None
    assert remote.max_seq_length == real.max_seq_length == 2048
    assert remote.get_embedding_dimension() == real.get_embedding_dimension() == 64
    assert remote.truncate_dim is real.truncate_dim is None
    with SentenceTransformer(url, truncate_dim=32, prompts={"sts": "Same? ", "document": "Doc: "}) as told:
        assert told.get_sentence_embedding_dimension() == 32
        assert told.encode("text").shape == (32,)
        assert told.encode("text", truncate_dim=48).shape == (48,)
        np.testing.assert_array_equal(told.encode("text", prompt_name="sts"), told.encode("Same? text"))
        np.testing.assert_array_equal(told.encode_document("text"), told.encode("Doc: text"))


def test_the_parameters_are_the_librarys_in_their_order() -> None:
    for name in ("encode", "encode_query", "encode_document"):
        ours, theirs = (
            [
                (parameter.name, parameter.default)
                for parameter in inspect.signature(getattr(kind, name)).parameters.values()
            ]
            for kind in (SentenceTransformer, sentence_transformers.SentenceTransformer)
        )
        # After self comes what to encode, which the library calls `inputs` by now; its last one is **kwargs.
        assert ours[2:] == theirs[2:-1]


def test_the_librarys_own_tools_take_it(
    real: sentence_transformers.SentenceTransformer, remote: SentenceTransformer
) -> None:
    texts = [f"text number {i}" for i in range(12)]
    pairs = [paraphrase_mining(model, texts, top_k=2) for model in (real, remote)]
    assert [pair[1:] for pair in pairs[0]] == [pair[1:] for pair in pairs[1]]
    hits = semantic_search(remote.encode_query(texts[:2]), remote.encode_document(texts), top_k=3)
    assert [len(of_query) for of_query in hits] == [3, 3]
    evaluator = InformationRetrievalEvaluator(
        queries={str(i): text for i, text in enumerate(texts[:4])},
        corpus={str(i): text for i, text in enumerate(texts)},
        relevant_docs={str(i): {str(i)} for i in range(4)},
        score_functions={"cosine": cos_sim},
        show_progress_bar=False,
    )
    metrics = [evaluator.compute_metrices(model) for model in (real, remote)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"output_value": "token_embeddings"}, "output_value"),
        ({"output_value": None}, "output_value"),
        ({"device": "cuda"}, "device"),
        ({"pool": {}}, "pool"),
        ({"chunk_size": 5}, "pool"),
        ({"precision": "int8"}, "calibration"),
        ({"precision": "float64"}, "precision"),
        ({"batch_size": 0}, "batch_size"),
        ({"truncate_dim": 31}, "from 32 to 64"),
        ({"truncate_dim": 65}, "from 32 to 64"),
        ({"prompt_name": "sts"}, "'query', 'document'"),
        ({"prompt_name": "query", "prompt": "x"}, "contradict"),
    ],
)
def test_what_a_remote_model_cannot_do_is_refused(
    remote: SentenceTransformer, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        remote.encode(["text"], **options)
    with pytest.raises(TypeError):
        remote.encode(["text"], task="query")  # type: ignore[call-arg]


def test_errors_count_the_callers_sentences(remote: SentenceTransformer) -> None:
    with pytest.raises(InvalidInputError, match="text 2"):
        remote.encode(["good", "", "\ud800"])
    with pytest.raises(InvalidInputError, match="text 1"):
        remote.encode(["good", 3], prompt="about: ")  # type: ignore[list-item]
    with pytest.raises(ServerUnavailableError, match="qwen3-triton serve"):
        SentenceTransformer("localhost:1").encode("text")


def test_a_failure_of_the_server_counts_them_too() -> None:
    class Overflowing(FakeTransport):
        def vector(self, input_ids: NDArray[np.int64], *, dimensions: int) -> NDArray[np.float32]:
            vector = super().vector(input_ids, dimensions=dimensions)
            return vector * np.nan if input_ids.size > 50 else vector

    with Client(transport=Overflowing()) as client:
        model = SentenceTransformer(client=client)
        with pytest.raises(InferenceError, match=r"^text 3: .*not finite") as failure:
            model.encode(["good", "", "good", "long" * 20, "good"])
    assert failure.value.index == 3


def test_no_sentences_empty_ones_and_arrays_of_them(remote: SentenceTransformer) -> None:
    assert remote.encode([]).shape == (0, 64)
    assert remote.encode([""]).shape == (1, 64)
    np.testing.assert_array_equal(remote.encode(np.array(TEXTS)), remote.encode(TEXTS))


def test_a_progress_bar_counts_texts(remote: SentenceTransformer, capsys: pytest.CaptureFixture[str]) -> None:
    remote.encode(TEXTS[:2], show_progress_bar=True)
    assert "2/2" in capsys.readouterr().err
    remote.encode(TEXTS[:2])
    assert capsys.readouterr().err == ""


def test_it_travels(remote: SentenceTransformer) -> None:
    with pickle.loads(pickle.dumps(remote)) as twin:  # noqa: S301 - our own bytes
        np.testing.assert_array_equal(twin.encode("text"), remote.encode("text"))
