"""Reranking on a real Triton, beside embedding in the same server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export.checkpoint.tiny import write_tiny_checkpoint
from qwen3_serve import Triton
from support.oracle import reference_logits
from tokenizers import Tokenizer

TASK = "Given a web search query, retrieve relevant passages that answer the query"
# Source: the Qwen3-Reranker model card
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

QUERY = "Which planet is known as the Red Planet?"
DOCUMENTS = [
    "Venus is often called Earth's twin because of its similar size and proximity.",
    "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
    "火星は赤い惑星として知られています。",
    "x",
]


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, triton: Triton) -> Iterator[Client]:
    with Client(triton.grpc_url if request.param == "grpc" else triton.http_url) as connection:
        yield connection


def test_logits_match_transformers_on_the_official_prompt(client: Client, tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    bodies = [f"<Instruct>: {TASK}\n<Query>: {QUERY}\n<Document>: {document}" for document in DOCUMENTS]
    prompts = [
        np.array([i for part in (PREFIX, body, SUFFIX) for i in tokenizer.encode(part, add_special_tokens=False).ids])
        for body in bodies
    ]
    reference = reference_logits(tmp_path, prompts, yes=258, no=259)
    ranked = sorted(client.rank(QUERY, DOCUMENTS, return_documents=True), key=lambda hit: hit.index)
    assert np.abs(np.array([hit.logit for hit in ranked]) - reference).max() <= 1e-4
    assert [hit.document for hit in ranked] == DOCUMENTS

    # Without the template the model is asked something else: the ids, and so the logits, differ.
    plain = [np.array(tokenizer.encode(f"{QUERY} {document}").ids) for document in DOCUMENTS]
    assert np.abs(reference_logits(tmp_path, plain, yes=258, no=259) - reference).min() > 1e-3


def test_ranks_are_sorted_and_scores_keep_their_order(client: Client) -> None:
    ranked = client.rank(QUERY, DOCUMENTS)
    assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)
    assert {hit.index for hit in ranked} == set(range(len(DOCUMENTS)))
    assert client.rank(QUERY, DOCUMENTS, top_k=2) == ranked[:2]
    scores = client.score([(QUERY, document) for document in DOCUMENTS])
    for hit in ranked:
        assert scores[hit.index] == hit.score
    assert client.rank(QUERY, DOCUMENTS, instruction="Find code")[0].logit != ranked[0].logit


def test_one_client_embeds_and_reranks(client: Client) -> None:
    assert client.encode_query(QUERY).shape == (64,)
    assert client.rank(QUERY, DOCUMENTS)
    assert (client.info().name, client.reranker_info().name) == ("qwen3_embedding", "qwen3_reranker")


def test_a_pair_keeps_its_bits_in_any_company(client: Client) -> None:
    pairs = [(QUERY, "word " * n) for n in range(1, 60)]
    together = client.score(pairs)
    alone = np.array([client.score([pair])[0] for pair in pairs[::7]], np.float32)
    np.testing.assert_array_equal(together[::7], alone)


def test_the_rerank_command(triton: Triton, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qwen3_client", "rerank", QUERY, *DOCUMENTS, "--url", triton.grpc_url]
    table = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path).stdout
    assert "Mars, known for" in table
    lines = subprocess.run([*command, "--json", "--top-k", "2"], capture_output=True, text=True, timeout=60, check=True)
    hits = [json.loads(line) for line in lines.stdout.splitlines()]
    assert len(hits) == 2
    assert hits[0]["score"] >= hits[1]["score"]
