"""Run batches of token ids on an exported model, as hosts do; a program, so that it can run under an emulator.

Standard input is one line of JSON: the model directory, whether the graph that any ONNX Runtime runs is asked for, and
runs. A run is a list of batches, and a batch is a list of texts. Each batch goes through the graph as one packed batch,
or all go through the embedded host's engine, which cuts batches itself and remembers prefixes. Results go to an .npz
file: an array ``[texts, width]`` for each batch, in order, whether int8 sums saturate in this processor's usual
kernels, whether it has AMX, and how many instructions of AMX were emulated (tests/support/amx.c) after the operators'
check of themselves.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from qwen3_export.cpu import instruction_sets, int8_sums_saturate, open_session
from qwen3_export.operators import operators
from qwen3_serve.host.packed_engine import PackedEngine, Settings

THREADS = 2
HOST = Settings(max_batch_tokens=512, max_slots_per_token=1.25, prefix_cache_tokens=512)

Texts = list[npt.NDArray[np.int64]]
Rows = npt.NDArray[np.float32]


def through_the_graph(model: Path, batches: list[Texts], *, portable: bool) -> list[Rows]:
    """Each batch as one packed batch."""
    session = open_session(model, threads=THREADS, portable=portable)
    names = [output.name for output in session.get_outputs() if output.name not in ("kept", "fingerprint")]
    feeds = [
        {"input_ids": np.concatenate(texts), "lengths": np.array([[ids.size] for ids in texts], np.int32)}
        for texts in batches
    ]
    return [np.concatenate(session.run(names, feed), axis=1) for feed in feeds]


def through_the_host(model: Path, batches: list[Texts], *, portable: bool) -> list[Rows]:
    """All batches through one engine, with its cache of prefixes."""
    engine = PackedEngine(model, HOST, threads=THREADS, portable=portable)
    assert engine.attention.startswith("ragged") != portable, engine.attention
    results = (engine.run(texts) for texts in batches)
    return [np.concatenate([each for each in outputs if each.dtype == np.float32], axis=1) for outputs in results]


def emulated_instructions() -> int:
    """The number of instructions that a preloaded library emulated, 0 without one."""
    count = getattr(ctypes.CDLL(None), "emulated_amx_instructions", None)
    if count is None:
        return 0
    count.restype = ctypes.c_uint64
    return int(count())


if __name__ == "__main__":
    job = json.loads(sys.stdin.readline())
    operators()
    before = emulated_instructions()
    rows: list[Rows] = []
    for way, batches in job["runs"]:
        run = {"graph": through_the_graph, "host": through_the_host}[way]
        as_arrays = [[np.array(ids, np.int64) for ids in texts] for texts in batches]
        rows += run(Path(job["model"]), as_arrays, portable=job["portable"])
    saturates, emulated = np.array(int8_sums_saturate()), np.array(emulated_instructions() - before)
    has_amx = np.array("AMX" in instruction_sets())
    np.savez(job["result"], *rows, saturates=saturates, has_amx=has_amx, emulated=emulated)
