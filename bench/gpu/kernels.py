"""Kinds of kernels, by which the profile of a GPU is compared with the model of `model.py`.

A profile has names of CUDA kernels, the model has names of its own, and cuBLAS chooses its kernels on the GPU. Both are
sorted into the same few kinds. `make test-cuda` checks that each kernel that ONNX Runtime launches in a layer has a
kind, and that the model has as many of each. Knows nothing about times.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from bench.gpu.model import Kernel

OTHER = "other"
# The first pattern that is found in a name decides: attention kernels are named after product libraries, too.
_KINDS = {
    "attention": r"flash_fwd|fmha|attention_kernel",
    "rotary": r"RotaryEmbedding|QkNormRotary",
    "cache": r"ReshapeAndCache",
    "gathers": r"GatherKernel",
    "lengths": r"GetCumulativeSeqlens",
    "norms": r"LayerNorm",
    "conversions": r"OP_Cast",
    "SiLU": r"SiLU|QuickGelu|OP_Mul",
    "products": r"gemm|nvjet|xmma|cutlass|cublas|splitK",
}
_MODELLED = {
    "addition and norm": "norms",
    "norm of q": "norms",
    "norm of k": "norms",
    "update to float32": "conversions",
    "normed to half": "conversions",
    "gate to float32": "conversions",
    "SiLU to half": "conversions",
    "SiLU": "SiLU",
    "SiLU times up": "SiLU",
    "rotary of q": "rotary",
    "rotary of k": "rotary",
    "attention": "attention",
    "cache": "cache",
    "prefix keys": "gathers",
    "prefix values": "gathers",
    "lengths": "lengths",
}


def kind_of(name: str) -> str:
    """Return the kind of a CUDA kernel, by its name, mangled or not; `OTHER` if it belongs to no layer."""
    return next((kind for kind, pattern in _KINDS.items() if re.search(pattern, name, re.IGNORECASE)), OTHER)


def modelled_kinds(kernels: Iterable[Kernel]) -> dict[str, list[Kernel]]:
    """Sort the model's kernels into kinds; all that is not listed here is a product with weights."""
    found: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        found[_MODELLED.get(kernel.name, "products")].append(kernel)
    return dict(found)
