"""Vectors of two spaces through a real Triton: who tells them apart, and who refuses to mix them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from qwen3_client import Client, ContractMismatchError
from qwen3_export import export
from qwen3_serve import Triton
from support.checkpoints import Shape, make_checkpoint

TEXTS = [f"№{number} " + '"q",三\n😀 ' * (number * 7 % 3) for number in range(160)]
MODELS = ("first", "weights", "tokenizer", "prompts", "int8")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and four that differ from it in one thing."""
    folder = tmp_path_factory.mktemp("spaces")
    first = make_checkpoint(folder / "first", Shape(), seed=1)
    make_checkpoint(folder / "weights", Shape(), seed=2)
    for name in ("tokenizer", "prompts"):
        shutil.copytree(first, folder / name)
    tokenizer = folder / "tokenizer" / "tokenizer.json"
    changed = json.loads(tokenizer.read_text())
    changed["normalizer"] = {"type": "Lowercase"}
    tokenizer.write_text(json.dumps(changed))
    prompts = {"prompts": {"query": "Query: ", "document": "Document: "}}
    (folder / "prompts" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    repository = folder / "repository"
    for name in MODELS[:-1]:
        export(str(folder / name), repository=repository, kind="embedding", name=name)
    export(str(first), repository=repository, kind="embedding", name="int8", precision="int8")
    export(str(first), repository=repository, kind="embedding", name="same")
    export(str(first), repository=repository, kind="reranker")
    return repository


@pytest.fixture(scope="module")
def triton(repository: Path) -> Iterator[Triton]:
    with Triton(repository, threads=1) as server:
        yield server


@pytest.fixture
def here(tmp_path: Path) -> Path:
    rows = pa.table({"id": list(range(len(TEXTS))), "text": TEXTS})
    parquet.write_table(rows, tmp_path / "c.parquet")
    parquet.write_table(rows.slice(0, 110), tmp_path / "first.parquet")
    return tmp_path


def run(triton: Triton, cwd: Path, command: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "qwen3_client", command, "--url", triton.grpc_url, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def fingerprint(triton: Triton, model: str) -> str:
    with Client(triton.grpc_url, model=model) as client:
        found = client.info().fingerprint
    assert found is not None
    return found


def test_whatever_changes_the_vectors_changes_it_over_both_protocols(triton: Triton, repository: Path) -> None:
    found = {}
    for name in MODELS:
        with Client(triton.http_url, model=name) as client:
            found[name] = client.info().fingerprint
        assert found[name] == fingerprint(triton, name)
        assert json.loads((repository / name / "manifest.json").read_text())["fingerprint"] == found[name]
    assert len(set(found.values())) == len(MODELS)
    assert fingerprint(triton, "same") == found["first"]


def test_a_client_takes_the_model_that_it_expects_and_no_other(triton: Triton) -> None:
    first = fingerprint(triton, "first")
    with Client(triton.grpc_url, model="same", expected_fingerprint=first) as client:
        assert client.encode_document("text").shape == (64,)
        assert client.rank("query", ["text"])
    for name in MODELS[1:]:
        with (
            Client(triton.grpc_url, model=name, expected_fingerprint=first) as client,
            pytest.raises(ContractMismatchError, match=f"{fingerprint(triton, name)}, but {first} is expected"),
        ):
            client.encode_document("text")


def test_the_commands_take_it_too(triton: Triton, here: Path) -> None:
    first = fingerprint(triton, "first")
    assert run(triton, here, "embed", "--model", "first", "--expected-fingerprint", first, "text")[0] == 0
    status, said = run(triton, here, "embed", "--model", "int8", "--expected-fingerprint", first, "text")
    assert (status, said.count("\n")) == (1, 1)
    assert f"but {first} is expected" in said
    assert "with --model" in said
    status, said = run(triton, here, "rerank", "--expected-fingerprint", first, "query", "text")
    assert (status, f"but {first} is expected" in said) == (1, True), said


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_file_grows_with_its_own_model_only(triton: Triton, here: Path, dtype: str) -> None:
    options = ["--text-column", "text", "--id-column", "id", "--dtype", dtype]
    model = ["--model", "first"]
    whole = ["c.parquet", *options, *model, "--output", "whole.parquet"]
    if dtype == "int8":  # ranges are those of the first rows
        assert run(triton, here, "embed", "first.parquet", *options, *model, "--output", "whole.parquet")[0] == 0
        whole += ["--calibration", "whole.calibration.npz"]
    assert run(triton, here, "embed", *whole)[0] == 0
    assert run(triton, here, "embed", "first.parquet", *options, *model, "--output", "v.parquet")[0] == 0
    before = (here / "v.parquet").read_bytes()
    for other in MODELS[1:]:
        status, said = run(triton, here, "embed", "c.parquet", *options, "--model", other, "--append-to", "v.parquet")
        assert status == 1
        assert fingerprint(triton, "first") in said
        assert fingerprint(triton, other) in said
    assert (here / "v.parquet").read_bytes() == before
    status, said = run(triton, here, "embed", "c.parquet", *options, "--model", "same", "--append-to", "v.parquet")
    assert status == 0, said
    assert parquet.read_table(here / "v.parquet").equals(parquet.read_table(here / "whole.parquet"))
    audit = ["v.parquet", "--text-column", "text", "--corpus", "c.parquet", "--id-column", "id"]
    status, said = run(triton, here, "audit", *audit, *model, "--sample", "160")
    assert (status, "160, as all must be" in said) == (0, True), said
    for other in MODELS[1:]:
        assert run(triton, here, "audit", *audit, "--model", other)[0] == 1


def test_vectors_of_another_program_are_audited_by_their_numbers(triton: Triton, here: Path) -> None:
    with Client(triton.grpc_url, model="first") as client:
        vectors = client.encode_document(TEXTS, dimensions=48)
    noise = np.random.default_rng(0).standard_normal(vectors.shape) * 1e-5
    table = pa.table({"text": TEXTS, "embedding": list((vectors + noise).astype(np.float32))})
    parquet.write_table(table, here / "v.parquet")
    audit = ["v.parquet", "--text-column", "text"]
    status, said = run(triton, here, "audit", *audit, "--model", "first")
    assert status == 0, said
    assert "up to rounding" in said
    for other in ("weights", "prompts"):
        assert run(triton, here, "audit", *audit, "--model", other)[0] == 1, other


def test_an_edited_instruction_is_another_space(repository: Path, tmp_path: Path) -> None:
    model = tmp_path / "first"
    shutil.copytree(repository / "first", model)
    for config in (model / "config.pbtxt", model / "configs" / "embedded.pbtxt"):
        text = config.read_text()
        assert "Given a web search query" in text
        config.write_text(text.replace("Given a web search query", "Given a question"))
    with Triton(tmp_path, threads=1) as triton, Client(triton.grpc_url) as client:
        edited = client.info().fingerprint
    stated = json.loads((model / "manifest.json").read_text())["fingerprint"]
    assert edited not in (None, stated)
