"""Runs single texts and a batch with CUDA graphs over the stub libraries; started by test_cuda_graphs.py.

    run_captured.py PACKAGES MODEL BATCHES

PACKAGES is the folder with onnxruntime-gpu; MODEL a graph with host indices; BATCHES is JSON, the lengths of each
batch's texts. Prints JSON: the shapes of the outputs and what the engine's own check says, or the error. The trace is
written by the libraries themselves.
"""

import ctypes
import json
import sys
from pathlib import Path

packages, model, batches = sys.argv[1:]
sys.path.insert(0, packages)

import numpy as np  # noqa: E402
from qwen3_export.cuda import CudaError, open_cuda_session  # noqa: E402
from qwen3_serve.host.captured_engine import CapturedEngine  # noqa: E402

try:
    session = open_cuda_session(Path(model), cuda_graphs=True)
except CudaError as error:
    print(json.dumps({"error": str(error)}))
    sys.exit()
stub = ctypes.CDLL("libcudart.so.13")
engine = CapturedEngine(session, max_batch_tokens=16_384)
shapes = []
for number, batch in enumerate(json.loads(batches)):
    texts = [np.zeros(length, np.int64) for length in batch]
    stub.stub_mark(b"batch %d" % number)
    shapes.append([list(rows.shape) for rows in engine.run(texts)])
    stub.stub_mark(b"end")
fault = ""
try:
    engine.check()
except RuntimeError as error:
    fault = str(error)
print(json.dumps({"shapes": shapes, "fault": fault}))
