"""The pure parts of the GPU measurements."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from qwen3_export.checkpoint.random_checkpoint import published_config

from bench.gpu.report import (
    KIND,
    Agreement,
    agreement,
    matmul_flops,
    mixed_lengths,
    non_embedding_parameters,
    percentile,
    read_records,
    utilisation,
    write_page,
)


@pytest.mark.parametrize(("size", "billions"), [("0.6B", 0.440), ("4B", 3.633), ("8B", 6.946)])
def test_non_embedding_parameters(size: str, billions: float) -> None:
    """As the model cards of Qwen3-0.6B, -4B and -8B give them: 0.44B, 3.6B and 6.95B."""
    assert non_embedding_parameters(published_config(size)) / 1e9 == pytest.approx(billions, abs=5e-4)


def test_utilisation_is_one_where_every_operation_is_the_models() -> None:
    assert utilisation(1000.0, parameters=5, matmul_flops=10_000.0) == 1
    assert utilisation(500.0, parameters=5, matmul_flops=10_000.0) == 0.5


def test_the_rate_of_a_product_is_that_of_the_median_run() -> None:
    assert matmul_flops(100, [1.0, 2.0, 9.0]) == 1e6


def test_percentiles() -> None:
    seconds = [4.0, 1.0, 3.0, 2.0, 5.0]
    assert [percentile(seconds, p) for p in (0, 50, 100)] == [1, 3, 5]
    assert percentile(seconds, 99) == pytest.approx(4.96)


@pytest.mark.parametrize("tokens", [1, 512, 4096, 65_536])
def test_mixed_lengths_add_up_and_fit_paged_attention(tokens: int) -> None:
    lengths = mixed_lengths(tokens)
    assert sum(lengths) == tokens
    assert min(lengths) >= 1
    assert max(lengths) <= 640
    assert tokens < 512 or len(set(lengths)) > 2, "hardly mixed"
    assert len(lengths) <= 256, "more texts than PagedAttention takes"
    assert lengths == mixed_lengths(tokens)


def test_agreement_takes_the_worst_text() -> None:
    ours = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    theirs = np.array([[1, 0], [0, 1], [0.8, 0.6]], np.float32)
    found = agreement("0.6B", "a and b", ours, theirs)
    assert found.cosine == pytest.approx(0.96)
    assert found.difference == pytest.approx(0.2)
    assert (found.same_bits, found.texts) == (2, 3)


def test_the_page_says_what_was_measured_and_what_could_not_be(tmp_path: Path) -> None:
    timing = {"kind": "timing", "size": "0.6B", "note": ""}
    records = [
        {"kind": "environment", "section": "throughput", "GPU": "some GPU"},
        {"kind": "flops", "flops": 1e12},
        {"kind": "parameters", "size": "0.6B", "parameters": 1_000_000_000},
        {"kind": "agreement", **asdict(Agreement("0.6B", "ours and theirs", 0.99991, 1e-3, 3, 8))},
        {**timing, "work": "mixed", "tokens": 1000, "texts": 3, "arm": "ours", "seconds": [4.0, 4.0, 5.0]},
        {
            **timing,
            "work": "skewed",
            "tokens": 40_832,
            "texts": 64,
            "arm": "sdpa",
            "seconds": [],
            "note": "out of memory",
        },
        {**timing, "work": "query", "tokens": 32, "texts": 1, "arm": "ours", "seconds": [0.002, 0.003, 0.004]},
        {"kind": KIND, "work": "one query", "name": "products", "calls": 112, "us": 1000.0, "predicted_us": 900.0},
        {"kind": KIND, "work": "one query", "name": "other", "calls": 9, "us": 500.0, "predicted_us": None},
        {"kind": "section", "section": "throughput", "state": "stopped at its deadline", "seconds": 60.0},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "throughput.jsonl").write_text(lines + '{"kind": "timing", "si')  # stopped while it wrote
    write_page(read_records(tmp_path, ["correct", "throughput"]), tmp_path / "gpu.md")
    page = (tmp_path / "gpu.md").read_text().splitlines()
    assert "- GPU: some GPU" in page
    assert "| throughput | stopped at its deadline | 60 |" in page
    assert "| 0.6B | ours and theirs | 0.999910 | 1.0e-03 | 3 of 8 |" in page
    assert "| 0.6B | mixed | 3 | 1,000 | ours | 250 | 50% | 4,000.0 ms to 4,800.0 ms |" in page
    assert "| 0.6B | skewed | 64 | 40,832 | sdpa | out of memory |  |  |" in page
    assert "| 0.6B | 32 | ours | 3.0 ms | 4.0 ms |" in page
    assert "| one query | products | 112 | 1,000 | 900 |" in page
    assert "| one query | other | 9 | 500 |  |" in page
    assert "one query: the kernels take 1.50 ms, and the model predicts 0.90 ms." in page
