"""The hosts' functions that cut texts into batches, loaded outside Triton."""

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_PACKED = _ROOT / "model_repository" / "qwen3_embedding" / "1" / "model.py"
_FRONT = _ROOT / "export" / "qwen3_export" / "portable" / "model_repository" / "front.py"


def load_packed_batches() -> Callable[..., list[list[int]]]:
    """``packed_batches`` of the embedded host."""
    function: Callable[..., list[list[int]]] = _load(_PACKED, "embedded_host").packed_batches
    return function


def load_front() -> types.ModuleType:
    """The TensorRT front, for those of its functions that do not touch triton_python_backend_utils."""
    return _load(_FRONT, "tensorrt_front")


def _load(path: Path, name: str) -> types.ModuleType:
    """Import a host with an empty triton_python_backend_utils, which exists in Triton only."""
    utils = "triton_python_backend_utils"
    stand_in = types.ModuleType(utils)
    for attribute in ("InferenceRequest", "InferenceResponse"):
        setattr(stand_in, attribute, object)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    added = {utils: stand_in, name: module}  # a dataclass looks its own module up
    before = {key: sys.modules.get(key) for key in added}
    sys.modules.update(added)
    try:
        spec.loader.exec_module(module)
    finally:
        for key, known in before.items():
            if known is None:
                del sys.modules[key]
            else:
                sys.modules[key] = known
    return module
