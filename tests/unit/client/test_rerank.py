"""Ranking and scoring: the template on its way to the server, the order, errors. The network is a function."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qwen3_client import Client, InferenceError, InvalidInputError, RankedDocument
from qwen3_client.pair_template import QWEN_TEMPLATE
from qwen3_client.ranking import JudgedPair, Judgement, checked_top_k, ranked
from tokenizers import Tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from unit.client.conftest import SlowTransport

MakeClient = Callable[..., Client]
SUFFIX = QWEN_TEMPLATE.partition("{document}")[2]
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
# Some scores saturate, some are equal throughout.
JUDGEMENTS = st.sampled_from([-200.0, -120.0, -3.0, 0.0, 0.5, 3.0, 120.0, 200.0]).map(
    lambda logit: Judgement(score=float(np.float32(1 / (1 + math.exp(-logit)))), logit=logit)
)


@pytest.fixture
def decode(tokenizer_folder: Path) -> Callable[[NDArray[np.int64]], str]:
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    return lambda input_ids: str(tokenizer.decode(input_ids[0].tolist(), skip_special_tokens=False))


def score_by_length(transport: SlowTransport) -> None:
    """Makes the server prefer short prompts, so that a test knows the order."""

    def judge(input_ids: NDArray[np.int64]) -> tuple[float, float]:
        logit = 3.0 - input_ids.shape[1] / 100
        return 1 / (1 + math.exp(-logit)), logit

    transport.judge = judge


def test_documents_come_back_the_best_first(make_client: MakeClient, transport: SlowTransport) -> None:
    score_by_length(transport)
    client = make_client()
    best = client.rank("q", ["ccc", "a", "bb"], return_documents=True)
    assert [(document.index, document.document) for document in best] == [(1, "a"), (2, "bb"), (0, "ccc")]
    assert best[0].score > best[1].score > best[2].score
    assert best[0].score == pytest.approx(1 / (1 + math.exp(-best[0].logit)))
    assert client.rank("q", ["ccc", "a", "bb"], top_k=2) == [dataclasses.replace(d, document=None) for d in best[:2]]
    assert len(client.rank("q", ["ccc", "a", "bb"], top_k=99)) == 3
    assert client.rank("q", []) == []
    assert set(transport.models_asked) == {"qwen3_reranker"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        best[0].score = 1.0  # type: ignore[misc]


def test_scores_keep_the_order_of_the_pairs_and_are_those_of_rank(make_client: MakeClient) -> None:
    client = make_client()
    documents = [f"document {i}" for i in range(50)]
    scores = client.score([("q", document) for document in documents])
    assert scores.shape == (50,)
    assert scores.dtype == np.float32
    for entry in client.rank("q", documents):
        assert scores[entry.index] == np.float32(entry.score)
    empty = client.score([])
    assert empty.shape == (0,)
    assert empty.dtype == np.float32


def test_the_server_gets_the_whole_template(
    make_client: MakeClient, transport: SlowTransport, decode: Callable[[NDArray[np.int64]], str]
) -> None:
    seen = []

    def judge(input_ids: NDArray[np.int64]) -> tuple[float, float]:
        seen.append(decode(input_ids))
        return 0.5, 0.0

    transport.judge = judge
    client = make_client()
    client.score([("Кто?", "北京 🙂")])
    client.rank("Кто?", ["北京 🙂"], instruction="Sort")
    for prompt, task in zip(seen, ("Find it", "Sort"), strict=True):
        assert prompt == QWEN_TEMPLATE.format(instruction=task, query="Кто?", document="北京 🙂")


def test_a_long_document_loses_its_end_and_nothing_else(
    make_client: MakeClient, transport: SlowTransport, decode: Callable[[NDArray[np.int64]], str]
) -> None:
    seen = []

    def judge(input_ids: NDArray[np.int64]) -> tuple[float, float]:
        assert input_ids.shape[1] <= 512
        seen.append(decode(input_ids))
        return 0.5, 0.0

    transport.judge = judge
    client = make_client()
    client.rank("q", ["x" * 100_000])
    (prompt,) = seen
    assert prompt.startswith(
        QWEN_TEMPLATE.format(instruction="Find it", query="q", document="xxx").removesuffix(SUFFIX)
    )
    assert prompt.endswith("xxx" + SUFFIX)
    with pytest.raises(InvalidInputError, match=r"^document 2: more than the 512 tokens that the model takes"):
        client.rank("q", ["x", "x", "x" * 1000], truncate=False)
    with pytest.raises(InvalidInputError, match=r"^pair 1: more than the 512 tokens"):
        client.score([("q", "x"), ("q" * 1000, "x")], truncate=False)


# --- laws --------------------------------------------------------------------------------------------------


@given(st.lists(JUDGEMENTS, max_size=20), st.none() | st.integers(1, 25))
def test_the_order_is_total_and_top_k_is_its_beginning(judgements: list[Judgement], top_k: int | None) -> None:
    entries = ranked([JudgedPair(judgement) for judgement in judgements], documents=None, top_k=None)
    assert sorted(entry.index for entry in entries) == list(range(len(judgements)))
    keys = [(-entry.score, -entry.logit, entry.index) for entry in entries]
    assert keys == sorted(keys)
    for entry in entries:
        assert judgements[entry.index] == (entry.score, entry.logit)
    assert ranked([JudgedPair(judgement) for judgement in judgements], documents=None, top_k=top_k) == entries[:top_k]


def test_saturated_scores_go_by_the_logit_and_equals_by_their_order() -> None:
    judgements = [Judgement(1.0, 90.0), Judgement(1.0, 95.0), Judgement(0.0, -95.0), Judgement(1.0, 95.0)]
    assert [
        entry.index for entry in ranked([JudgedPair(judgement) for judgement in judgements], documents=None, top_k=None)
    ] == [1, 3, 0, 2]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, max_size=20, unique=True), st.integers(1, 5), st.randoms(use_true_random=False))
@pytest.mark.usefixtures("transport")  # which holds nothing that an example changes
def test_ranks_do_not_depend_on_the_order_of_the_documents(
    documents: list[str], concurrency: int, random: Random
) -> None:
    shuffled = random.sample(documents, len(documents))
    with Client(concurrency=concurrency) as client:
        one = client.rank("q", documents, return_documents=True)
        other = client.rank("q", shuffled, return_documents=True)
    untold = operator.attrgetter("document", "score", "logit")
    assert [untold(entry) for entry in one] == [untold(entry) for entry in other]
    for entries, given_in in ((one, documents), (other, shuffled)):
        assert all(given_in[entry.index] == entry.document for entry in entries)


# --- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top_k", [0, -1, 1.0, "1", True])
def test_top_k_is_a_whole_number_of_at_least_one(
    make_client: MakeClient, transport: SlowTransport, top_k: object
) -> None:
    with pytest.raises(InvalidInputError, match="top_k must be a whole number of at least 1, not"):
        make_client().rank("q", ["a"], top_k=top_k)  # type: ignore[arg-type]
    assert transport.count == 0
    assert checked_top_k(int(np.int64(3))) == 3


@pytest.mark.parametrize(
    ("query", "documents", "options", "said"),
    [
        ("", ["a"], {}, r"^the query must not be empty"),
        (["q"], ["a"], {}, r"^the query must be a str, not list"),
        ("q", "abc", {}, r"^documents must be a sequence of str, not str"),
        ("q", {"a"}, {}, r"^documents must be a sequence of str, not set"),
        ("q", ["a"] * 99 + [""], {}, r"^document 99: a document must not be empty"),
        ("q", ["a", None], {}, r"^document 1: a document must be a str, not NoneType"),
        ("q", ["a", "\ud800"], {}, r"^document 1: a document holds a lone surrogate"),
        ("q", ["a"], {"instruction": ""}, r"^instruction must not be empty"),
        ("q", ["a"], {"instruction": 3}, r"^instruction must be a str"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_sent(
    make_client: MakeClient,
    transport: SlowTransport,
    query: str,
    documents: list[str],
    options: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        make_client().rank(query, documents, **options)
    assert transport.count == 0


def test_a_bad_pair_is_named_before_anything_is_sent(make_client: MakeClient, transport: SlowTransport) -> None:
    with pytest.raises(InvalidInputError, match=r"^pair 99: the document must not be empty") as caught:
        make_client().score([("q", "fine")] * 99 + [("q", "")])
    assert (caught.value.index, caught.value.noun) == (99, "pair")
    assert transport.count == 0


@pytest.mark.parametrize("bad", [(math.nan, math.nan), (0.5, math.nan), (math.nan, 0.0), (1.0, math.inf)])
def test_an_answer_that_is_not_finite_is_an_error_for_its_document(
    make_client: MakeClient, transport: SlowTransport, bad: tuple[float, float]
) -> None:
    short = len(QWEN_TEMPLATE.format(instruction="Find it", query="q", document="a").encode())
    transport.judge = lambda input_ids: (0.5, 0.0) if input_ids.shape[1] == short else bad
    client = make_client()
    said = "not finite: the model did not admit this text .empty, over max_tokens, or a token id outside"
    with pytest.raises(InferenceError, match=rf"^document 7: .*{said}"):
        client.rank("q", ["a"] * 7 + ["aa"] + ["a"] * 20)
    with pytest.raises(InferenceError, match=rf"^pair 3: .*{said}"):
        client.score([("q", "a")] * 3 + [("q", "aa")])
    assert client.rank("q", ["a"])[0] == RankedDocument(index=0, score=0.5, logit=0.0, document=None)


def test_the_first_error_in_order_is_raised(make_client: MakeClient, transport: SlowTransport) -> None:
    plain = len(QWEN_TEMPLATE.format(instruction="Find it", query="q", document="a").encode())

    def judge(input_ids: NDArray[np.int64]) -> tuple[float, float]:
        if input_ids.shape[1] > plain:
            raise InferenceError("gone")
        return 0.5, 0.0

    transport.judge = judge
    with pytest.raises(InferenceError, match=r"^document 10: gone$"):
        make_client().rank("q", ["a"] * 10 + ["aa", "aaa"] + ["a"] * 1000)
    assert transport.count < 60


def test_a_ranked_document_is_plain_data(make_client: MakeClient) -> None:
    (entry,) = make_client().rank("q", ["a"], return_documents=True)
    assert json.loads(json.dumps(dataclasses.asdict(entry))) == {
        "index": 0,
        "score": entry.score,
        "logit": entry.logit,
        "document": "a",
        "is_query_cut": False,
        "is_document_cut": False,
    }
