"""Exported models with another host: one that dies, is slow, or answers wrongly."""

import hashlib
import json
from pathlib import Path

# What every host of an export answers besides: which model it is.
FINGERPRINT = """
from qwen3_export.triton_tensors import as_tensor

def fingerprint_of(args):
    stated = json.loads(args["model_config"])["parameters"]["fingerprint"]["string_value"]
    return np.array([[int(stated, 16)]], np.uint64).view(np.int64)

def named(fingerprint, rows):
    return as_tensor("fingerprint", np.repeat(fingerprint, rows, axis=0))
"""

# Right for the two tokens that `serve` asks about first; else the first token says what the answer is.
WRONG_ON_DEMAND = f"""
import json

import numpy as np
import triton_python_backend_utils as pb_utils
{FINGERPRINT}
class TritonPythonModel:
    def initialize(self, args):
        self.fingerprint = fingerprint_of(args)

    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy() for request in requests]
        return [
            pb_utils.InferenceResponse([self._answer(ids), named(self.fingerprint, ids.shape[0])]) for ids in inputs
        ]

    def _answer(self, ids):
        rows = np.zeros((ids.shape[0], 64), np.float32)
        rows[:, 0] = 1
        wrong = {{10: rows[:, :0], 11: rows[:, :63], 12: rows[:, None], 13: rows[:0], 14: rows.astype(np.float64)}}
        return pb_utils.Tensor("embedding", np.ascontiguousarray(wrong.get(ids[0, 0], rows)))
"""


def replace_host(model: Path, source: str) -> None:
    """Put another model.py into version 1 of a model directory, as if it had been exported so."""
    host, manifest = model / "1" / "model.py", model / "manifest.json"
    host.write_text(source, "utf-8")
    content = json.loads(manifest.read_text("utf-8"))
    digest = hashlib.sha256(host.read_bytes()).hexdigest()
    content["files"]["1/model.py"] |= {"bytes": host.stat().st_size, "sha256": digest}
    manifest.write_text(json.dumps(content), "utf-8")


def host_that(does: str) -> str:
    """The source of a host that does something when it is loaded, and answers zeros."""
    return f"""
import json
import os
import sys
import time

import numpy as np
import triton_python_backend_utils as pb_utils
{FINGERPRINT}
class TritonPythonModel:
    def initialize(self, args):
        self.fingerprint = fingerprint_of(args)
        {does}

    def execute(self, requests):
        shapes = [pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy().shape for request in requests]
        zeros = [pb_utils.Tensor("embedding", np.zeros((shape[0], 64), np.float32)) for shape in shapes]
        names = [named(self.fingerprint, shape[0]) for shape in shapes]
        return [pb_utils.InferenceResponse([*answer]) for answer in zip(zeros, names, strict=True)]
"""


# The embedded host, which stops after each packed batch while the model directory has a file `hold`, until it has a
# file `step`; if that says so, the model fails. The file `ran` has the number of texts of each batch so far.
STEPWISE = """
import time
from pathlib import Path

from qwen3_serve.host import triton_model

class TritonPythonModel(triton_model.TritonPythonModel):
    def initialize(self, args):
        super().initialize(args)
        folder = Path(args["model_repository"])
        hold, step, ran = (folder / name for name in ("hold", "step", "ran"))
        fill = self._engine.fill

        def stepwise(results, texts):
            with ran.open("a") as file:
                print(len(texts), file=file)
            for done in fill(results, texts):
                yield done
                while hold.exists() and not step.exists():
                    time.sleep(0.01)
                fails = step.exists() and step.read_text() == "fail"
                step.unlink(missing_ok=True)
                if fails:
                    raise RuntimeError("out of memory")

        self._engine.fill = stepwise
"""
