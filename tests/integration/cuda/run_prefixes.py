"""Runs pairs with shared prefixes in the CUDA provider over the stub libraries; started by test_prefixes.py.

    run_prefixes.py PACKAGES MODEL RESULT

PACKAGES is the folder with onnxruntime-gpu. The embedded host's engine runs 64 pairs of one query without a cache, then
with one, then 64 pairs of another query, then 64 of two others. RESULT, a file, gets JSON: for each run of the
session the shapes of what was fed, the types that nodes on the processor computed, and the bytes of the weights on the
device. The libraries write the trace.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

packages, model, result = sys.argv[1:]
sys.path.insert(0, packages)

import numpy as np  # noqa: E402
import onnxruntime as ort  # noqa: E402
from qwen3_serve.host.cuda_engine import CudaEngine  # noqa: E402

PROMPT, QUERY, DOCUMENT, PAIRS = 40, 45, 32, 64

stub = ctypes.CDLL("libcudart.so.13", mode=ctypes.RTLD_GLOBAL)
stub.stub_bytes.restype = ctypes.c_size_t

options = ort.SessionOptions()
options.log_severity_level = 3
options.enable_mem_pattern = False
options.intra_op_num_threads = 1
options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
options.enable_profiling = True
options.profile_file_prefix = str(Path(result).with_suffix(".profile"))
session = ort.InferenceSession(model, options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
weights = stub.stub_bytes()


class Recording:
    """The session, which marks its runs in the trace."""

    def __init__(self) -> None:
        self.runs: list[dict[str, Any]] = []

    def io_binding(self) -> Any:  # noqa: ANN401
        binding = session.io_binding()
        self.runs.append({})
        bind = binding.bind_input

        def recorded(name: str, device: str, index: int, dtype: Any, shape: Any, pointer: int) -> None:  # noqa: ANN401
            self.runs[-1][name] = list(shape)
            bind(name, device, index, dtype, shape, pointer)

        binding.bind_input = recorded
        return binding

    def run_with_iobinding(self, binding: Any) -> None:  # noqa: ANN401
        stub.stub_mark(b"batch %d" % len(self.runs))
        session.run_with_iobinding(binding)
        stub.stub_mark(b"end")

    def get_outputs(self) -> Any:  # noqa: ANN401
        return session.get_outputs()


def pairs(query: int, count: int = PAIRS) -> list[Any]:
    prompt, own = np.zeros(PROMPT, np.int64), np.full(QUERY, query, np.int64)
    return [np.concatenate([prompt, own, np.full(DOCUMENT, 100 + number, np.int64)]) for number in range(count)]


recording: Any = Recording()
CudaEngine(recording, max_batch_tokens=16_384).run(pairs(1))
engine = CudaEngine(recording, max_batch_tokens=16_384, prefix_cache_tokens=512)
for texts in (pairs(1), pairs(2), pairs(3, PAIRS // 2) + pairs(4, PAIRS // 2)):
    rows = engine.run(texts)
    assert [row.shape for row in rows] == [(PAIRS, 1)] * len(rows)

profile = Path(session.end_profiling())
on_processor = sorted(
    {
        kind
        for event in json.loads(profile.read_text())
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
        if "CPU" in event["args"]["provider"]
        for output in event["args"]["output_type_shape"]
        for kind in output
    }
)
profile.unlink()
Path(result).write_text(json.dumps({"runs": recording.runs, "on_processor": on_processor, "weight_bytes": weights}))
