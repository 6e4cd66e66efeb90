"""The commands and code of the README and of the pages that it leads to, run as written against the small models."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet
from qwen3_client.fingerprint import VERSION, fingerprint_of
from qwen3_export.verify import texts
from qwen3_serve import Triton

ROOT = Path(__file__).parents[3]
FIRST_STEPS = "docs/getting-started.md"


def blocks(language: str, document: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text("utf-8"), flags=re.DOTALL)


def run_python(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("document", ["README.md", "docs/index.md", FIRST_STEPS])
def test_the_client_example_prints_what_the_page_shows(demo: Triton, tmp_path: Path, document: str) -> None:
    (code,) = [block for block in blocks("python", document) if "similarity" in block]
    shown = blocks("text", document)[0]
    for url in (demo.grpc_url, demo.http_url):
        assert run_python(code.replace("localhost:8001", url), tmp_path) == shown


def test_the_rerank_example_runs(triton: Triton, tmp_path: Path) -> None:
    (code,) = [block for block in blocks("python", FIRST_STEPS) if "client.rank" in block]
    printed = run_python(code.replace("localhost:8001", triton.grpc_url), tmp_path).splitlines()
    assert len(printed) == 2
    assert printed[0].split()[0] in ("0", "1")


def test_the_server_example_runs(repository: Path, tmp_path: Path) -> None:
    (code,) = [block for block in blocks("python", FIRST_STEPS) if "qwen3_serve" in block]
    (tmp_path / "model_repository").mkdir()
    (tmp_path / "model_repository" / "qwen3_embedding").symlink_to(repository / "qwen3_embedding")
    assert run_python(code, tmp_path) == "tiny (64,)\n"


@pytest.mark.parametrize("code", blocks("python", "docs/client.md"))
def test_the_client_s_page_runs(triton: Triton, tmp_path: Path, code: str) -> None:
    printed = run_python(code.replace("localhost:8001", triton.grpc_url), tmp_path)
    assert printed in (
        "(64,)\n" * 3,
        "(64,)\n",
        "qwen3_embedding\n",
        "(2, 64) 1\ntext 0: the queue is full\n",
        "64000 8000 True\n",
        "True\n",
    )


def test_the_prompts_of_the_contract_are_what_the_models_read() -> None:
    query, pair = blocks("text", "docs/contract.md")
    assert query == texts.QUERY_PROMPT + "\n"
    body = texts.RERANKER_BODY.replace("{task}", "{instruction}")
    assert pair == texts.RERANKER_PREFIX + body + texts.RERANKER_SUFFIX


def test_the_fingerprint_of_the_contract_follows_from_its_example() -> None:
    (example,) = blocks("json", "docs/contract.md")
    parameters = json.loads(example)
    assert parameters.pop("version") == VERSION
    found = fingerprint_of(parameters)
    assert found == hashlib.sha256(example.strip().encode()).hexdigest()[:16]
    assert f"This one gives `{found}`" in (ROOT / "docs/contract.md").read_text("utf-8")


def embed_commands() -> list[str]:
    found = [*blocks("sh", "README.md"), *blocks("sh", FIRST_STEPS)]
    lines = [line.partition("  #")[0].strip() for block in found for line in block.splitlines()]
    return [line for line in lines if line.startswith(("qwen3-triton embed", "qwen3-triton rerank"))]


@pytest.mark.parametrize("command", embed_commands())
def test_the_embed_commands_run(triton: Triton, tmp_path: Path, command: str) -> None:
    for file in ("texts.txt", "queries.txt"):
        (tmp_path / file).write_text("one\ntwo\n")
    rows = range(100)
    corpus = pyarrow.table({"id": [f"d{i}" for i in rows], "text": [f"text {i}" for i in rows]})
    parquet.write_table(corpus, tmp_path / "corpus.parquet")
    command = command.replace("--dimensions 256", "--dimensions 32")  # tiny has 64
    program = f"{shlex.quote(sys.executable)} -m qwen3_client"
    command = command.replace("qwen3-triton", program) + f" --url {triton.grpc_url}"
    if "<" in command:  # redirections last
        command = command.replace(" <", f" --url {triton.grpc_url} <").rpartition(" --url")[0]
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_there_are_commands() -> None:
    assert embed_commands()
