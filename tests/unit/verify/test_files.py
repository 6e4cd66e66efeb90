"""``qwen3-triton verify --files``: every byte of a model directory, without anything heavy."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qwen3_export.verify import VerifyError, check_files
from qwen3_export.verify.model_directory import read_model

Run = Callable[..., Any]

FILES = (
    "1/model.onnx",
    "1/model.onnx.data",
    "1/model.py",
    "1/ragged.onnx",
    "config.pbtxt",
    "configs/embedded.pbtxt",
    "tokenizer.json",
)


def test_good_exports_pass(repository: Path, run: Run) -> None:
    done = run(repository, "--files")
    assert (done.code, done.err) == (0, "")
    assert "qwen3_reranker: PASS, 7 files" in done.out
    assert done.out.endswith("3 of 3 models pass.\n")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("index", [0, -1])
def test_one_flipped_bit_in_any_file_is_found(copy: Path, run: Run, file: str, index: int) -> None:
    path = copy / "qwen3_embedding" / file
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content)
    done = run(copy, "--files")
    assert done.code == 1
    assert f"  {file}: altered, its sha256 is not the manifest's" in done.out
    assert done.out.count("altered") == 1
    assert "qwen3_embedding: FAIL" in done.out


def test_missing_cut_and_extra_files_are_named(copy: Path, run: Run) -> None:
    directory = copy / "qwen3_embedding"
    (directory / "1" / "model.py").unlink()
    with (directory / "1" / "model.onnx.data").open("r+b") as file:
        file.truncate(1000)
    (directory / "2").mkdir()
    (directory / "2" / "model.onnx").write_bytes(b"")
    (directory / "1" / "__pycache__").mkdir()
    (directory / "1" / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"")
    done = run(copy, "--files")
    assert done.code == 1
    assert done.out.splitlines()[:-1] == [
        f"  1/model.onnx.data: altered, it has 1,000 bytes instead of {_bytes(directory, '1/model.onnx.data'):,}",
        "  1/model.py: missing",
        "  2/model.onnx: extra, not in manifest.json",
    ]


def _bytes(directory: Path, file: str) -> int:
    return int(json.loads((directory / "manifest.json").read_text())["files"][file]["bytes"])


def test_configs_that_the_operator_tuned(copy: Path, run: Run) -> None:
    config = copy / "qwen3_embedding" / "config.pbtxt"
    config.write_text("# mine\n" + config.read_text())
    done = run(copy, "--files")
    assert done.code == 1
    assert "--tuned-configs if that was you" in done.out
    assert run(copy, "--files", "--tuned-configs").code == 0
    config.unlink()
    assert run(copy, "--files", "--tuned-configs").code == 1


def test_progress_tells_every_byte(repository: Path) -> None:
    from collections.abc import Iterator
    from contextlib import contextmanager

    seen: list[int] = []
    totals: list[int] = []

    @contextmanager
    def progress(what: str, *, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        assert (what, unit) == ("qwen3_embedding: files", "B")
        totals.append(total)
        yield seen.append

    report = check_files(read_model(repository / "qwen3_embedding"), progress=progress)
    assert report.passed
    assert totals == [sum(seen)] == [report.bytes]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("[]", "JSON object"),
        ("{}", "lacks 'files'"),
        ('{"files": {}, "source": "x", "precision": "fp32"}', "its files lack"),
        ('{"files": {"../x": {"bytes": 1, "sha256": ""}}, "source": "x", "precision": "fp32"}', "outside"),
        ('{"kind": "x", "files": {}, "source": "x", "precision": "fp32"}', "no kind 'x'"),
    ],
)
def test_a_manifest_that_states_nothing_is_no_pass(copy: Path, run: Run, content: str, message: str) -> None:
    (copy / "qwen3_embedding" / "manifest.json").write_text(content)
    with pytest.raises(VerifyError, match=message):
        read_model(copy / "qwen3_embedding")
    done = run(copy, "--files")
    assert done.code == 1
    assert "export the model again" in done.err
    assert done.err.count("\n") == 1


def test_files_loads_nothing_heavy(repository: Path) -> None:
    code = (
        "import argparse, sys; from qwen3_export.verify import cli as command\n"
        "assert 'numpy' not in sys.modules\n"
        "parser = argparse.ArgumentParser(); command.add_arguments(parser)\n"
        f"code = command.run(parser.parse_args(['--files', '--repository', {str(repository)!r}]))\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'tritonclient'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no bar where there is no terminal"
