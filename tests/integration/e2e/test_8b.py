"""The 8B shape: export in bounded memory, and the result serves on a machine of 24 GB. ``make test-8b``."""

import shutil
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from qwen3_client import Client
from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
from qwen3_serve import Triton
from support.measure import anonymous_bytes, run_measured
from support.qwen_tokenizer import build_qwen_tokenizer

pytestmark = [pytest.mark.huge, pytest.mark.timeout(3000)]

NEEDED_GB = 26  # 16 of bfloat16 weights, 8 of int8, and room


def test_export_and_serve(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free / 1e9
    if free < NEEDED_GB:
        pytest.skip(f"{tmp_path} has {free:.0f} GB free, the 8B shape needs {NEEDED_GB}")
    checkpoint, repository = tmp_path / "checkpoint", tmp_path / "repository"
    checkpoint.mkdir()
    write_random_checkpoint(checkpoint, published_config("8B"))
    build_qwen_tokenizer().save(str(checkpoint / "tokenizer.json"))
    stored = sum(path.stat().st_size for path in checkpoint.iterdir())

    command = [sys.executable, "-m", "qwen3_client", "export", str(checkpoint), "--repository", str(repository)]
    cost = run_measured([*command, "--precision", "int8"])
    print(f"\nexport of {stored / 1e9:.1f} GB: {cost.seconds:.0f} s, peak {cost.peak_bytes / 2**20:.0f} MB anonymous")
    assert cost.peak_bytes < 2e9
    shutil.rmtree(checkpoint)

    with Triton(repository) as triton, Client(triton.grpc_url) as client:
        assert client.info().dimensions == 4096
        texts = ["What is the capital of China?", "Процедура банкротства физических лиц", "北京"]
        together = client.encode_document(texts)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
        for text, row in zip(texts, together, strict=True):
            np.testing.assert_array_equal(client.encode_document(text), row)
        server = psutil.Process(triton.pid)
        memory = sum(anonymous_bytes(p.pid) for p in [server, *server.children(recursive=True)])
        print(f"anonymous memory of Triton and its host: {memory / 2**30:.1f} GiB")
        assert memory < 20 * 2**30
    shutil.rmtree(repository)
