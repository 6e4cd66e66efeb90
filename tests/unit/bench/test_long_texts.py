"""The graph that takes a long text in chunks computes what the exported one computes."""

from pathlib import Path

import numpy as np
import pytest
from qwen3_export import export
from support.oracle import random_texts

from bench import long_texts


@pytest.mark.parametrize("tokens", [100, 256, 700])
def test_chunks_give_the_bits_of_one_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    monkeypatch.setattr(long_texts, "CHUNK", 128)
    directory = export("tiny", repository=tmp_path).directory
    graph = directory / "1" / "model.onnx"
    (ids,) = random_texts([tokens])
    whole = long_texts.one_call(long_texts.session(graph.read_bytes(), directory), ids)
    parts = long_texts.in_chunks(long_texts.session(long_texts.chunked(graph), directory), ids)
    np.testing.assert_array_equal(parts, whole)
