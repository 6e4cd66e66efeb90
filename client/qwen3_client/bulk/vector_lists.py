"""Vectors as a column of Arrow: lists of one length. Knows nothing about files."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def vector_lists(vectors: NDArray[np.number[Any]]) -> pa.FixedSizeListArray:
    """Return vectors `[n, dimensions]` as n lists of `dimensions` numbers."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
