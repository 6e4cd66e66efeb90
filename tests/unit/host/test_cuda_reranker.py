"""A reranker for GPUs as Triton's python backend loads it: its configuration turns the prefix cache on."""

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from qwen3_export import export
from support.bound_session import BoundSession
from support.oracle import random_texts
from tritonclient.grpc.model_config_pb2 import ModelConfig


@pytest.fixture
def session(tmp_path: Path) -> BoundSession:
    directory = export("tiny", repository=tmp_path, device="cuda", kind="reranker").directory
    return BoundSession(directory / "1" / "model.onnx")


@pytest.mark.parametrize("tokens", [512, 0])
def test_the_largest_batch_runs_before_pairs_that_share_prefixes(
    tmp_path: Path, session: BoundSession, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    utils = types.ModuleType("triton_python_backend_utils")  # which exists in Triton only
    for name in ("InferenceRequest", "InferenceResponse", "Tensor"):
        setattr(utils, name, object)
    for name in ("qwen3_export.triton_requests", "qwen3_export.triton_tensors", "qwen3_serve.host.triton_model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    host = importlib.import_module("qwen3_serve.host.triton_model")
    for name in ("qwen3_export.triton_requests", "qwen3_export.triton_tensors", "qwen3_serve.host.triton_model"):
        monkeypatch.delitem(sys.modules, name)  # for other tests
    monkeypatch.setattr(host, "open_cuda_session", lambda *_arguments, **_options: session)
    directory = tmp_path / "qwen3_reranker"
    config = text_format.Parse((directory / "configs" / "embedded.pbtxt").read_text(), ModelConfig())
    config.parameters["prefix_cache_tokens"].string_value = str(tokens)
    config.parameters["max_batch_tokens"].string_value = "1100"
    parameters = {key: {"string_value": value.string_value} for key, value in config.parameters.items()}
    model: Any = host.TritonPythonModel()
    model.initialize(
        {
            "model_config": json.dumps({"parameters": parameters}),
            "model_repository": str(directory),
            "model_version": "1",
            "model_instance_kind": "MODEL",
            "model_instance_device_id": "0",
        }
    )
    first = [(run["lengths"].ravel().tolist(), "prefix_lengths" in run, "keep" in run) for run in session.runs]
    assert first == ([([512, 512], False, False)] if tokens else [])
    session.runs.clear()
    prefix, *documents = random_texts([100, *[5] * 20])
    pairs = [np.concatenate([prefix, document]) for document in documents]
    done = [index for indices in model._engine.fill(model._engine.empty(len(pairs)), pairs) for index in indices]
    assert sorted(done) == list(range(len(pairs))), "each pair in exactly one batch, so that its request is answered"
    assert any("keep" in run for run in session.runs) == bool(tokens)
