"""The digest of a model: its weights, and what is computed with them besides.

Only values count. How a checkpoint is divided into files, in which order, in which float type the same numbers are
stored, and whether it holds tensors that the model does not use, changes nothing. Knows nothing about graphs,
precisions and prompts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ..kind import Kind
from .adapter import MergedTensor
from .checkpoint import Checkpoint
from .module_settings import read_dense_weights
from .reranker_head import read_head
from .stored_tensor import StoredTensor

# What decides only which texts are accepted, or where the head's rows are stored.
_WITHOUT_EFFECT = ("max_positions", "tied")
_DECODER = re.compile(r"(layers\.\d+\..+|embed_tokens|norm)\.(weight|bias)")
_THREADS = 4


def model_digest(checkpoint: Checkpoint, kind: Kind) -> str:
    """Return the SHA-256 of a model, 64 hexadecimal digits. Every weight is read once.

    The digest is that of a JSON object in UTF-8, with its keys sorted and without spaces:

    - `tensors`: for each tensor of the decoder and of the dense layers, by its name without `model.`, the SHA-256 of
      its values as little-endian float32. For a matrix with the update of an adapter, it is the SHA-256 of four lines:
      those of the base model's matrix, of the adapter's A and B, and `float.hex` of the scale;
    - `shapes`: the shape of each;
    - `geometry`: heads, epsilon, rotary base and what else config.json says of the arithmetic;
    - of an embedding model, `pooling`, `normalized` and `activations`, those of the dense layers;
    - of a reranker, `head`: the SHA-256 of the two rows.

    Args:
        checkpoint: The weights.
        kind: `embedding` or `reranker`.

    Raises:
        ExportError: The head or a dense layer cannot be read.
    """
    stored = {name: tensor for name, tensor in checkpoint.tensors.items() if _DECODER.fullmatch(name)}
    geometry = {key: value for key, value in asdict(checkpoint.geometry).items() if value is not None}
    facts: dict[str, Any] = {"geometry": {key: geometry[key] for key in geometry if key not in _WITHOUT_EFFECT}}
    if kind == "embedding":
        modules = checkpoint.modules
        for index, layer in enumerate(modules.dense):
            weight, bias = read_dense_weights(checkpoint.saved_folder, layer)
            stored |= {f"dense.{index}.weight": weight} | ({} if bias is None else {f"dense.{index}.bias": bias})
        facts["pooling"], facts["normalized"] = modules.pooling, modules.is_normalized
        facts["activations"] = [layer.activation for layer in modules.dense]
    else:
        head = read_head(checkpoint)
        facts["head"] = {"yes": _sha256(head.yes), "no": _sha256(head.no)}
    with ThreadPoolExecutor(min(_THREADS, len(os.sched_getaffinity(0)))) as pool:
        facts["tensors"] = dict(zip(stored, pool.map(_tensor_sha256, stored.values()), strict=True))
    facts["shapes"] = {name: list(tensor.shape) for name, tensor in stored.items()}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _tensor_sha256(tensor: StoredTensor) -> str:
    if isinstance(tensor, MergedTensor):
        # Not of the merged values: the last bits of a matrix product depend on the processor.
        parts = [*map(_tensor_sha256, (tensor.base, tensor.down, tensor.up)), float(tensor.scale).hex()]
        return hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()
    if len(tensor.shape) != 2:
        return _sha256(tensor.map().astype(np.float32))
    digest = hashlib.sha256()
    for _, stripe in tensor.stripes():
        digest.update(_bytes(stripe))
    return digest.hexdigest()


def _sha256(values: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(_bytes(values)).hexdigest()


def _bytes(values: npt.NDArray[np.float32]) -> memoryview:
    return np.ascontiguousarray(values, "<f4").data
