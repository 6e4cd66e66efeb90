"""Vectors as arrays of numpy or as tensors of torch, which need not be installed.

Knows nothing about models.
"""

from types import ModuleType
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import torch


def unit_vectors(embeddings: "ArrayLike | torch.Tensor") -> NDArray[np.float32]:
    """Return vectors as float32 of norm 1. A zero vector stays zero."""
    array = np.asarray(embeddings.detach().cpu() if is_tensor(embeddings) else embeddings, np.float32)
    norms = np.linalg.norm(array, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(array, norms, out=np.zeros_like(array), where=norms > 0)
    return unit


def is_tensor(embeddings: object) -> "TypeGuard[torch.Tensor]":
    """Return whether vectors are a tensor."""
    return type(embeddings).__module__ == "torch"  # asked this way so that torch is not imported for it


def import_torch() -> ModuleType:
    """Return torch.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "tensors need torch: pip install torch, or leave out convert_to_numpy and convert_to_tensor"
        ) from error
    return torch
