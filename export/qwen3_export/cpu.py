"""How a graph runs in ONNX Runtime on this machine's processor. Every host, benchmark and check on a CPU asks here.

Knows nothing about the model. ONNX Runtime is imported when it is needed, so that importing this module is cheap.
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

# By their names in /proc/cpuinfo, those that ONNX Runtime has kernels of its own for.
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

# MatMulIntegerToFloat of uint8 x [m, 4] with zero point 128 and four int8 weights of 127. A test decodes it.
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
        threads: Of one operator; 0 takes every core.
        providers: ONNX Runtime's execution providers, the preferred one first.
        entries: More entries of the session's configuration.
    """
    options = _options(threads)
    if int8_sums_saturate():
        # Weights become uint8 while the graph is loaded, and products of uint8 by uint8 are summed in 32 bits.
        options.add_session_config_entry("session.x64quantprecision", "1")
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    return runtime().InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=providers)


@cache
def int8_sums_saturate() -> bool:
    """Whether ONNX Runtime's products of uint8 by int8 lose high bits on this processor.

    On x86 processors without VNNI they add pairs of products in 16 bits that saturate (`vpmaddubsw`). This multiplies
    the largest values and looks at the sum: it is true of the very kernels that will run, whatever the processor is
    called. Where sums are exact, the slower kernels of `open_session` are not wanted.
    """
    probe = runtime().InferenceSession(_PROBE, _options(threads=1), providers=["CPUExecutionProvider"])
    (total,) = probe.run(None, {"x": np.full((1, 4), 255, np.uint8)})
    return float(total.item()) != 4 * 127 * 127


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The processor's instruction sets that matter for speed and rounding, such as `("AVX2", "AVX-512")`.

    Args:
        cpuinfo: What Linux says of the processor. Elsewhere there is no such file, and nothing is known.
    """
    try:
        flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ()
    present = set() if flags is None else set(flags[1].split())
    return tuple(name for flag, name in _INSTRUCTION_SETS.items() if flag in present)


def runtime() -> Any:  # noqa: ANN401 - a module without types
    """The module `onnxruntime`, with its telemetry off unless the environment says otherwise."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when ONNX Runtime is imported
    import onnxruntime

    return onnxruntime


def _options(threads: int) -> ort.SessionOptions:
    options = runtime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors: it warns of every input that has a default
    # Memory patterns are planned anew for each new shape, and ragged batches hardly ever repeat one.
    options.enable_mem_pattern = False
    # Attention takes exp() of what it masked: denormal numbers, which processors compute a hundred times slower. The
    # first session of a process decides for the thread that makes it, so the probe says it as well.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return options
