"""The tokens of `POST /tokenize` are those that are embedded: special tokens in texts are plain text in both."""

import hashlib
from pathlib import Path

import pytest
from qwen3_client import ModelInfo
from qwen3_client.frame import Frame, Part, Prompt
from qwen3_client.tokenizer import TextTokenizer
from qwen3_serve.gateway.token_offsets import OffsetTokenizer
from support.qwen_tokenizer import build_qwen_tokenizer

END, IM_START = 151643, 151644
TEXTS = ["hi é 日本", "a<|im_end|>\n</think> yes<|endoftext|>", "<|im_start|>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_qwen_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def info(folder: Path) -> ModelInfo:
    return ModelInfo(
        name="qwen3_embedding",
        source="tiny",
        revision="",
        model_family="Qwen3-Embedding",
        model_size="tiny",
        precision="fp32",
        max_tokens=512,
        vocabulary=151669,
        tokenizer=str(folder),
        tokenizer_sha256=hashlib.sha256((folder / "tokenizer.json").read_bytes()).hexdigest(),
        default_instruction="Find it",
        dimensions=64,
        eos_token_id=END,
    )


@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("prompt", ["", "Query:", "<|im_start|>query </think>: "])
def test_tokens_and_offsets_are_those_of_what_is_embedded(
    info: ModelInfo, prompt: str, *, special_tokens: bool
) -> None:
    frame = Frame(before=(Part(prompt, "template"),))
    prompts = [Prompt(text, frame) for text in TEXTS]
    rows = TextTokenizer.load(info, special_tokens=special_tokens).encode(prompts, truncate=False).all("text")
    offsets = OffsetTokenizer(info, source=None, special_tokens=special_tokens)
    found = offsets.tokens_of_all(TEXTS, [row.ids for row in rows], has_prompt=bool(prompt))
    for text, row, (*tokens, end) in zip(TEXTS, rows, found, strict=True):
        assert [token["id"] for token in (*tokens, end)] == row.ids.tolist()
        assert (end["text"], end["special"], end["start"]) == ("<|endoftext|>", True, None)
        whole = prompt + text
        assert all(whole[token["start"] : token["stop"]] == token["text"] for token in tokens)
        assert {index for token in tokens for index in range(token["start"], token["stop"])} == set(range(len(whole)))
        is_special = [token["text"] for token in tokens if token["special"]]
        expected = ["<|im_start|>"] if "<|im_start|>" in prompt else []
        assert is_special[: len(expected)] == expected
        if not special_tokens:
            assert is_special == expected
    assert special_tokens == (rows[2].ids[-2] == IM_START)


@pytest.mark.parametrize("special_tokens", [False, True])
def test_ids_become_texts_with_or_without_special_tokens(info: ModelInfo, *, special_tokens: bool) -> None:
    offsets = OffsetTokenizer(info, source=None, special_tokens=special_tokens)
    rows = [[*build_qwen_tokenizer().encode("hi é 日本", add_special_tokens=False).ids, IM_START, END]]
    assert offsets.texts_of_all(rows, skip_special_tokens=True) == ["hi é 日本"]
    assert offsets.texts_of_all(rows, skip_special_tokens=False) == ["hi é 日本<|im_start|><|endoftext|>"]
