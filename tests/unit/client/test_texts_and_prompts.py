"""What counts as a text, and what the model reads for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_client import EmptyTextError, InvalidInputError
from qwen3_client.contract import ModelInfo
from qwen3_client.inputs import as_documents, as_pairs, as_texts, checked_text
from qwen3_client.pair_template import QWEN_TEMPLATE
from qwen3_client.prompts import pair_prompt, prefix_of, query_prompt, task
from support.prompts import text_of

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXTS)
def test_every_text_is_accepted_and_unchanged(text: str) -> None:
    assert checked_text(text) == text
    assert as_texts([text, text]) == [text, text]


@pytest.mark.parametrize("text", ["\0", "🙂", " ", "\n", "x" * 100_000, "\ufffe"])
def test_odd_texts_are_texts(text: str) -> None:
    assert checked_text(text) == text


def test_an_empty_text_has_its_own_error() -> None:
    for empty in (lambda: as_texts([""]), lambda: as_documents([""]), lambda: as_pairs([("", "x")])):
        with pytest.raises(EmptyTextError):
            empty()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "text 1: a text must not be empty"),
        (None, "text 1: a text must be a str, not NoneType"),
        (b"x", "text 1: a text must be a str, not bytes"),
        ("ok\udc80", r"text 1: a text holds a lone surrogate \(U\+DC80 at character 2\)"),
        ("\ud83d", "lone surrogate"),
    ],
)
def test_what_is_no_text_is_named_with_its_position(text: object, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        as_texts(["fine", text])
    assert caught.value.index == 1
    assert isinstance(caught.value, EmptyTextError) == (text == "")


@pytest.mark.parametrize("texts", [b"bytes", {"a": 1}, {"a"}, 7, None])
def test_what_is_no_sequence_is_refused(texts: object) -> None:
    with pytest.raises(InvalidInputError, match="a str or a sequence of str"):
        as_texts(texts)


@pytest.mark.parametrize("documents", ["one", b"bytes", {"a": 1}, {"a"}, 7, None])
def test_documents_are_a_sequence_even_when_there_is_one(documents: object) -> None:
    with pytest.raises(InvalidInputError, match="documents must be a sequence of str, not"):
        as_documents(documents)


def test_documents_and_pairs_come_back_as_they_are() -> None:
    assert as_documents(("a", "b")) == ["a", "b"]
    assert as_pairs([("a", "b"), ["c", "d"]]) == [("a", "b"), ("c", "d")]
    assert as_documents([]) == []
    assert as_pairs([]) == []


@pytest.mark.parametrize("pairs", ["ab", b"ab", {"a": "b"}, {("a", "b")}, 7, None])
def test_what_is_no_sequence_of_pairs_is_refused(pairs: object) -> None:
    with pytest.raises(InvalidInputError, match=r"pairs must be a sequence of \(query, document\), not"):
        as_pairs(pairs)


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("ab", r"must be \(query, document\), not a str"),
        (("a",), r"must be \(query, document\), not a tuple of 1"),
        (["a", "b", "c"], r"must be \(query, document\), not a list of 3"),
        (None, r"must be \(query, document\), not a NoneType"),
        (("", "b"), "the query must not be empty"),
        (("a", 3), "the document must be a str, not int"),
        (("a", "\ud800"), "the document holds a lone surrogate"),
    ],
)
def test_what_is_no_pair_is_named_with_its_position(pair: object, said: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^pair 1: {said}") as caught:
        as_pairs([("fine", "fine"), pair])
    assert caught.value.index == 1


def test_the_query_template_is_the_model_card_s() -> None:
    task = "Given a web search query, retrieve relevant passages that answer the query"
    assert query_prompt("What is the capital of China?", instruction=task) == (
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
        "Query:What is the capital of China?"
    )


def test_the_reranker_s_template_is_the_model_card_s() -> None:
    pair = ("What is the capital of China?", "The capital of China is Beijing.")
    assert text_of(pair_prompt(pair, template=QWEN_TEMPLATE, instruction="Find")) == (
        "<|im_start|>system\n"
        "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
        'Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n"
        "<Instruct>: Find\n"
        "<Query>: What is the capital of China?\n"
        "<Document>: The capital of China is Beijing.<|im_end|>\n"
        "<|im_start|>assistant\n"
        "<think>\n\n</think>\n\n"
    )


@given(TEXTS, TEXTS, TEXTS)
def test_the_reranker_s_template_never_alters_what_it_carries(query: str, document: str, task: str) -> None:
    whole = text_of(pair_prompt((query, document), template=QWEN_TEMPLATE, instruction=task))
    before, after = QWEN_TEMPLATE.split("<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}")
    assert whole == f"{before}<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}{after}"


@given(TEXTS, TEXTS)
def test_a_template_never_alters_what_it_carries(text: str, task: str) -> None:
    prompt = query_prompt(text, instruction=task)
    assert prompt.startswith(f"Instruct: {task}\nQuery:")
    assert prompt.endswith(text)
    assert len(prompt) == len(text) + len(task) + len("Instruct: \nQuery:")


def test_the_default_task_is_the_model_s(config: dict[str, Any]) -> None:
    info = ModelInfo.from_config(config)
    assert prefix_of(info, "query") == "Instruct: Find it\nQuery:"
    assert prefix_of(info, "query", instruction="Sort") == "Instruct: Sort\nQuery:"
    assert prefix_of(info, "document") == ""
    assert [task(None, default="Find"), task("Sort", default="Find")] == ["Find", "Sort"]


@pytest.mark.parametrize(
    ("kind", "instruction", "said"),
    [
        ("query", "", "instruction must not be empty"),
        ("query", "\ud800", "instruction holds a lone surrogate"),
        ("document", "Find", "documents take no instruction"),
        ("passage", None, "kind must be 'query' or 'document', not 'passage'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    config: dict[str, Any], kind: str, instruction: str | None, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        prefix_of(ModelInfo.from_config(config), kind, instruction=instruction)  # type: ignore[arg-type]
