"""ONNX Runtime, imported on first use, and the options of a session on any graph of this project, on any device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime as ort


def runtime() -> Any:  # noqa: ANN401 - a module without types
    """Import and return the module `onnxruntime`, with telemetry off unless the environment turns it on."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
    import onnxruntime

    return onnxruntime


def session_options(threads: int) -> ort.SessionOptions:
    """Return the options of a session on a graph of this project, on any device.

    Args:
        threads: Threads of one operator; 0 for one per core.
    """
    options = runtime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only, because it warns of every input that has a default
    # ONNX Runtime plans a memory pattern for every new shape, and ragged batches rarely have the same shape twice.
    options.enable_mem_pattern = False
    # In attention, exp() of masked scores gives denormal numbers, with which processors compute a hundred times slower.
    # The first session of a process decides for the thread that creates it, so the probe's session sets it as well.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options
