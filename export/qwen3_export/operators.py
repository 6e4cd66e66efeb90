"""The project's own operators for ONNX Runtime on CPUs: where their library is, and whether it works here.

The sources are in `operators/` of the repository. The library is for Linux on x86-64; elsewhere, and on processors
without AVX2, graphs with its operators cannot run. This module knows nothing about the graphs of models.

Before the library is used, `operators` compares what it computes with NumPy, once per process: a compiler or a
processor with a fault must not give wrong vectors. That takes 20 ms.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .attention_check import check_attention, probe
from .onnx_runtime import runtime, session_options
from .rows_check import check_products, check_rows, product_probe, rows_probe

if TYPE_CHECKING:
    import onnxruntime as ort

LIBRARY = Path(__file__).with_name("libqwen3_operators.so")
DOMAIN, VERSION = "qwen3", 1
# Limits of RaggedAttention. Source: operators/attention_kernel.h and operators/ragged_attention.cpp.
MAX_GROUP = 48  # heads of queries for each head of keys and values
MAX_HEAD_DIM = 512
_NO_KERNEL = "this processor lacks the instructions"  # the library's error. Source: operators/operator.h

# Of a 64-bit file: where the table of segments starts, the size of an entry, and how many there are; of an entry, where
# the segment starts in the file, and its size there. Source: man 5 elf.
_ELF_HEADER = struct.Struct("<32xQ14xHH6x")
_ELF_SEGMENT = struct.Struct("<8xQ16xQ16x")


@dataclass(frozen=True, slots=True)
class Operators:
    """What the library can do on this machine.

    Attributes:
        refusal: Why it is not used, a clause that can follow "because"; "" if it is used.
        has_bf16: Whether it multiplies in bfloat16, where a graph allows it.
        has_int8_products: Whether it has products of int8 for this processor.
    """

    refusal: str = ""
    has_bf16: bool = False
    has_int8_products: bool = False


@cache
def operators(library: Path = LIBRARY) -> Operators:
    """Load the library and check what it computes. Warns if that is wrong."""
    if not library.is_file():
        return Operators(f"this installation has no {library.name}, which there is for Linux on x86-64")
    if _is_cut_short(library):
        return Operators(f"{library} is cut short; install qwen3-triton again")
    try:
        outcome = check_attention(_session(probe(), library))
        faults = [outcome.fault, check_rows(_session(rows_probe(), library))]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own errors have no common base class
        said = " ".join(str(error).split())
        if _NO_KERNEL in said:
            return Operators("this processor has no AVX2 with FMA")
        return Operators(f"{library.name} does not run here ({said[:300]})")
    try:
        products = _session(product_probe(), library)
    except Exception as error:
        if _NO_KERNEL not in str(error):
            raise
        has_int8_products = False
    else:
        has_int8_products = True
        faults.append(check_products(products))
    if not any(faults):
        return Operators(has_bf16=outcome.has_bf16, has_int8_products=has_int8_products)
    refusal = (
        f"{library.name} computes wrong numbers here ({'; '.join(filter(None, faults))}); please report this with the "
        "output of `lscpu` and of `pip show qwen3-triton onnxruntime`"
    )
    warnings.warn(refusal, RuntimeWarning, stacklevel=2)
    return Operators(refusal)


def _session(model: bytes, library: Path) -> ort.InferenceSession:
    options = session_options(threads=1)
    options.log_severity_level = 4  # fatal errors only: what is wrong is part of the result
    register(options, library)
    return runtime().InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _is_cut_short(library: Path) -> bool:
    """Return whether a file of the format ELF lacks its end: what reads the missing part would end the process."""
    content = library.read_bytes()
    if not content.startswith(b"\x7fELF") or len(content) < _ELF_HEADER.size:
        return False  # the system refuses to load it
    first, size, count = _ELF_HEADER.unpack_from(content)
    if first + size * count > len(content):
        return True
    segments = (_ELF_SEGMENT.unpack_from(content, first + size * index) for index in range(count))
    return any(start + in_file > len(content) for start, in_file in segments)


def register(options: ort.SessionOptions, library: Path = LIBRARY) -> None:
    """Add the operators to a session's options.

    Raises:
        Exception: ONNX Runtime's own: the library cannot be loaded.
    """
    options.register_custom_ops_library(str(library))
