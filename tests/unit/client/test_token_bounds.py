"""A call that cannot succeed is refused from its characters, and what is abandoned ends; in the genuine vocabulary."""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen3_client import Client, InvalidInputError, TextTooLongError, TooManyTokensError
from qwen3_client.frame import Frame, Part, Prompt
from qwen3_client.pair_template import QWEN_TEMPLATE
from qwen3_client.prompts import pair_prompt
from qwen3_client.thread_work import AbandonedError, Abandonment, run_in_thread
from qwen3_client.token_bounds import TokenBounds
from qwen3_client.tokenizer import TextTokenizer
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import Tokenizer, normalizers

if TYPE_CHECKING:
    from unit.client.conftest import SlowTransport

MAX_TOKENS = 32768
MAX_TOTAL = 1_000_000


@pytest.fixture(scope="module")
def genuine() -> Tokenizer:
    return build_qwen_tokenizer()


@pytest.fixture(scope="module")
def bounds(genuine: Tokenizer) -> TokenBounds:
    return TokenBounds(genuine)


@pytest.fixture(scope="module")
def tokenizer(genuine: Tokenizer) -> TextTokenizer:
    """The tokenizer of a model of the published size; `counted` makes it count."""
    return TextTokenizer(genuine.to_str().encode(), max_tokens=MAX_TOKENS)


class Counting:
    """A tokenizer that counts the characters that it is given, and calls a function before each batch."""

    def __init__(self, tokenizer: Tokenizer, before: Callable[[], object] = lambda: None) -> None:
        self._tokenizer = tokenizer
        self._before = before
        self.characters = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:  # noqa: ANN401
        self._before()
        self.characters += sum(map(len, texts))
        return self._tokenizer.encode_batch_fast(texts, **options)


def counted(tokenizer: TextTokenizer, before: Callable[[], object] = lambda: None) -> Counting:
    """Count what a tokenizer tokenizes from now on."""
    counting: Any = Counting(tokenizer._tokenizer, before)
    tokenizer._bounded._tokenizer = counting
    found: Counting = counting
    return found


def pairs(query: str, documents: list[str], instruction: str = "Find") -> list[Prompt]:
    return [pair_prompt((query, text), template=QWEN_TEMPLATE, instruction=instruction) for text in documents]


@settings(deadline=None, max_examples=40)
@given(
    piece=st.text(min_size=1, max_size=12)
    | st.text(alphabet=list("aZ9 ,.\n\t-e\u0301\u1100\u1161\u11a8\u03b1\u0313\u0300\u0345"), min_size=1, max_size=12)
)
def test_no_text_has_fewer_tokens_than_its_bound(genuine: Tokenizer, bounds: TokenBounds, piece: str) -> None:
    text = piece * (2000 // len(piece))
    assert 1 <= bounds.least(text) <= len(genuine.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize(
    ("text", "near"), [("word " * 2000, 1.01), ("d,e." * 500, 1.01), (" " * 4096, 2.1), ("日本語。" * 1000, 1000)]
)
def test_how_near_the_bound_is(genuine: Tokenizer, bounds: TokenBounds, text: str, near: float) -> None:
    count = len(genuine.encode(text, add_special_tokens=False).ids)
    assert bounds.least(text) <= count <= near * bounds.least(text)


def test_short_texts_and_other_tokenizers_have_the_bound_of_one_token(genuine: Tokenizer, bounds: TokenBounds) -> None:
    assert (bounds.least(""), bounds.least("a b c d")) == (0, 1)
    other = Tokenizer.from_str(genuine.to_str())
    other.normalizer = normalizers.Lowercase()
    assert TokenBounds(other).least("a b " * 1000) == 1


@pytest.mark.parametrize(
    "prompts",
    [
        pytest.param(lambda: pairs("q " * 200_000, ["d"] * 100), id="query"),
        pytest.param(lambda: pairs("q", ["d"] * 2000, instruction="do this " * 3000), id="instruction"),
        pytest.param(lambda: pairs("q", ["d " * 2000] * 2000), id="documents"),
        pytest.param(
            lambda: [Prompt("d", Frame(before=(Part("do this " * 3000, "instruction"),)))] * 2000, id="embedding"
        ),
    ],
)
def test_items_times_query_are_refused_before_they_are_tokenized(
    tokenizer: TextTokenizer, prompts: Callable[[], list[Prompt]]
) -> None:
    counting = counted(tokenizer)
    with pytest.raises(TooManyTokensError, match="1000000 tokens together"):
        tokenizer.check(prompts(), truncate=True, max_total_tokens=MAX_TOTAL)
    assert counting.characters <= 4 * 3 * MAX_TOKENS, "the query alone, a few times what is kept of it"


def test_what_the_characters_do_not_show_is_refused_once_there_are_too_many_tokens(tokenizer: TextTokenizer) -> None:
    prompts = pairs("q", ["日本語。" * 500] * 2000)
    tokenizer.check(prompts, truncate=True, max_total_tokens=MAX_TOTAL)
    counting = counted(tokenizer)
    with pytest.raises(TooManyTokensError):
        tokenizer.encode(prompts, truncate=True, max_total_tokens=100_000)
    assert counting.characters < sum(len(prompt.text) for prompt in prompts) / 8


def test_what_fits_is_not_refused(tokenizer: TextTokenizer) -> None:
    prompts = [*pairs("q " * 9000, ["some words " * 500] * 7), *pairs("short", ["d"] * 3)]
    rows = tokenizer.encode(prompts, truncate=True).results
    total = sum(row.ids.size for row in rows)
    tokenizer.check(prompts, truncate=True, max_total_tokens=total)
    found = tokenizer.encode(prompts, truncate=True, max_total_tokens=total).results
    assert [row.ids.tolist() for row in found] == [row.ids.tolist() for row in rows]
    with pytest.raises(TooManyTokensError):
        tokenizer.encode(prompts, truncate=True, max_total_tokens=total - 1)


@pytest.mark.parametrize("queries", [["q"] * 40, [f"query {number}" for number in range(40)]], ids=["one", "many"])
def test_a_text_that_is_too_long_is_named_before_any_is_tokenized(tokenizer: TextTokenizer, queries: list[str]) -> None:
    documents = [*["some words " * 5000] * 39, "word " * MAX_TOKENS]
    prompts = [pairs(query, [text])[0] for query, text in zip(queries, documents, strict=True)]
    counting = counted(tokenizer)
    with pytest.raises(TextTooLongError, match="text 39: more than the 32768 tokens"):
        tokenizer.check(prompts, truncate=False)
    assert counting.characters < 5000
    tokenizer.check(prompts, truncate=True)


@pytest.mark.parametrize("unit", ["q", " ", "\n", "-", "ก", "🙂"])
def test_a_run_that_would_be_tokenized_at_once_is_limited(tokenizer: TextTokenizer, unit: str) -> None:
    run, counting = unit * 1_100_000, counted(tokenizer)
    for prompts in (pairs("q", ["d", run]), [pairs("q", ["d"])[0], *pairs(run, ["d"] * 3)]):
        with pytest.raises(InvalidInputError, match="text 1: 1100000 characters in a row"):
            tokenizer.check(prompts, truncate=True, max_total_tokens=MAX_TOTAL)
        tokenizer.check(prompts, truncate=True)  # without a limit, nothing is limited
    assert counting.characters == 0
    broken = f"{unit * 400_000}a, b" * 3
    tokenizer.check(pairs("q", [broken]), truncate=True, max_total_tokens=MAX_TOTAL)


def test_tokenizing_ends_at_the_next_piece_after_it_is_abandoned(tokenizer: TextTokenizer) -> None:
    prompts = pairs("q", ["some words " * 10_000] * 50)
    tokenizer.check(prompts, truncate=True, max_total_tokens=MAX_TOTAL * 10)
    abandonment = Abandonment()
    pieces = []

    def leave_at_the_third() -> None:
        pieces.append(1)
        if len(pieces) == 3:
            abandonment.set()

    counting = counted(tokenizer, leave_at_the_third)
    with pytest.raises(AbandonedError):
        tokenizer.encode(prompts, truncate=True, abandonment=abandonment)
    assert len(pieces) == 3
    assert counting.characters < sum(len(prompt.text) for prompt in prompts) / 10


def test_cancelling_ends_with_the_work_and_not_before() -> None:
    begun, seen, ended = threading.Event(), threading.Event(), threading.Event()
    abandonment = Abandonment()

    def work() -> None:
        begun.set()
        assert abandonment.wait(30)
        seen.set()
        threading.Event().wait(0.1)  # the rest of a piece
        ended.set()
        abandonment.check()

    async def leave() -> None:
        task = asyncio.create_task(run_in_thread(work, abandonment=abandonment))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen.is_set()
        assert ended.is_set()

    asyncio.run(leave())


def test_a_request_may_have_fewer_tokens_and_keeps_its_frame(genuine: Tokenizer) -> None:
    tokenizer = TextTokenizer(genuine.to_str().encode(), max_tokens=64, eos_token_id=151643)
    frame = Frame(before=(Part("Instruct: find it\nQuery:", "instruction"),))
    prompt = Prompt("the first words and then the last", frame)
    whole = tokenizer.encode([prompt], truncate=False).results[0].ids.tolist()
    alone = tokenizer.encode([Prompt(prompt.text)], truncate=False).results[0].ids.tolist()[:-1]
    start = whole[: len(whole) - len(alone) - 1]
    for truncate, kept in (("end", alone[:3]), ("start", alone[-3:])):
        (row,) = tokenizer.encode([prompt], truncate=truncate, max_tokens=len(start) + 4).results  # type: ignore[arg-type]
        assert row.ids.tolist() == [*start, *kept, 151643]
        assert row.is_cut
    with pytest.raises(ValueError, match="text 0: max_tokens 8 leaves no room for the text"):
        tokenizer.encode([prompt], truncate="end", max_tokens=8)
    with pytest.raises(TextTooLongError, match="more than the 12 tokens that the call allows"):
        tokenizer.encode([prompt], truncate=False, max_tokens=12).all("text")


@pytest.fixture
def genuine_client(
    genuine: Tokenizer,
    config: dict[str, Any],
    reranker_config: dict[str, Any],
    tmp_path: Path,
    transport: "SlowTransport",
) -> Iterator[Client]:
    """A client of models with the genuine vocabulary that take 256 tokens."""
    genuine.save(str(tmp_path / "tokenizer.json"))
    digest = hashlib.sha256((tmp_path / "tokenizer.json").read_bytes()).hexdigest()
    own = {"tokenizer": str(tmp_path), "tokenizer_sha256": digest, "vocabulary": "151669", "max_tokens": "256"}
    for served in (config, reranker_config):
        served["parameters"].update({key: {"string_value": value} for key, value in own.items()})
    config["parameters"]["eos_token_id"] = {"string_value": "151643"}
    transport.configs.update({each["name"]: each for each in (config, reranker_config)})
    with Client(concurrency=4) as client:
        yield client


def test_nothing_is_sent_of_a_call_with_a_text_that_is_too_long(
    genuine_client: Client, transport: "SlowTransport"
) -> None:
    texts = [*["short"] * 20, "word " * 500]
    with pytest.raises(TextTooLongError, match="text 20:"):
        genuine_client.encode_document(texts, truncate=False)
    with pytest.raises(TextTooLongError, match="document 20:"):
        genuine_client.rank("q", texts, truncate=False)
    with pytest.raises(TextTooLongError, match="pair 20:"):
        genuine_client.score([("q", text) for text in texts], truncate=False)
    assert transport.count == 0
    assert genuine_client.encode_document(texts).shape[0] == 21
    assert transport.count > 0


def test_token_rows_are_those_of_tokenize_and_say_what_was_cut(genuine_client: Client) -> None:
    texts = ["short", "word " * 500]
    rows = genuine_client.token_rows(texts, kind="query", max_total_tokens=1000)
    assert [row.ids.tolist() for row in rows] == [ids.tolist() for ids in genuine_client.tokenize(texts, kind="query")]
    assert [row.is_cut for row in rows] == [False, True]
    found = genuine_client.token_rows_of_pairs([("q", "d"), ("word " * 500, "d"), ("q", "word " * 500)])
    assert [(row.is_query_cut, row.is_cut) for row in found] == [(False, False), (True, False), (False, True)]
    with pytest.raises(TooManyTokensError, match="100 tokens together"):
        genuine_client.token_rows(texts, max_total_tokens=100)
    with pytest.raises(InvalidInputError, match="not one str"):
        genuine_client.token_rows("text")
