"""What must hold on every processor: here, here without AMX, and under emulation of one with less or more.

A program of its own runs the exported graphs (run_batches.py), so that an emulator can run it; what it must agree with,
transformers on the same weights, is computed natively.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from qwen3_export import export
from qwen3_export.cpu import instruction_sets
from qwen3_export.precision import FOR_CUDA, PRECISIONS, Precision
from support.checkpoints import Shape, make_checkpoint, make_checkpoint_with_outliers
from support.oracle import Ids, Vectors, random_texts, reference_embeddings
from support.processors import AVX2, COVERED, NATIVE, WITHOUT_AMX, Processor, amx

RUN_BATCHES = Path(__file__).with_name("run_batches.py")
ON_CPU: list[Precision] = [precision for precision in PRECISIONS if precision not in FOR_CUDA]
# Smallest cosine on a tiny random model, which amplifies rounding.
COSINE: dict[Precision, float] = {"fp32": 0.999999, "int8": 0.99, "int8-weight": 0.99, "int4-weight": 0.85}
MODELS = {
    "blocks fit": (make_checkpoint, Shape()),
    "odd sizes": (make_checkpoint, Shape(hidden=80, intermediate=104, head_dim=48)),
    "outliers": (make_checkpoint_with_outliers, Shape(dtype="float32")),
}
# Rows of a packed batch where kernels change: one row, tiles of 2 and 4, ranges of 128, and one row past each.
ROWS = [1, 2, 3, 4, 5, 127, 128, 129, 130, 257]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one exported model gave.

    Attributes:
        head_dim: The model's.
        reference: Of each text, by transformers in float32.
        alone: Of each text, alone in its packed batch.
        batches: Texts by their number, and what they gave in one packed batch.
        host: The same texts twice through the embedded host's engine, in batches, with its cache of prefixes.
        saturates: Whether the processor's usual int8 sums saturate.
        has_amx: Whether the runs had AMX, of the processor itself.
        emulated: How many instructions of AMX the runs had, where AMX is emulated.
    """

    head_dim: int
    reference: Vectors
    alone: Vectors
    batches: Sequence[tuple[list[int], Vectors]]
    host: Sequence[tuple[list[int], Vectors]]
    saturates: bool
    has_amx: bool
    emulated: int


EMULATED = [pytest.mark.emulator, pytest.mark.timeout(1200)]


@pytest.fixture(
    scope="module",
    params=["native", "without AMX", pytest.param("AVX2", marks=EMULATED), pytest.param("AMX", marks=EMULATED)],
)
def processor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Processor:
    known = {processor.name: processor for processor in (NATIVE, WITHOUT_AMX, AVX2)}
    asked = known.get(request.param) or amx(tmp_path_factory.mktemp("amx"))
    if asked.lacks and asked.lacks not in instruction_sets():
        pytest.skip(f"this processor has no {asked.lacks}, so that the native tests are without it")
    request.config.stash[COVERED].append(str(asked))
    return asked


@pytest.fixture(scope="module", params=ON_CPU)
def precision(request: pytest.FixtureRequest) -> Precision:
    asked: Precision = request.param
    return asked


@pytest.fixture(scope="module", params=["ragged", "padded"])
def portable(request: pytest.FixtureRequest) -> bool:
    """Whether the graph with padded attention runs, which any ONNX Runtime can run."""
    return bool(request.param == "padded")


@pytest.fixture(scope="module", params=MODELS)
def outcome(
    request: pytest.FixtureRequest,
    processor: Processor,
    precision: Precision,
    portable: bool,  # noqa: FBT001 - a fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    make, shape = MODELS[request.param]
    folder = tmp_path_factory.mktemp("model")
    checkpoint = make(folder / "checkpoint", shape)
    directory = export(str(checkpoint), repository=folder, precision=precision).directory
    texts = texts_to_run()
    packed, hosted = batches_to_run(texts)
    every = list(range(len(texts)))
    result = folder / "rows.npz"
    job = {
        "model": str(directory / "1" / "model.onnx"),
        "portable": portable,
        "result": str(result),
        "runs": [
            (way, [[texts[number].tolist() for number in batch] for batch in batches])
            for way, batches in (("graph", [[number] for number in every]), ("graph", packed), ("host", hosted))
        ],
    }
    done = subprocess.run(
        [*processor.launcher, sys.executable, str(RUN_BATCHES)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(result) as rows:
        ran: list[Any] = [rows[name] for name in rows.files if name.startswith("arr_")]
        saturates, has_amx, emulated = bool(rows["saturates"]), bool(rows["has_amx"]), int(rows["emulated"])
    alone, ran = ran[: len(texts)], ran[len(texts) :]
    return Outcome(
        head_dim=shape.head_dim,
        reference=reference_embeddings(checkpoint, texts),
        alone=np.concatenate(alone),
        batches=list(zip(packed, ran[: len(packed)], strict=True)),
        host=list(zip(hosted, ran[len(packed) :], strict=True)),
        saturates=saturates,
        has_amx=has_amx,
        emulated=emulated,
    )


def texts_to_run() -> list[Ids]:
    """Texts of every number of rows where something changes, some with a beginning in common."""
    texts = random_texts([*ROWS, 7, 7, 16, 33, 64, 100, 256, 300])
    prompt, *bodies = random_texts([40, 1, 2, 25, 90], seed=1)
    return [*texts, *(np.concatenate([prompt, body]) for body in bodies)]


def batches_to_run(texts: Sequence[Ids]) -> tuple[list[list[int]], list[list[int]]]:
    """Packed batches, and batches for the host, as numbers of texts; the same every time."""
    random = np.random.default_rng(0)
    shuffled = [random.permutation(len(texts))[: random.integers(2, len(texts))].tolist() for _ in range(4)]
    one_token = texts_with(texts, 1)[0]
    # 1 + 127, 1 + 128 and 1 + 256 rows: full ranges of rows, and one row more.
    ranges = [[one_token, texts_with(texts, rows)[0]] for rows in (127, 128, 256)]
    packed = [list(range(len(texts))), *shuffled, *ranges, texts_with(texts, 7), [one_token] * 3]
    return packed, [*shuffled, *shuffled]


def texts_with(texts: Sequence[Ids], rows: int) -> list[int]:
    """Numbers of the texts with so many rows."""
    return [number for number, ids in enumerate(texts) if ids.size == rows]


def test_the_processor_is_the_one_that_was_asked_for(processor: Processor, outcome: Outcome) -> None:
    assert processor.saturates in (None, outcome.saturates)
    assert outcome.has_amx == (processor == NATIVE and "AMX" in instruction_sets())


def test_amx_multiplies_where_sizes_fit(
    processor: Processor,
    precision: Precision,
    portable: bool,  # noqa: FBT001 - a fixture
    outcome: Outcome,
) -> None:
    may = processor.emulates_amx and not portable and precision != "fp32"
    must = may and outcome.head_dim % 32 == 0  # of int8, products of other models can fit too
    assert may if outcome.emulated else not must


def test_it_is_close_to_transformers(precision: Precision, outcome: Outcome) -> None:
    cosines: npt.NDArray[np.float32] = (outcome.alone * outcome.reference).sum(axis=1)
    assert cosines.min() >= COSINE[precision]


def test_a_text_has_the_same_bits_in_every_packed_batch(outcome: Outcome) -> None:
    for batch, rows in outcome.batches:
        np.testing.assert_array_equal(rows, outcome.alone[batch], err_msg=f"texts {batch}")


def test_a_text_has_the_same_bits_through_the_host_with_prefixes(outcome: Outcome) -> None:
    for batch, rows in outcome.host:
        np.testing.assert_array_equal(rows, outcome.alone[batch], err_msg=f"texts {batch}")
