"""Which Triton runs, and on what, before any is started."""

from pathlib import Path

import pytest
from qwen3_serve import ServeError, Triton
from qwen3_serve.triton.runtime import find_runtime


def test_an_installation_with_the_onnxruntime_backend_uses_config_pbtxt(tmp_path: Path) -> None:
    """As the official container is laid out. (Its backend itself is not on this machine.)"""
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    (tmp_path / "backends" / "onnxruntime").mkdir(parents=True)
    runtime = find_runtime(binary)
    assert runtime.config_name is None
    assert runtime.backend_directory(tmp_path) == tmp_path / "backends"


def test_nothing_is_exported(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="qwen3-triton export"):
        Triton(tmp_path / "absent").__enter__()
    (tmp_path / "qwen3_embedding").mkdir()
    (tmp_path / "qwen3_embedding" / "config.pbtxt").touch()  # as in a checkout before the first export
    with pytest.raises(ServeError, match="no exported model"):
        Triton(tmp_path).__enter__()
