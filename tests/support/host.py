"""The padding front, loaded outside Triton."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

_PADDING_FRONT = Path(__file__).parents[2] / "export" / "qwen3_export" / "tensorrt" / "hosts" / "padding_front.py"


def load_padding_front() -> types.ModuleType:
    """Import the padding front with an empty triton_python_backend_utils, which exists in Triton only.

    For those of its functions that do not touch that.
    """
    name, utils = "padding_front", "triton_python_backend_utils"
    stand_in = types.ModuleType(utils)
    for attribute in ("InferenceRequest", "InferenceResponse", "Tensor"):
        setattr(stand_in, attribute, object)
    spec = importlib.util.spec_from_file_location(name, _PADDING_FRONT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    modules = ("triton_requests", "triton_tensors")  # of which an export puts copies beside the padding front
    shared = [f"qwen3_export.{module}" for module in modules]
    before = {key: sys.modules.get(key) for key in (utils, name, *shared, *modules)}
    sys.modules |= {utils: stand_in, name: module}  # a dataclass looks its own module up
    try:
        sys.modules |= {module: importlib.import_module(f"qwen3_export.{module}") for module in modules}
        spec.loader.exec_module(module)
    finally:
        for key, known in before.items():
            if known is None:
                del sys.modules[key]
            else:
                sys.modules[key] = known
    return module
