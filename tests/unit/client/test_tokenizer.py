"""Text to token ids, with a genuine byte-level tokenizer: one token per byte of UTF-8."""

import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from qwen3_client import (
    ContractMismatchError,
    InvalidInputError,
    ModelInfo,
    RerankerInfo,
    TextTooLongError,
    TokenizerUnavailableError,
)
from qwen3_client.frame import Frame, Part, Prompt
from qwen3_client.options import Truncate
from qwen3_client.pair_template import QWEN_TEMPLATE
from qwen3_client.prompts import pair_prompt
from qwen3_client.tokenizer import TextTokenizer
from support.prompts import encode, text_of
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import Tokenizer

EOS = 256


@pytest.fixture
def info(config: dict[str, Any]) -> ModelInfo:
    return ModelInfo.from_config(config)


@pytest.fixture(scope="module")
def tokenizer(tokenizer_folder: Path) -> TextTokenizer:
    content = (tokenizer_folder / "tokenizer.json").read_bytes()
    return TextTokenizer(content, max_tokens=128, eos_token_id=EOS)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), max_size=20))
def test_ids_are_the_body_and_one_end_of_text(tokenizer: TextTokenizer, texts: list[str]) -> None:
    rows = encode(tokenizer, texts, truncate=True).results
    assert len(rows) == len(texts)
    for text, row in zip(texts, rows, strict=True):
        assert row.dtype == np.int64
        if "<|endoftext|>" not in text:
            assert row.shape == (min(len(text.encode()), 127) + 1,)
        assert row[-1] == EOS


def test_ids_decode_to_the_text(tokenizer: TextTokenizer, tokenizer_folder: Path) -> None:
    text = "NUL \0, emoji 🙂, Привет, 北京"
    (row,) = encode(tokenizer, [text], truncate=False).results
    decoder = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    assert decoder.decode(row[:-1].tolist()) == text


def test_the_file_s_own_truncation_and_padding_are_off(tokenizer: TextTokenizer) -> None:
    # It says: cut to 7, pad to 9.
    assert [row.size for row in encode(tokenizer, ["a", "b" * 100], truncate=False).results] == [2, 101]


@pytest.mark.parametrize("length", [126, 127, 128, 129, 100_000])
def test_truncation_cuts_the_body_and_keeps_the_end_of_text(tokenizer: TextTokenizer, length: int) -> None:
    (row,) = encode(tokenizer, ["x" * length], truncate=True).results
    assert row.shape == (min(length, 127) + 1,)
    assert row[-1] == EOS
    assert EOS not in row[:-1]


def test_a_text_may_lose_its_beginning_instead(tokenizer: TextTokenizer) -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(200))
    (row,) = encode(tokenizer, [text], truncate="start").results
    (end,) = encode(tokenizer, [text[-127:]], truncate=False).results
    assert row.tolist() == end.tolist()
    (short,) = encode(tokenizer, ["abc"], truncate="start").results
    assert short.tolist() == encode(tokenizer, ["abc"], truncate="end").results[0].tolist()


def test_without_truncation_a_long_text_is_named(tokenizer: TextTokenizer) -> None:
    assert encode(tokenizer, ["x" * 127], truncate=False).results[0].shape == (128,)
    outcome = encode(tokenizer, ["x", "x" * 128, "x"], truncate=False)
    assert [row.size for row in outcome.results] == [2]  # those before it
    with pytest.raises(TextTooLongError, match=r"^text 1: more than the 128 tokens that the model takes"):
        outcome.all("text")


# --- a reranker's: template, instruction, query, document -----------------------------------------------------

ROOM = 100  # tokens, which are bytes, for query and document
FRAME = len(QWEN_TEMPLATE.format(instruction="Find", query="", document="").encode())
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)


def pair_of(query: str, document: str, *, template: str = QWEN_TEMPLATE) -> Prompt:
    return pair_prompt((query, document), template=template, instruction="Find")


def first_bytes(text: str, count: int) -> bytes:
    return text.encode()[:count]


@pytest.fixture(scope="module")
def framed(tokenizer_folder: Path) -> TextTokenizer:
    content = (tokenizer_folder / "tokenizer.json").read_bytes()
    return TextTokenizer(content, max_tokens=FRAME + ROOM)


@pytest.fixture(scope="module")
def plain(tokenizer_folder: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@given(TEXTS, TEXTS)
def test_a_pair_is_cut_only_if_it_does_not_fit_and_the_document_keeps_half_of_the_room(
    framed: TextTokenizer, plain: Tokenizer, query: str, document: str
) -> None:
    (row,) = framed.encode([pair_of(query, document)], truncate=True).results
    lengths = len(query.encode()), len(document.encode())
    if sum(lengths) <= ROOM:
        kept_query, kept_document = query, document.encode()
    else:
        kept_query = query if lengths[0] <= ROOM // 2 else first_bytes(query, ROOM // 2).decode(errors="ignore")
        kept_document = first_bytes(document, ROOM - len(kept_query.encode()))
    before, after = QWEN_TEMPLATE.split("{document}")
    prefix, suffix = (
        plain.encode(text.format(instruction="Find", query=kept_query), add_special_tokens=False).ids
        for text in (before, after)
    )
    # The bytes of a document are its tokens, but a character may be cut in two.
    body = row.ids[len(prefix) : row.ids.size - len(suffix)].tolist()
    assert row.ids.tolist() == [*prefix, *body, *suffix]
    assert body == plain.encode(document, add_special_tokens=False).ids[: len(kept_document)]
    assert (row.is_query_cut, row.is_cut) == (kept_query != query, kept_document != document.encode())


def test_a_query_that_would_leave_no_room_leaves_half_of_it(framed: TextTokenizer, plain: Tokenizer) -> None:
    rows = framed.encode([pair_of("q" * 5000, document) for document in ("a", "b", "x" * 99)], truncate=True).results
    texts = [plain.decode(row.ids.tolist()) for row in rows]
    assert texts[0] == QWEN_TEMPLATE.format(instruction="Find", query="q" * 50, document="a")
    assert texts[2] == QWEN_TEMPLATE.format(instruction="Find", query="q" * 50, document="x" * 50)
    assert [(row.is_query_cut, row.is_cut) for row in rows] == [(True, False), (True, False), (True, True)]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("truncate", [True, "start", "end"])
def test_the_document_may_come_first(framed: TextTokenizer, plain: Tokenizer, truncate: Truncate) -> None:
    template = "Document {document} does it answer {query}?"
    room = FRAME + ROOM - len("Document  does it answer ?")
    (row,) = framed.encode([pair_of("q" * 5000, "d" * 5000, template=template)], truncate=truncate).results
    query, document = room // 2, room - room // 2
    assert plain.decode(row.ids.tolist()) == template.format(query="q" * query, document="d" * document)


def test_an_instruction_that_leaves_too_little_room_is_refused(tokenizer: TextTokenizer, framed: TextTokenizer) -> None:
    parts = (Part("Instruct: ", "template"), Part("i" * 60, "instruction"), Part("\nQuery:", "template"))
    for truncate in (True, False, "start"):
        with pytest.raises(InvalidInputError, match=r"more than 55 tokens, half of .*: shorten it"):
            tokenizer.encode([Prompt("text", Frame(before=parts))], truncate=truncate)
    prompt = pair_prompt(("q", "d"), template=QWEN_TEMPLATE, instruction="i" * 1000)
    with pytest.raises(InvalidInputError, match=r"more than 52 tokens"):
        framed.encode([prompt], truncate=True)
    fits = Frame(before=(parts[0], parts[1]._replace(text="i" * 55), parts[2]))
    (row,) = tokenizer.encode([Prompt("x" * 500, fits)], truncate=True).results
    assert row.ids.size == 128


def test_a_text_that_loses_its_beginning_keeps_its_instruction(tokenizer: TextTokenizer, plain: Tokenizer) -> None:
    frame = Frame(before=(Part("Instruct: Find\nQuery:", "template"),))
    (row,) = tokenizer.encode([Prompt("x" * 500 + "end", frame)], truncate="start").results
    assert plain.decode(row.ids.tolist()) == "Instruct: Find\nQuery:" + "x" * (127 - 21 - 3) + "end"


def test_a_reranker_s_ids_decode_to_its_prompt(framed: TextTokenizer, plain: Tokenizer) -> None:
    prompt = pair_of("Привет 🙂", "北京")
    (row,) = framed.encode([prompt], truncate=False).results
    assert plain.decode(row.ids.tolist()) == text_of(prompt)


def test_a_reranker_s_long_pair_is_named_and_counted_whole(framed: TextTokenizer) -> None:
    fits = pair_of("q", "x" * (ROOM - 1))
    assert framed.encode([fits], truncate=False).results[0].ids.shape == (FRAME + ROOM,)
    said = rf"pair 1: more than the {FRAME + ROOM} tokens that the model takes"
    with pytest.raises(TextTooLongError, match=said) as caught:
        framed.encode([fits, pair_of("q", "x" * ROOM)], truncate=False).all("pair")
    assert (caught.value.index, caught.value.noun) == (1, "pair")


def test_a_model_too_small_for_its_template_is_refused(reranker_config: dict[str, Any]) -> None:
    info, least = RerankerInfo.from_config(reranker_config), FRAME - len("Find")
    TextTokenizer.load(replace(info, max_tokens=least + 1))
    with pytest.raises(ContractMismatchError, match=rf"takes {least} tokens, and its template alone has {least}"):
        TextTokenizer.load(replace(info, max_tokens=least))


def test_a_reranker_s_missing_tokenizer_names_its_own_option(reranker_config: dict[str, Any]) -> None:
    info = replace(RerankerInfo.from_config(reranker_config), tokenizer="/nowhere")
    with pytest.raises(TokenizerUnavailableError, match=r"pass reranker_tokenizer=<folder"):
        TextTokenizer.load(info)


def test_threads_may_share_it(tokenizer: TextTokenizer) -> None:
    texts = [str(i) * (i % 50 + 1) for i in range(200)]
    alone = [row.tolist() for row in encode(tokenizer, texts, truncate=True).results]
    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(lambda _: encode(tokenizer, texts, truncate=True).results, range(16)):
            assert [row.tolist() for row in rows] == alone


def test_the_server_s_folder_is_used_by_default_and_another_copy_will_do(info: ModelInfo, tmp_path: Path) -> None:
    shutil.copy(Path(info.tokenizer) / "tokenizer.json", tmp_path)
    for source in (None, tmp_path, str(tmp_path)):
        assert encode(TextTokenizer.load(info, tokenizer=source), ["a"], truncate=True).results[0].shape == (2,)


def test_another_tokenizer_is_refused_with_both_hashes(info: ModelInfo, tmp_path: Path) -> None:
    content = (Path(info.tokenizer) / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(content + "\n", encoding="utf-8")
    with pytest.raises(ContractMismatchError, match=rf"sha256 is [0-9a-f]{{64}}, .*{info.tokenizer_sha256}"):
        TextTokenizer.load(info, tokenizer=tmp_path)


@pytest.mark.parametrize("source", ["/nowhere/at/all", "no-such-folder", "./no/such"])
def test_a_folder_that_is_not_there_says_what_to_pass(info: ModelInfo, source: str) -> None:
    with pytest.raises(TokenizerUnavailableError, match=r"no such folder.*tokenizer=<folder holding tokenizer.json>"):
        TextTokenizer.load(replace(info, tokenizer=source))


def test_an_empty_folder_says_what_is_missing(info: ModelInfo, tmp_path: Path) -> None:
    with pytest.raises(TokenizerUnavailableError, match=r"holds no tokenizer.json"):
        TextTokenizer.load(info, tokenizer=tmp_path)


@pytest.mark.parametrize(("source", "revision"), [("Qwen/Qwen3-Embedding-0.6B", "abc123"), ("someone/else", None)])
def test_the_hub_is_asked_for_the_checkpoint_s_revision(
    info: ModelInfo, source: str, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repo: str, name: str, *, revision: str | None) -> str:
        asked.append((repo, name, revision))
        return str(Path(info.tokenizer) / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    hub = replace(info, source="Qwen/Qwen3-Embedding-0.6B", revision="abc123")
    TextTokenizer.load(hub, tokenizer=source)
    assert asked == [(source, "tokenizer.json", revision)]


# --- a Hub that cannot be had: in a process of its own, for its library keeps the connections that it began with -----

LOAD = """
import pickle, sys
from qwen3_client import TokenizerUnavailableError
from qwen3_client.tokenizer import TextTokenizer
try:
    TextTokenizer.load(pickle.load(sys.stdin.buffer))
except TokenizerUnavailableError as error:
    print(error)
"""


OFFLINE = "HF_HUB_OFFLINE is set, and it is not in the Hub's cache on this machine); unset HF_HUB_OFFLINE, or pass "


class RefusingProxy(BaseHTTPRequestHandler):
    """An HTTP proxy that lets nobody through."""

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=[OFFLINE, "the Hugging Face Hub did not provide it: "], ids=["offline", "refused by the proxy"])
def unreachable_hub(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """The environment of a process that cannot reach the Hub, and what its error says."""
    ours = ("proxy", "hf_endpoint", "hf_hub_offline")
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith(ours)}
    environment["HF_HOME"] = str(tmp_path)
    if request.param == OFFLINE:
        yield environment | {"HF_HUB_OFFLINE": "1"}, OFFLINE
        return
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingProxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield environment | {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_port}"}, request.param
        proxy.shutdown()


def test_a_hub_that_does_not_answer_says_what_to_pass(
    info: ModelInfo, unreachable_hub: tuple[dict[str, str], str]
) -> None:
    environment, expected = unreachable_hub
    wanted = pickle.dumps(replace(info, tokenizer="no-such-owner/no-such-model"))
    command = [sys.executable, "-c", LOAD]
    done = subprocess.run(command, input=wanted, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    assert re.search(rf"{re.escape(expected)}.*<folder", said)
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def genuine() -> tuple[Tokenizer, list[TextTokenizer]]:
    """The genuine vocabulary, and what cuts with it: to 3, 9 and 19 tokens of a text."""
    vocabulary = build_qwen_tokenizer()
    content = vocabulary.to_str().encode()
    return vocabulary, [TextTokenizer(content, max_tokens=most, eos_token_id=151643) for most in (4, 10, 20)]


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60), st.integers(0, 2))
@example("e\u0301" * 30, 1)  # two characters each, which the tokenizer makes one
@example("🙂🧑🏽‍🚀" * 20, 0)  # characters of several tokens
@example("\ue000\u0f69", 0)  # one character, which the tokenizer makes two, of which none is kept
def test_the_characters_that_are_cut_are_counted(
    genuine: tuple[Tokenizer, list[TextTokenizer]], text: str, which: int
) -> None:
    vocabulary, tokenizers = genuine
    tokenizer = tokenizers[which]
    (row,) = tokenizer.encode([Prompt(text)], truncate=True).results
    normal = unicodedata.normalize("NFC", text)
    # A byte-level token has a character for each of its bytes.
    kept_bytes = sum(len(vocabulary.id_to_token(token) or "") for token in row.ids[:-1].tolist())
    kept = len(normal.encode()[:kept_bytes].decode(errors="ignore"))
    assert tokenizer.characters_cut(Prompt(text), row) == len(normal) - kept
