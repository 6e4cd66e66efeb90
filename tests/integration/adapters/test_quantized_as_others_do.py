"""Vectors in fewer bytes are what sentence-transformers makes of the same vectors."""

from typing import Literal

import numpy as np
from qwen3_client.quantization import Calibration, quantize
from sentence_transformers import quantize_embeddings


def test_it_is_what_sentence_transformers_makes() -> None:
    vectors = np.random.default_rng(0).standard_normal((500, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    calibration = Calibration.of(vectors)
    ranges = np.stack([calibration.low, calibration.high])
    packed: tuple[Literal["binary", "ubinary"], ...] = ("binary", "ubinary")
    for dtype in packed:
        theirs = quantize_embeddings(vectors, precision=dtype)
        ours = quantize(vectors, dtype)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    calibrated: tuple[Literal["int8", "uint8"], ...] = ("int8", "uint8")
    for level_dtype in calibrated:
        theirs = quantize_embeddings(vectors, precision=level_dtype, ranges=ranges)
        ours = quantize(vectors, level_dtype, calibration=calibration)
        assert ours.dtype == theirs.dtype
        # They cut a level's fraction off where we round.
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() == 1
