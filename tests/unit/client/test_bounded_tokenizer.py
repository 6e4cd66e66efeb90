"""Tokenizing only what is kept gives the ids of tokenizing all: genuine vocabulary, and bytes as tokens."""

import itertools
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qwen3_client import InvalidInputError
from qwen3_client.bounded_tokenizer import SEAM, BoundedTokenizer, has_seams
from qwen3_client.options import Truncate
from qwen3_client.tokenizer import TextTokenizer
from qwen3_export.checkpoint.tiny import write_byte_tokenizer
from support.prompts import encode
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, normalizers, pre_tokenizers

# What a cut could go wrong at, a line each: letters, marks and NFC; Hangul and its parts; other scripts; emoji; digits;
# contractions and punctuation; white space; added tokens, whole and broken.
FRAGMENTS = [
    *("a", "b", "é", "e", "\u0301", "\u0338", "\u0345", "K", "\u212b", "\u2126", "\u1fef", "\u037e", "\ufb1d", "ſ"),
    *("가", "각", "\u1100", "\u1161", "\u11a8"),
    *("か", "\u3099", "中文", "。", "，", "、", "ก", "\u0e31", "क", "\u093f", "ע", "ж", "\U0001d400", "\U00016d67"),
    *("🙂", "👩‍👩‍👧", "\u200d", "\ufe0f", "\U0001f1e9"),
    *("0", "12", "²", "Ⅷ", "٣", "１"),
    *("'s", "'LL", "'", "’re", "-", ".", "==", "<", "|", ">", "_", "/", '"', "\\", "!", "\0"),
    *(" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2000", "\u2028", "\x85", "\x1c", "\u180e", "\u200b"),
    *("<|endoftext|>", "<|im_end|>", "<think>", "</think>", "<|im_", "think>", "endoftext|>", "<|", "<tool_call>"),
]
PARTS = st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=3)
TEXTS = st.lists(st.builds(lambda part, times: part * times, PARTS, st.integers(1, 3) | st.integers(1, 30))).map(
    "".join
)


@pytest.fixture(scope="module")
def genuine() -> Tokenizer:
    return build_qwen_tokenizer()


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("byte_level")
    write_byte_tokenizer(folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module", params=["genuine", "byte_level"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    chosen: Tokenizer = request.getfixturevalue(request.param)
    return chosen


class Counting:
    """A tokenizer that counts the characters that it is given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.characters = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool) -> list[Encoding]:
        self.characters += sum(map(len, texts))
        encodings: list[Encoding] = self._tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return encodings


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def seams_of(text: str) -> list[int]:
    return [seam.start() for seam in SEAM.finditer(text)]


@settings(max_examples=700, deadline=None)
@given(texts=st.lists(TEXTS, max_size=4), room=st.integers(1, 20) | st.integers(1, 100), from_end=st.booleans())
def test_ids_are_the_first_or_last_of_the_whole_text_s(
    tokenizer: Tokenizer, texts: list[str], room: int, *, from_end: bool
) -> None:
    found = BoundedTokenizer(tokenizer, room=room).encode(texts, from_end=from_end)
    assert len(found) == len(texts)
    for text, ids in zip(texts, found, strict=True):
        whole = ids_of(tokenizer, text)
        assert ids == (whole[-len(ids) :] if from_end else whole[: len(ids)])
        assert len(ids) > room or ids == whole


@settings(max_examples=700, deadline=None)
@given(TEXTS)
def test_the_tokens_of_both_sides_of_every_seam_are_those_of_the_whole(tokenizer: Tokenizer, text: str) -> None:
    check_seams(tokenizer, [(text, seam) for seam in seams_of(text)[:50]])


def test_every_pair_of_fragments_parts_as_it_should(tokenizer: Tokenizer) -> None:
    pairs = ["".join(pair) for pair in itertools.product(FRAGMENTS, repeat=2)]
    cuts = [(text, seam) for text in pairs for seam in seams_of(text)]
    assert len(cuts) > len(FRAGMENTS)
    check_seams(tokenizer, cuts)


def check_seams(tokenizer: Tokenizer, cuts: Sequence[tuple[str, int]]) -> None:
    parts = [part for text, seam in cuts for part in (text, text[:seam], text[seam:])]
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(parts, add_special_tokens=False)]
    for index, cut in enumerate(cuts):
        whole, left, right = ids[3 * index : 3 * index + 3]
        assert left + right == whole, cut


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS.filter(bool), max_size=4), truncate=st.sampled_from([True, False, "start", "end"]))
def test_a_row_is_cut_to_what_the_model_takes(tokenizer: Tokenizer, texts: list[str], truncate: Truncate) -> None:
    rows_of = text_tokenizer(tokenizer, max_tokens=20)
    bodies = [ids_of(tokenizer, text) for text in texts]
    too_long = [index for index, body in enumerate(bodies) if len(body) > 19]
    if truncate is False and too_long:
        with pytest.raises(InvalidInputError, match=f"^text {too_long[0]}: more than the 20 tokens"):
            encode(rows_of, texts, truncate=truncate).all("text")
        return
    rows = encode(rows_of, texts, truncate=truncate).all("text")
    kept = slice(-19, None) if truncate == "start" else slice(19)
    assert [row.tolist() for row in rows] == [[*body[kept], 7] for body in bodies]


_MADE: dict[int, TextTokenizer] = {}


def text_tokenizer(tokenizer: Tokenizer, *, max_tokens: int) -> TextTokenizer:
    """The product's, over the same file; made once, because the genuine one takes a second to read."""
    if id(tokenizer) not in _MADE:
        content = tokenizer.to_str().encode()
        _MADE[id(tokenizer)] = TextTokenizer(content, max_tokens=max_tokens, eos_token_id=7, special_tokens=True)
    return _MADE[id(tokenizer)]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("hello", 3),
        ("e\u0301", 1),  # NFC makes one letter of both
        ("\u1100\u1161", 1),  # and one syllable
        ("か\u3099", 1),
        ("   a", 1),  # the last space goes with the letter
        ("-\n", 1),  # a line's end goes with punctuation
        ("don't", 4),
        (" a", 1),
        ("<|im_end|>", 4),
        ("<think>", 6),
    ],
)
def test_negative_control_elsewhere_parting_changes_ids(genuine: Tokenizer, text: str, position: int) -> None:
    assert ids_of(genuine, text[:position]) + ids_of(genuine, text[position:]) != ids_of(genuine, text)
    assert position not in seams_of(text)


def test_characters_beside_a_seam_are_what_the_tokenizers_take_them_for() -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    letters = {c for c in characters if SEAM.match(c + "0", 1)}
    others = {c for c in characters if SEAM.match("0" + c, 1)}
    assert len(letters) > 30_000
    assert len(others) > 40
    assert not without(r"\p{L}", letters)
    assert without(r"[\p{L}\p{N}]", others) == others
    spaces = without(r"\S", characters)
    assert {" ", "\n", "\u3000"} < spaces
    assert not any(SEAM.match(c + " ", 1) for c in spaces)

    # NFC leaves them alone, whatever is before them.
    decompositions = {c: unicodedata.normalize("NFD", c) for c in characters}
    seconds = {parts[1] for parts in decompositions.values() if len(parts) > 1}
    beside = letters | others | set("0123456789")
    assert not beside & seconds
    assert all(unicodedata.normalize("NFC", c) == c and unicodedata.combining(c) == 0 for c in beside)
    # It makes no white space of anything else.
    assert all(len(decompositions[c]) == 1 for c in spaces)
    assert all(c in spaces for c in characters if decompositions[c][-1] in spaces)


def without(pattern: str, characters: Iterable[str]) -> set[str]:
    """Those that a pattern does not match, by the regular expressions of `tokenizers`."""
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed")
    pieces = (split.pre_tokenize_str("".join(some)) for some in batched(characters, 1000))
    return {c for piece in pieces for part, _ in piece for c in part}


def batched(characters: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(characters)
    while batch := list(itertools.islice(rest, size)):
        yield batch


def test_the_two_kinds_of_tokenizers_that_are_served_have_seams(tokenizer: Tokenizer) -> None:
    assert has_seams(tokenizer)


def with_normalizer(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.NFKC()


def with_space_before(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def without_a_split(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def with_another_split(tokenizer: Tokenizer) -> None:
    split = pre_tokenizers.Split(Regex(r"\w+ \w+"), behavior="isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])


def with_a_token_of_two_words(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("a b", normalized=False)])


def with_a_token_that_takes_space(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("<x>", normalized=False, lstrip=True)])


@pytest.mark.parametrize(
    "change",
    [
        with_normalizer,
        with_space_before,
        without_a_split,
        with_another_split,
        with_a_token_of_two_words,
        with_a_token_that_takes_space,
    ],
)
@pytest.mark.parametrize("from_end", [False, True])
def test_a_tokenizer_of_another_kind_reads_the_whole_text(
    byte_level: Tokenizer, change: Callable[[Tokenizer], None], *, from_end: bool
) -> None:
    other = Tokenizer.from_str(byte_level.to_str())
    change(other)
    text = "yes a b no <x> yes, ½ 12" * 50
    assert not has_seams(other)
    counting = Counting(other)
    (ids,) = BoundedTokenizer(cast(Tokenizer, counting), room=10).encode([text], from_end=from_end)
    assert ids == ids_of(other, text)
    assert counting.characters == len(text)


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize(
    "line",
    [
        "It was the best of times, it was the worst of times.\n",
        "北京是中国的首都，重力是一种力。\n",
        "def f(x):\n        return x\n\n",
        "3fa4b2c19d00e5",
        "한국어 문장은 띄어쓰기가 있다. ",
        "1,2,3,",
        "สวัสดี ครับ ",
    ],
)
def test_what_is_tokenized_does_not_grow_with_the_text(tokenizer: Tokenizer, line: str, *, from_end: bool) -> None:
    room = 64
    counting = Counting(tokenizer)
    bounded = BoundedTokenizer(cast(Tokenizer, counting), room=room)
    tokenized = []
    for length in (2_000, 200_000):
        counting.characters = 0
        (ids,) = bounded.encode([line * (length // len(line))], from_end=from_end)
        assert len(ids) > room
        tokenized.append(counting.characters)
    assert tokenized[1] <= tokenized[0] + 2 * len(line) < 1_500


def test_a_text_without_seams_is_tokenized_whole(tokenizer: Tokenizer) -> None:
    counting = Counting(tokenizer)
    (ids,) = BoundedTokenizer(cast(Tokenizer, counting), room=5).encode(["a" * 10_000], from_end=False)
    assert ids == ids_of(tokenizer, "a" * 10_000)
    assert counting.characters == 10_000
