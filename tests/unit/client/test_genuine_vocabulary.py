"""The reranker's template in the genuine vocabulary; building it takes transformers, unlike the rest of these tests."""

import pytest
from qwen3_client.pair_template import QWEN_TEMPLATE
from qwen3_client.prompts import pair_prompt
from qwen3_client.tokenizer import TextTokenizer
from support.prompts import encode, text_of
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def genuine() -> Tokenizer:
    return build_qwen_tokenizer()


@pytest.fixture(scope="module")
def genuine_framed(genuine: Tokenizer) -> TextTokenizer:
    return TextTokenizer(genuine.to_str().encode(), max_tokens=8192)


def test_the_template_s_genuine_ids(genuine: Tokenizer, genuine_framed: TextTokenizer) -> None:
    prompt = pair_prompt(("What is the capital of China?", "Beijing.\n"), template=QWEN_TEMPLATE, instruction="Find")
    ids = encode(genuine_framed, [prompt], truncate=False).results[0].tolist()
    assert ids[:3] == [151644, 8948, 198]  # <|im_start|>system\n
    # <|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n, and no end-of-text token: the answer comes next
    assert ids[-9:] == [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    assert ids == genuine.encode(text_of(prompt), add_special_tokens=False).ids


def test_negative_control_without_the_template_other_ids_are_sent(
    genuine: Tokenizer, genuine_framed: TextTokenizer
) -> None:
    query, document = "What is the capital of China?", "Beijing."
    prompt = pair_prompt((query, document), template=QWEN_TEMPLATE, instruction="Find")
    sent = encode(genuine_framed, [prompt], truncate=False).results[0].tolist()
    body = f"<Instruct>: Find\n<Query>: {query}\n<Document>: {document}"
    for raw in (f"{query} {document}", f"{query}\n{document}", body):
        ids = genuine.encode(raw, add_special_tokens=False).ids
        assert ids != sent
        assert ids[-1] != sent[-1], "the model would answer at another token"
