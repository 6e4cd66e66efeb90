"""Keys of tokenizer_config.json that change how transformers reads a text are refused, and the others are not."""

import json
from pathlib import Path
from typing import Any

import pytest
from qwen3_export import ExportError
from qwen3_export.checkpoint.sentence_config import check_tokenizer_config
from support.cross_encoders import write_tokenizer
from transformers import AutoTokenizer

TEXTS = ("Hi É <|endoftext|>", "abcdefghijklmnop", "y es")
ADDED = {"content": "cd", "special": False, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}


def ids_of(folder: Path, **changes: Any) -> list[list[int]]:  # noqa: ANN401 - what JSON can hold
    """What transformers reads, with these keys in tokenizer_config.json."""
    write_tokenizer(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    (folder / "config.json").write_text('{"model_type": "qwen3"}', "utf-8")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text, truncation=True, max_length=12)["input_ids"] for text in TEXTS]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"truncation_side": "left"}, "truncation_side = 'left', and clients read texts as with 'right'"),
        ({"split_special_tokens": True}, "split_special_tokens = True"),
        ({"add_prefix_space": True, "tokenizer_class": "Qwen2Tokenizer"}, "add_prefix_space = True"),
        ({"bos_token": "cd"}, "names the token 'cd', which transformers adds"),
        ({"unk_token": "cd"}, "names the token 'cd'"),
        ({"additional_special_tokens": ["cd"]}, "names the token 'cd'"),
        ({"extra_special_tokens": ["cd"]}, "names the token 'cd'"),
        ({"added_tokens_decoder": {"97": ADDED}}, "names the token 'cd'"),
    ],
    ids=str,
)
def test_a_key_that_changes_token_ids_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    assert ids_of(tmp_path, **changes) != ids_of(tmp_path)
    ids_of(tmp_path, **changes)
    with pytest.raises(ExportError, match=reason):
        check_tokenizer_config(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"truncation_side": "right", "split_special_tokens": False, "add_prefix_space": False},
        {"add_bos_token": True, "bos_token": "<|endoftext|>", "add_eos_token": True},
        {"padding_side": "left", "max_length": 4, "stride": 2, "errors": "strict"},
        {"clean_up_tokenization_spaces": True, "do_lower_case": True, "a_key_of_the_future": 1},
        {"additional_special_tokens": ["<|endoftext|>"], "unk_token": None},
    ],
    ids=str,
)
def test_a_key_that_changes_nothing_is_accepted(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert ids_of(tmp_path, **changes) == ids_of(tmp_path)
    ids_of(tmp_path, **changes)
    check_tokenizer_config(tmp_path)
