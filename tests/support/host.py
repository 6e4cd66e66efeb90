"""The embedded host's function that cuts texts into packed batches, loaded outside Triton."""

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

MODEL = Path(__file__).parents[2] / "model_repository" / "qwen3_embedding" / "1" / "model.py"


def load_packed_batches() -> Callable[..., list[list[int]]]:
    """``packed_batches`` of model.py. It does not touch triton_python_backend_utils, which exists in Triton only."""
    name = "triton_python_backend_utils"
    stand_in = types.ModuleType(name)
    for attribute in ("InferenceRequest", "InferenceResponse"):
        setattr(stand_in, attribute, object)
    before = sys.modules.get(name)
    sys.modules[name] = stand_in
    try:
        spec = importlib.util.spec_from_file_location("embedded_host", MODEL)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
    function: Callable[..., list[list[int]]] = module.packed_batches
    return function
