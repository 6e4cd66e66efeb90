"""The commands as a user types them, from export to vectors in a file."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from qwen3_client import Client
from qwen3_export.size import in_words
from qwen3_serve import Triton


def qwen3(*arguments: str, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qwen3_client", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_export_says_what_it_made_and_what_comes_next(tmp_path: Path) -> None:
    done = qwen3("export", "tiny", cwd=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny is a random checkpoint: its vectors have no meaning."
    assert lines[1].startswith("model_repository/qwen3_embedding: 128K, 64 dimensions, fp32, ")
    assert lines[-1] == (
        "Model kind: embedding (the default; --kind reranker for a reranker). Next: qwen3-triton serve"
    )
    assert done.stderr == "", "no progress bar where nobody looks"
    assert (tmp_path / "model_repository" / "qwen3_embedding" / "1" / "model.onnx").is_file()

    again = qwen3("export", "tiny", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("qwen3-triton export: ")
    assert "--force" in again.stderr
    assert qwen3("export", "tiny", "--force", "--precision", "int8", cwd=tmp_path).returncode == 0


def test_export_shows_progress_on_a_terminal(tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # a bar needs columns
    command = [sys.executable, "-m", "qwen3_client", "export", "tiny"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=secondary) as process:
        os.close(secondary)
        shown = b""
        try:
            while piece := os.read(primary, 4096):
                shown += piece
        except OSError:  # the terminal closed with the process
            pass
    os.close(primary)
    assert process.returncode == 0
    assert b"weights" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonesuch"], "there is no folder nonesuch"),
        (["tiny", "--revision", "main"], "--revision is for checkpoints on the Hub"),
        (["demo", "--revision", "main"], "--revision is for checkpoints on the Hub"),
        (["tiny", "--name", "../up"], "cannot be a model's name"),
    ],
)
def test_export_refuses_in_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = qwen3("export", *arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_tracer_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    """As Optimum in an environment with a transformers that it does not know."""
    optimum = tmp_path / "modules" / "optimum"
    (optimum / "exporters" / "onnx").mkdir(parents=True)
    for folder in (optimum, optimum / "exporters"):
        (folder / "__init__.py").touch()
    (optimum / "exporters" / "onnx" / "__init__.py").write_text("from transformers import get_what_is_gone\n")
    modules = str(optimum.parent)
    code = f"import sys; sys.path.insert(0, {modules!r}); from qwen3_client.cli import main; sys.exit(main.main())"
    command = [sys.executable, "-c", code, "export", "tiny", "--device", "tensorrt"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "install qwen3-triton[tensorrt] in an environment of its own" in done.stderr
    assert "get_what_is_gone" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("model_repository/*"))


def test_a_model_s_folder_is_no_repository(tmp_path: Path) -> None:
    assert qwen3("export", "tiny", cwd=tmp_path).returncode == 0
    for folder in ("model_repository/qwen3_embedding", "model_repository/qwen3_embedding/1"):
        for command in (("export", "tiny"), ("serve",), ("verify", "--files")):
            done = qwen3(*command, "--repository", folder, cwd=tmp_path)
            assert (done.returncode, done.stdout) == (1, "")
            said = f"{folder} belongs to one model; give --repository {tmp_path}/model_repository"
            assert done.stderr.splitlines()[-1].startswith(f"qwen3-triton {command[0]}: {said}")
    assert not list(tmp_path.glob("model_repository/*/*/*/config.pbtxt"))


def test_without_the_hub_a_checkpoint_there_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    done = qwen3("export", "Qwen/Qwen3-Embedding-0.6B", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "qwen3-triton export: HF_HUB_OFFLINE is set, and Qwen/Qwen3-Embedding-0.6B is not in the Hugging Face Hub's "
        "cache on this machine; unset it, or name a local checkpoint folder\n"
    )


@pytest.mark.parametrize(
    ("size", "words"),
    [(123_456, "0.1 MB"), (9_940_000, "9.9 MB"), (41_231_232, "41 MB"), (2_380_000_000, "2.4 GB"), (32e9, "32 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words


def test_embed_from_arguments_lines_and_stdin(triton: Triton, tmp_path: Path) -> None:
    with Client(triton.grpc_url) as client:
        documents = client.encode_document(["one", "два", "三"])
        queries = client.encode_query(["one", "два", "三"], instruction="Classify", dimensions=32)

    done = qwen3("embed", "one", "два", "三", "--url", triton.grpc_url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["index"] for row in rows] == [0, 1, 2]
    np.testing.assert_array_equal(np.array([row["embedding"] for row in rows], np.float32), documents)

    (tmp_path / "texts.txt").write_text("one\nдва\n三\n", "utf-8")
    options = ["--query", "--instruction", "Classify", "--dimensions", "32", "--output", "q.npy"]
    done = qwen3("embed", "--file", "texts.txt", "--url", triton.http_url, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy"), queries)

    done = qwen3("embed", "--url", triton.grpc_url, "--output", "d.jsonl", cwd=tmp_path, stdin="one\nдва\n三\n")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    np.testing.assert_array_equal(np.array([row["embedding"] for row in rows], np.float32), documents)


def test_embed_without_a_server_fails_in_one_line(tmp_path: Path) -> None:
    done = qwen3("embed", "text", "--url", "127.0.0.1:1", "--output", "x.npy", cwd=tmp_path)
    assert done.returncode == 1
    assert "qwen3-triton serve" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "x.npy").exists()


def test_help_lists_the_commands_and_stays_light(tmp_path: Path) -> None:
    done = qwen3("--help", cwd=tmp_path)
    for command in ("export", "serve", "embed"):
        assert command in done.stdout
