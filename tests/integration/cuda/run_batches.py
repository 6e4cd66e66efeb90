"""Runs batches in ONNX Runtime's CUDA provider over the stub libraries; started by test_without_a_gpu.py.

    run_batches.py PACKAGES MODEL BATCHES RESULT

PACKAGES is the folder with onnxruntime-gpu, which comes before an installed onnxruntime; MODEL an .onnx file; BATCHES
is JSON, the lengths of each batch's texts. RESULT, a file, gets JSON: ONNX Runtime's version, the nodes that ran with
their providers and types, the shapes of each batch's outputs, and the bytes of device memory. The trace is written by
the libraries themselves.
"""

import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

packages, model, batches, result = sys.argv[1:]
sys.path.insert(0, packages)
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort  # noqa: E402

stub = ctypes.CDLL("libcudart.so.13", mode=ctypes.RTLD_GLOBAL)
stub.stub_bytes.restype = ctypes.c_size_t
stub.stub_peak_bytes.restype = ctypes.c_size_t

options = ort.SessionOptions()
options.log_severity_level = 3
options.enable_mem_pattern = False  # as in config.pbtxt
options.intra_op_num_threads = 1
options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
options.enable_profiling = True
options.profile_file_prefix = str(Path(result).with_suffix(".profile"))
session = ort.InferenceSession(model, options, providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
weights = stub.stub_bytes()

names = [output.name for output in session.get_outputs() if output.name != "kept"]  # for the prefix cache
shapes: list[list[list[int]]] = []
for number, batch in enumerate(json.loads(batches)):
    lengths = np.array(batch, np.int32)[:, None]
    feed = {"input_ids": np.zeros(lengths.sum(), np.int64), "lengths": lengths}
    stub.stub_mark(b"batch %d" % number)
    outputs: Any = session.run(names, feed)
    stub.stub_mark(b"end")
    shapes.append([list(output.shape) for output in outputs])

profile = Path(session.end_profiling())
nodes = [
    {
        "operator": event["args"]["op_name"],
        "provider": event["args"]["provider"],
        "types": sorted({kind for output in event["args"]["output_type_shape"] for kind in output}),
    }
    for event in json.loads(profile.read_text())
    if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
]
profile.unlink()
Path(result).write_text(
    json.dumps(
        {
            "version": ort.__version__,
            "nodes": nodes,
            "shapes": shapes,
            "weight_bytes": weights,
            "peak_bytes": stub.stub_peak_bytes(),
        }
    )
)
