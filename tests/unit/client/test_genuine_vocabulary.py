"""The reranker's template in the genuine vocabulary; building it takes transformers, unlike the rest of these tests."""

import pytest
from qwen3_client.prompts import RERANKER_PREFIX, RERANKER_SUFFIX, pair_prompt
from qwen3_client.tokenizer import TextTokenizer
from support.qwen_tokenizer import build_qwen_tokenizer
from tokenizers import Tokenizer


@pytest.fixture(scope="module")
def genuine() -> Tokenizer:
    return build_qwen_tokenizer()


@pytest.fixture(scope="module")
def genuine_framed(genuine: Tokenizer) -> TextTokenizer:
    return TextTokenizer(genuine.to_str().encode(), max_tokens=8192, prefix=RERANKER_PREFIX, suffix=RERANKER_SUFFIX)


def test_the_template_s_genuine_ids(genuine: Tokenizer, genuine_framed: TextTokenizer) -> None:
    body = pair_prompt(("What is the capital of China?", "Beijing.\n"), instruction="Find")
    ids = genuine_framed.encode([body], truncate=False).results[0].tolist()
    assert ids[:3] == [151644, 8948, 198]  # <|im_start|>system\n
    # <|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n, and no end-of-text token: the answer comes next
    assert ids[-9:] == [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    # Tokenizing the parts apart, as the model card does, changes nothing here.
    assert ids == genuine.encode(RERANKER_PREFIX + body + RERANKER_SUFFIX, add_special_tokens=False).ids


def test_negative_control_without_the_template_other_ids_are_sent(
    genuine: Tokenizer, genuine_framed: TextTokenizer
) -> None:
    query, document = "What is the capital of China?", "Beijing."
    sent = (
        genuine_framed.encode([pair_prompt((query, document), instruction="Find")], truncate=False).results[0].tolist()
    )
    for raw in (f"{query} {document}", f"{query}\n{document}", pair_prompt((query, document), instruction="Find")):
        ids = genuine.encode(raw, add_special_tokens=False).ids
        assert ids != sent
        assert ids[-1] != sent[-1], "the model would answer at another token"
