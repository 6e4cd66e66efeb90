"""What counts as a text, and what the model reads for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qwen3_client import InvalidInputError
from qwen3_client._prompts import document_prompt, prompt_for, query_prompt
from qwen3_client._texts import as_list, checked_text

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXTS)
def test_every_text_is_accepted_and_unchanged(text: str) -> None:
    assert checked_text(text) == text
    assert as_list([text, text]) == [text, text]


@pytest.mark.parametrize("text", ["\0", "🙂", " ", "\n", "x" * 100_000, "\ufffe"])
def test_odd_texts_are_texts(text: str) -> None:
    assert checked_text(text) == text


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
        as_list(["fine", text])
    assert caught.value.index == 1


@pytest.mark.parametrize("texts", [b"bytes", {"a": 1}, {"a"}, 7, None])
def test_what_is_no_sequence_is_refused(texts: object) -> None:
    with pytest.raises(InvalidInputError, match="a str or a sequence of str"):
        as_list(texts)


def test_the_query_template_is_the_model_card_s() -> None:
    task = "Given a web search query, retrieve relevant passages that answer the query"
    assert query_prompt("What is the capital of China?", instruction=task) == (
        "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
        "Query:What is the capital of China?"
    )


@given(TEXTS, TEXTS)
def test_a_template_never_alters_what_it_carries(text: str, task: str) -> None:
    assert document_prompt(text) == text
    prompt = prompt_for("query", instruction=task, default_instruction="default")(text)
    assert prompt.startswith(f"Instruct: {task}\nQuery:")
    assert prompt.endswith(text)
    assert len(prompt) == len(text) + len(task) + len("Instruct: \nQuery:")


def test_the_default_task_is_the_model_s() -> None:
    assert prompt_for("query", instruction=None, default_instruction="Find")("x") == "Instruct: Find\nQuery:x"
    assert prompt_for("document", instruction=None, default_instruction="Find")("x") == "x"


@pytest.mark.parametrize(
    ("kind", "instruction", "said"),
    [
        ("query", "", "instruction must not be empty"),
        ("query", "\ud800", "instruction holds a lone surrogate"),
        ("document", "Find", "documents take no instruction"),
        ("passage", None, "kind must be 'query' or 'document', not 'passage'"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind: str, instruction: str | None, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        prompt_for(kind, instruction=instruction, default_instruction="Find")  # type: ignore[arg-type]
