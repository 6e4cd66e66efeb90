"""How a graph runs in ONNX Runtime on this machine's processor.

Hosts, benchmarks and checks that run a graph on a CPU open it here, so that all of them use the same settings. Knows
nothing about the model. ONNX Runtime is imported on first use, so that importing this module is cheap.

An export has several graphs with the same weights: `model.onnx`, which any ONNX Runtime runs, and others that are
faster and need the library of `operators`: `ragged.onnx`, and `ragged_vnni.onnx` for int8. Which one runs is decided
here alone.
"""

from __future__ import annotations

import base64
import ctypes
import platform
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .onnx_runtime import runtime, session_options
from .operators import operators, register

if TYPE_CHECKING:
    import onnxruntime as ort

_CPU = "CPUExecutionProvider"
RAGGED = "ragged.onnx"  # beside model.onnx: the graph with ragged attention
RAGGED_VNNI = "ragged_vnni.onnx"  # the same with the library's int8 products, for AVX-512 with VNNI, or AMX
RAGGED_PRODUCTS = "ragged_products"  # its metadata: `float32`, or `bfloat16` where the processor has such products

_AMX = "AMX"
# By which a process asks Linux for the tiles of AMX. Source: Linux, Documentation/arch/x86/xstate.rst.
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18

# The instruction sets for which ONNX Runtime has special kernels, by their names in /proc/cpuinfo.
_INSTRUCTION_SETS = {
    "avx2": "AVX2",
    "avx_vnni": "AVX-VNNI",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": _AMX,
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
    providers: Sequence[str] = (_CPU,),
    entries: Mapping[str, str] | None = None,
    portable: bool = False,
) -> ort.InferenceSession:
    """Load an exported graph.

    If a faster graph is beside `model.onnx`, and this machine can run it, that is loaded in place of it.

    Args:
        model: The `model.onnx` file, or the content of a graph.
        threads: Threads of one operator; 0 for one per core.
        providers: ONNX Runtime's execution providers, the preferred one first.
        entries: Further entries of the session's configuration.
        portable: Load the graph that any ONNX Runtime runs, even if this machine can run the other one.
    """
    options = session_options(threads)
    if int8_sums_saturate():
        # This turns the weights into uint8 while the graph is loaded; products of uint8 by uint8 are summed in 32 bits.
        options.add_session_config_entry("session.x64quantprecision", "1")
    # Between runs, threads that spin would take the cores from the server and its clients.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    graph = model if isinstance(model, bytes) or portable or list(providers) != [_CPU] else graph_to_run(model)
    if isinstance(graph, Path) and graph != model:
        register(options)
    return runtime().InferenceSession(graph if isinstance(graph, bytes) else str(graph), options, providers=providers)


def graph_to_run(model: Path) -> Path:
    """Return which graph of an export runs on this machine's processor, the fastest one that can.

    Args:
        model: The `model.onnx` file.
    """
    if _portable_because(model):
        return model
    exact = model.with_name(RAGGED_VNNI)
    return exact if operators().has_int8_products and exact.is_file() else model.with_name(RAGGED)


def is_ragged(session: ort.InferenceSession) -> bool:
    """Return whether a session's attention is ragged, so that texts of any lengths share a batch without padding."""
    return RAGGED_PRODUCTS in session.get_modelmeta().custom_metadata_map


def describe_attention(session: ort.InferenceSession, model: Path) -> str:
    """Say which attention runs, and why if it is not the faster one, such as "ragged, AVX-512 with bfloat16".

    Args:
        session: From `open_session`.
        model: The `model.onnx` file that it was given.
    """
    products = session.get_modelmeta().custom_metadata_map.get(RAGGED_PRODUCTS)
    if products is None:
        return f"ONNX Runtime's, because {_portable_because(model) or 'that was asked for'}"
    if products == "bfloat16" and operators().has_bf16:
        return f"ragged, {_AMX if _AMX in instruction_sets() else 'AVX-512'} with bfloat16"
    return f"ragged, {'AVX-512' if 'AVX-512' in instruction_sets() else 'AVX2'}"


def _portable_because(model: Path) -> str:
    """Return why ragged attention cannot run, as a clause that follows "because"; "" if it can."""
    if not model.with_name(RAGGED).is_file():
        return f"{model.parent} has no {RAGGED}, which exports of causal models have"
    return operators().refusal


@cache
def int8_sums_saturate() -> bool:
    """Whether ONNX Runtime's products of uint8 by int8 saturate on this processor.

    On x86 processors without VNNI, its kernels add pairs of products in 16 bits, which saturate (`vpmaddubsw`). This
    function multiplies the largest values and checks the sum. So it tests the kernels that will run, instead of
    deriving the answer from the processor's name. `open_session` avoids saturation by slower kernels, but only where
    this function returns True.
    """
    probe = runtime().InferenceSession(_PROBE, session_options(threads=1), providers=[_CPU])
    (total,) = probe.run(None, {"x": np.full((1, 4), 255, np.uint8)})
    return float(total.item()) != 4 * 127 * 127


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Return the processor's instruction sets that matter for speed and rounding, such as `("AVX2", "AVX-512")`.

    AMX is one of them only where Linux lets this process use it: a container's rules for system calls may forbid that.

    Args:
        cpuinfo: Linux's description of the processor. On other systems it does not exist, and the result is empty.
    """
    try:
        flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return ()
    present = set() if flags is None else set(flags[1].split())
    return tuple(
        name for flag, name in _INSTRUCTION_SETS.items() if flag in present and (name != _AMX or may_use_tiles())
    )


def may_use_tiles() -> bool:
    """Ask Linux to let this process use the tiles of AMX, as kernels do, and return whether it does."""
    return (
        platform.machine() == "x86_64"
        and ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0
    )
