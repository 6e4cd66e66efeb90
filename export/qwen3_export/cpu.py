"""How a graph runs in ONNX Runtime on this machine's processor.

Hosts, benchmarks and checks that run a graph on a CPU open it here, so that all of them use the same settings. Knows
nothing about the model. ONNX Runtime is imported on first use, so that importing this module is cheap.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnxruntime as ort

# The instruction sets for which ONNX Runtime has special kernels, by their names in /proc/cpuinfo.
_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": "AMX",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "NEON int8",
}

# An ONNX model: MatMulIntegerToFloat of uint8 `x [m, 4]` with four int8 weights of 127. A test decodes it.
_PROBE = base64.b64decode(
    "CAo6oAEKNwoBeAoBdwoBYQoBcwoBehIBeSIUTWF0TXVsSW50ZWdlclRvRmxvYXQ6DWNvbS5taWNyb3NvZnQSAWcqDwgECAEQAyoEf39/f0IBdyoLEAEi"
    "BAAAgD9CAWEqDQgBEAEiBAAAgD9CAXMqCRACKgKAAUIBeloUCgF4Eg8KDQgCEgkKAxIBbQoCCARiFAoBeRIPCg0IARIJCgMSAW0KAggBQgQKABAVQhEK"
    "DWNvbS5taWNyb3NvZnQQAQ=="
)


def open_session(
    model: Path | bytes,
    *,
    threads: int = 0,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    entries: Mapping[str, str] | None = None,
) -> ort.InferenceSession:
    """Load an exported graph.

    Args:
        model: The `model.onnx` file, or its content.
        threads: Threads of one operator; 0 for one per core.
        providers: ONNX Runtime's execution providers, the preferred one first.
        entries: Further entries of the session's configuration.
    """
    options = session_options(threads)
    if int8_sums_saturate():
        # This turns the weights into uint8 while the graph is loaded; products of uint8 by uint8 are summed in 32 bits.
        options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    return runtime().InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=providers)


@cache
def int8_sums_saturate() -> bool:
    """Whether ONNX Runtime's products of uint8 by int8 saturate on this processor.

    On x86 processors without VNNI, its kernels add pairs of products in 16 bits, which saturate (`vpmaddubsw`). This
    function multiplies the largest values and checks the sum. So it tests the kernels that will run, instead of
    deriving the answer from the processor's name. `open_session` avoids saturation by slower kernels, but only where
    this function returns True.
    """
    probe = runtime().InferenceSession(_PROBE, session_options(threads=1), providers=["CPUExecutionProvider"])
    (total,) = probe.run(None, {"x": np.full((1, 4), 255, np.uint8)})
    return float(total.item()) != 4 * 127 * 127


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Return the processor's instruction sets that matter for speed and rounding, such as `("AVX2", "AVX-512")`.

    Args:
        cpuinfo: Linux's description of the processor. On other systems it does not exist, and the result is empty.
    """
    try:
        flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ()
    present = set() if flags is None else set(flags[1].split())
    return tuple(name for flag, name in _INSTRUCTION_SETS.items() if flag in present)


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
