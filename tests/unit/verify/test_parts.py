"""The parts that decide: batches, bounds, comparisons and the model card's numbers."""

import dataclasses

import numpy as np
import pytest
import qwen3_export.verify
from hypothesis import given
from hypothesis import strategies as st
from qwen3_export.verify import VerifyError
from qwen3_export.verify.bounds import bounds_for
from qwen3_export.verify.cases import PAIRS, TEXTS, Case, tokenized_texts
from qwen3_export.verify.comparison import compare, sigmoid
from qwen3_export.verify.model_card import compare_with_card, published
from qwen3_export.verify.runner import mixed_batches
from qwen3_export.verify.texts import CARD_COSINES, CARD_LOGITS, CARD_PAIRS

CASE = Case("text", np.array([1, 2], np.int64), whole=True)
FP32, INT8, BF16 = bounds_for("fp32"), bounds_for("int8"), bounds_for("bf16")


def _vector(*values: float) -> np.ndarray:  # type: ignore[type-arg]
    vector = np.array(values, np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_the_public_surface_is_pinned() -> None:
    assert qwen3_export.verify.__all__ == ["FileReport", "Verdict", "VerifyError", "check_files", "verify_model"]
    assert all(hasattr(qwen3_export.verify, name) for name in qwen3_export.verify.__all__)


@given(st.lists(st.integers(1, 5000), min_size=2, max_size=80))
def test_every_text_gets_company_and_batches_stay_small(lengths: list[int]) -> None:
    batches = mixed_batches(lengths)
    assert sorted({index for batch in batches for index in batch}) == list(range(len(lengths)))
    assert sum(len(batch) for batch in batches) <= len(lengths) + 1
    for batch in batches:
        assert 2 <= len(set(batch)) == len(batch) <= 33
        assert len(batch) <= 3 or max(lengths[i] for i in batch) * len(batch) <= 16_384 + 5000
    assert batches == mixed_batches(lengths)


def test_a_row_that_agrees_passes() -> None:
    row = _vector(1, 2, 3)
    found = compare(CASE, row, row, row.copy(), kind="embedding", bounds=FP32)
    assert found.faults == ()
    assert found.in_batch == 0
    assert found.measures == pytest.approx((1, 0))


@pytest.mark.parametrize(
    ("row", "together", "message"),
    [
        (_vector(1, 2, 3.01), _vector(1, 2, 3.01), "cosine"),
        (_vector(1, 2, 3.0001), _vector(1, 2, 3.0001), "an element"),
        (_vector(1, 2, 3) * np.float32(2), _vector(1, 2, 3) * np.float32(2), "its norm is 2"),
        (_vector(1, 2, 3), np.nextafter(_vector(1, 2, 3), np.float32(2)), "alone and in a batch"),
        (_vector(1, 2, 3) * np.float32(np.nan), _vector(1, 2, 3), "not finite"),
        (_vector(1, 2, 3), _vector(1, 2, 3) * np.float32(np.inf), "not finite"),
        (np.zeros(3, np.float32), np.zeros(3, np.float32), "cosine 0"),
    ],
)
def test_an_embedding_that_does_not_agree_fails(row: np.ndarray, together: np.ndarray, message: str) -> None:  # type: ignore[type-arg]
    found = compare(CASE, row, _vector(1, 2, 3), together, kind="embedding", bounds=FP32)
    assert message in "; ".join(found.faults)


def test_a_reference_of_nan_proves_nothing() -> None:
    row, nan = _vector(1, 2), np.full(2, np.nan, np.float32)
    assert compare(CASE, row, nan, row, kind="embedding", bounds=INT8).faults == ("the reference is not finite",)


def test_scores() -> None:
    def faults(row: tuple[float, float], reference: tuple[float, float], precision: str) -> str:
        rows = [np.array(values, np.float32) for values in (row, reference, row)]
        return "; ".join(compare(CASE, *rows, kind="reranker", bounds=bounds_for(precision)).faults)

    exact, near, far = ((sigmoid(logit), logit) for logit in (1.0, 1.01, 2.0))
    assert faults(exact, exact, "fp32") == ""
    assert (
        faults(near, exact, "fp32")
        == "the logit differs by 1.0e-02, more than 0.0001; the score differs by 2.0e-03, more than 0.0001"
    )
    assert faults(near, exact, "int8") == ""
    assert faults(far, exact, "int8") == "the score differs by 1.5e-01, more than 0.05"
    assert faults(far, exact, "int4-weight") == ""
    assert "not the sigmoid" in faults((exact[0] + 0.001, 1.0), exact, "int8")


def test_only_gpu_precisions_may_differ_in_a_batch() -> None:
    row, near, far = _vector(1, 2, 3), _vector(1, 2, 3.001), _vector(1, 2, 4)
    assert compare(CASE, row, row, near, kind="embedding", bounds=BF16).faults == ()
    assert "in a batch, cosine" in compare(CASE, row, row, far, kind="embedding", bounds=BF16).faults[0]
    for precision in ("fp32", "int8", "int8-weight", "int4-weight"):
        assert bounds_for(precision).same_bits
    with pytest.raises(VerifyError, match="int2"):
        bounds_for("int2")


def test_the_card_of_an_embedding_model() -> None:
    source = "Qwen/Qwen3-Embedding-4B"
    assert published("/folder", source) == source
    assert published("tiny", "/folder") is None
    # Queries are the axes, so a document's coordinates are its cosines with them.
    axes = np.eye(4, dtype=np.float32)
    documents = np.array([[a, b, np.sqrt(1 - a * a - b * b), 0] for a, b in np.array(CARD_COSINES[source]).T])
    rows = {text.name: row for text, row in zip(TEXTS, [*axes[:2], *documents.astype(np.float32)], strict=False)}
    report = compare_with_card(source, rows, bounds=FP32)
    assert (report.numbers, report.fault) == (4, None)
    rows["card: document China"] = axes[3]
    assert "cosines differ from the model card's by 7.5e-01" in str(compare_with_card(source, rows, bounds=INT8).fault)
    rows["card: document China"] = axes[3] * np.nan
    assert compare_with_card(source, rows, bounds=INT8).fault is not None
    del rows["card: document China"]
    with pytest.raises(VerifyError, match="raise --max-tokens"):
        compare_with_card(source, rows, bounds=FP32)


def test_the_card_of_the_reranker() -> None:
    source = "Qwen/Qwen3-Reranker-0.6B"
    rows = {
        pair.name: np.array([sigmoid(logit), logit], np.float32)
        for pair, logit in zip(CARD_PAIRS, CARD_LOGITS[source], strict=True)
    }
    for bounds, what in ((FP32, "logits"), (INT8, "scores")):
        report = compare_with_card(source, rows, bounds=bounds)
        assert (report.numbers, report.what, report.fault) == (4, what, None)
    rows["card: Mars"] = rows["card: Venus"]
    assert compare_with_card(source, rows, bounds=INT8).fault is not None
    with pytest.raises(VerifyError, match="correct --source"):
        compare_with_card(source, {text.name: rows["card: Mars"] for text in TEXTS}, bounds=FP32)


def test_names_are_unique_and_results_are_frozen() -> None:
    for items in (TEXTS, PAIRS, list(tokenized_texts("reranker"))):
        names = [item.name for item in items]
        assert len(names) == len(set(names)) > 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        CASE.name = "other"  # type: ignore[misc]
