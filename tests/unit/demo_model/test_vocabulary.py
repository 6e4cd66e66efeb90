"""The vocabulary of `demo`, cut from the genuine one."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import Tokenizer
from vocabulary import END, cut_tokenizer

TEXTS = ["a tool for the conversion of images", "утилита для преобразования изображений"]
SIZE = 400


@pytest.fixture(scope="module")
def cut() -> Tokenizer:
    return cut_tokenizer([(1.0, TEXTS)], size=SIZE)


def test_it_reads_its_own_texts_like_the_genuine_one(cut: Tokenizer) -> None:
    genuine = build_qwen_tokenizer()
    for text in TEXTS:
        assert cut.encode(text).tokens == genuine.encode(text).tokens


def test_its_ids_have_no_gaps_and_the_end_token_is_the_last(cut: Tokenizer) -> None:
    ids = sorted(cut.get_vocab().values())
    assert ids == list(range(len(ids)))
    assert len(ids) <= SIZE
    assert cut.encode("text").ids[-1] == cut.get_vocab()[END] == ids[-1]


def test_tokens_with_more_weight_go_before_others() -> None:
    few = 256 + 8
    first = cut_tokenizer([(2.0, [" tool"]), (1.0, [" library"])], size=few)
    second = cut_tokenizer([(1.0, [" tool"]), (2.0, [" library"])], size=few)
    assert len(first.encode(" tool", add_special_tokens=False).ids) == 1
    assert len(second.encode(" library", add_special_tokens=False).ids) == 1
    assert len(first.get_vocab()) <= few


@given(text=st.text())
def test_every_text_can_be_read_back(cut: Tokenizer, text: str) -> None:
    ids = cut.encode(text, add_special_tokens=False).ids
    assert cut.decode(ids, skip_special_tokens=False) == unicodedata.normalize("NFC", text)
