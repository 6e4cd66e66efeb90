"""The checkpoint `demo` that comes with the package: its files, its fidelity, and whether its answers make sense."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from qwen3_client import Client, similarity
from qwen3_export import ExportError, export
from qwen3_export.checkpoint.demo import demo_folder
from qwen3_export.verify import verify_model
from qwen3_serve import Triton
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from student import decode
from tokenizers import Tokenizer
from transformers import Qwen3Model

# Each query with the document that answers it. Among those in Russian, none shares a word with its document.
ANSWERS = {
    "What is the capital of China?": "The capital of China is Beijing.",
    "Which planet is red?": "Mars is often called the red planet.",
    "how do I edit a photo": "An image editor with filters and layers.",
    "play music files": "An audio player that supports MP3 and Ogg.",
    "send e-mail": "A client for reading and writing mail.",
    "How many legs does a spider have?": "Spiders have eight legs.",
    "compress files": "An archiver for zip and tar files.",
    "программа для рисования": "A drawing program for children.",
    "проверка орфографии": "A spell checker for many languages.",
    "игра в шахматы": "A chess game against the computer.",
    "сервер баз данных": "PostgreSQL stores tables and answers SQL queries.",
}
TEXTS = [*ANSWERS, *ANSWERS.values()]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("demo", repository=tmp_path_factory.mktemp("repository")).directory


@pytest.fixture(scope="module")
def client(directory: Path) -> Iterator[Client]:
    with Triton(directory.parent, threads=1) as triton, Client(triton.grpc_url) as client:
        yield client


def test_the_files_are_those_of_the_model_card() -> None:
    card = (demo_folder() / "README.md").read_text("utf-8")
    stated = dict(re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|$", card, flags=re.MULTILINE))
    assert stated.keys() == {"model.safetensors", "tokenizer.json"}
    for name, digest in stated.items():
        assert hashlib.sha256((demo_folder() / name).read_bytes()).hexdigest() == digest


def test_an_export_computes_what_transformers_computes(directory: Path) -> None:
    verdict = verify_model(directory)
    assert verdict.passed, verdict


def test_a_query_finds_its_answer_also_in_another_language(client: Client) -> None:
    cosines = similarity(client.encode_query(list(ANSWERS)), client.encode_document(list(ANSWERS.values())))
    best = cosines.argmax(axis=1)
    wrong = [
        (query, list(ANSWERS.values())[i]) for n, (query, i) in enumerate(zip(ANSWERS, best, strict=True)) if n != i
    ]
    assert not wrong


def test_vectors_can_be_cut(client: Client) -> None:
    queries = client.encode_query(list(ANSWERS), dimensions=64)
    best = similarity(queries, client.encode_document(list(ANSWERS.values()), dimensions=64)).argmax(axis=1)
    assert np.mean(best == np.arange(len(ANSWERS))) >= 0.7


def test_sentence_transformers_opens_the_folder_and_agrees(client: Client) -> None:
    model = SentenceTransformer(str(demo_folder()), device="cpu", model_kwargs={"dtype": torch.float32})
    for ours, theirs in (
        (client.encode_query(TEXTS), model.encode_query(TEXTS)),
        (client.encode_document(TEXTS), model.encode_document(TEXTS)),
    ):
        np.testing.assert_allclose((ours * theirs).sum(1), 1, atol=1e-5)


def test_there_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="demo is an embedding model; to try a reranker, name tiny"):
        export("demo", repository=tmp_path, kind="reranker")


def test_the_decoder_that_was_trained_is_that_of_transformers() -> None:
    tokenizer = Tokenizer.from_file(str(demo_folder() / "tokenizer.json"))
    weights = {name: values.float() for name, values in load_file(demo_folder() / "model.safetensors").items()}
    reference = Qwen3Model.from_pretrained(demo_folder(), dtype=torch.float32).eval()
    ids = torch.tensor([tokenizer.encode("a library for the compression of files").ids])
    padded = torch.nn.functional.pad(ids, (0, 3))
    with torch.inference_mode():
        expected = reference(ids).last_hidden_state[:, -1]
        whole, _ = decode(weights, padded, torch.tensor([ids.shape[1]]))
        _, past = decode(weights, ids[:, :3], torch.tensor([3]))
        after_a_prefix, _ = decode(weights, padded[:, 3:], torch.tensor([ids.shape[1] - 3]), past)
    torch.testing.assert_close(whole, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after_a_prefix, expected, atol=1e-4, rtol=1e-4)
