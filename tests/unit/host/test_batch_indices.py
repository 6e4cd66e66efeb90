"""The integers of a packed batch, as PagedAttention takes them."""

import numpy as np
import pytest
from qwen3_serve.host.batch_indices import ON_PROCESSOR, IndexLayout

LAYOUT = IndexLayout((256, 2, 32), bounds=3)


@pytest.mark.parametrize(
    ("lengths", "table"),
    [
        ([1], [[0]]),
        ([256], [[0]]),
        ([257], [[0, 1]]),
        ([300, 1, 600], [[0, 1, 1], [2, 2, 2], [3, 4, 5]]),  # a text with fewer blocks repeats its last
    ],
)
def test_texts_get_blocks_in_order(lengths: list[int], table: list[list[int]]) -> None:
    found = LAYOUT.of(lengths)
    assert found["block_table"].tolist() == table
    assert found["cumulative_lengths"].tolist() == [0, *np.cumsum(lengths)]
    assert found["pooled_rows"].tolist() == (np.cumsum(lengths) - 1).tolist()
    assert found["past_lengths"].tolist() == [0] * len(lengths)
    assert found["metadata"].tolist() == [max(lengths)] * 3
    assert found["cache_shape"].tolist() == [sum(-(-n // 256) for n in lengths), 256, 2, 32]
    types = {name: array.dtype.name for name, array in found.items()}
    assert {name for name, kind in types.items() if kind == "int64"} == {"pooled_rows", "cache_shape"}
    assert set(types.values()) == {"int32", "int64"}
    assert set(ON_PROCESSOR) < set(found)
