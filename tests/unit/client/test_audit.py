"""`qwen3-triton audit`: which stored vectors pass for the model's, and which do not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from qwen3_client import Client
from qwen3_client.bulk.audit import agreement, least_cosine
from qwen3_client.cli.subcommands import parse, run
from qwen3_client.quantization import DTYPES, Calibration, Dtype, quantize
from unit.client.conftest import vector_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from unit.client.conftest import SlowTransport

TEXTS = [f"text {'x' * (number % 9)}{number}" for number in range(150)]
IDS = [f"id {number}" for number in range(len(TEXTS))]
EMBED = ["c.parquet", "--text-column", "text"]


def command(name: str, *arguments: str) -> int:
    name, module, args = parse([name, *arguments])
    assert module is not None
    return run(name, module, args, takes_ctrl_c=False)


def parameters(transport: SlowTransport, **values: str) -> None:
    stated = transport.configs["qwen3_embedding"]["parameters"]
    stated |= {key: {"string_value": value} for key, value in values.items()}


def table(output: str) -> dict[str, str]:
    lines = (line.split("  ", 1) for line in output.splitlines())
    return {name: value.strip() for name, value in lines}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, transport: SlowTransport, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    parameters(transport, model_sha256="a" * 64, device="cpu")
    parquet.write_table(pa.table({"id": IDS, "text": TEXTS}), "c.parquet")
    return tmp_path


def foreign(vectors: NDArray[Any], name: str = "foreign.parquet") -> None:
    """Write vectors as another program does: beside their texts, in lists, and without a description."""
    parquet.write_table(pa.table({"passage": TEXTS, "vector": pa.array(list(vectors))}), name)


def documents(**options: Any) -> NDArray[np.float32]:  # noqa: ANN401
    with Client() as client:
        return client.encode_document(TEXTS, **options)


FOREIGN = ["foreign.parquet", "--text-column", "passage", "--vector-column", "vector"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ids", [[], ["--id-column", "id"]])
def test_our_own_files_are_equal_to_the_bit(dtype: Dtype, ids: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command("embed", *EMBED, *ids, "--dtype", dtype, "--dimensions", "32", "--output", "v.parquet") == 0
    capsys.readouterr()
    assert command("audit", "v.parquet", "--text-column", "text", "--corpus", "c.parquet", *ids) == 0
    said = table(capsys.readouterr().out)
    assert said["rows sampled"] == "100 of 150"
    assert said["equal to the bit"] == "100, as all must be: the server computes as then"
    assert said["verdict"] == "yes: the sampled vectors are those of the served model, to the bit"
    assert said["largest difference"] == "0"


def test_npy_files_and_queries(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("embed", *EMBED, "--query", "--instruction", "Sort", "--output", "v.npy") == 0
    assert command("audit", "v.npy", "--text-column", "text", "--corpus", "c.parquet", "--sample", "999") == 0
    assert table(capsys.readouterr().out)["rows sampled"] == "150 of 150"
    assert command("audit", "v.npy", "--text-column", "text", "--corpus", "c.parquet", "--document") == 2


def test_another_model_is_not_this_one(transport: SlowTransport, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("embed", *EMBED, "--output", "v.parquet") == 0
    parameters(transport, model_sha256="b" * 64)
    assert command("audit", "v.parquet", "--text-column", "text", "--corpus", "c.parquet") == 1
    assert table(capsys.readouterr().out)["verdict"].startswith("no: the file says that its vectors are of the model")


def test_a_changed_number_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("embed", *EMBED, "--output", "v.parquet") == 0
    stored = parquet.read_table("v.parquet")
    numbers = stored["embedding"].combine_chunks().flatten().to_numpy().copy()
    numbers[64 * 70] = np.nextafter(numbers[64 * 70], np.float32(2))
    rows = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 64)
    parquet.write_table(stored.set_column(1, "embedding", rows), "v.parquet")
    audit = ["audit", "v.parquet", "--text-column", "text", "--corpus", "c.parquet", "--sample", "150"]
    assert command(*audit) == 1
    said = table(capsys.readouterr().out)
    assert said["verdict"] == "no: 1 rows should be equal to the bit, and are not"


def test_other_bits_of_another_processor_are_rounding(
    transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("embed", *EMBED, "--output", "v.parquet") == 0

    def rounded(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return (vector_of(input_ids) * np.float32(1 + 1e-6)).astype(np.float32)

    transport.answer = rounded
    assert command("audit", "v.parquet", "--text-column", "text", "--corpus", "c.parquet") == 0
    said = table(capsys.readouterr().out)
    assert said["equal to the bit"] != "100"
    assert said["verdict"] == "yes: the sampled vectors are those of the served model, up to rounding"


@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
@pytest.mark.parametrize("dimensions", [64, 40])
def test_files_of_other_programs(kind: str, dimensions: int, capsys: pytest.CaptureFixture[str]) -> None:
    foreign(documents(dimensions=dimensions).astype(kind))
    assert command("audit", *FOREIGN) == 0
    assert "fingerprint not stated" in table(capsys.readouterr().out)["vectors"]
    foreign(3 * documents(dimensions=dimensions).astype(kind))  # not normalised
    assert command("audit", *FOREIGN) == 0
    with Client() as client:
        foreign(client.encode_query(TEXTS, dimensions=dimensions).astype(kind))
    assert command("audit", *FOREIGN) == 1
    assert command("audit", *FOREIGN, "--query") == 0


def test_one_wrong_row_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    vectors = documents()
    vectors[33] = vectors[34]
    foreign(vectors)
    assert command("audit", *FOREIGN, "--sample", "150") == 1
    assert " at 33; " in table(capsys.readouterr().out)["cosine, smallest"]
    assert command("audit", *FOREIGN, "--sample", "150", "--least-cosine", "-1") == 0


@pytest.mark.parametrize("dtype", ["float32", "ubinary"])
def test_vectors_of_other_texts_are_refused_even_if_all_are_alike(
    dtype: Dtype, transport: SlowTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all vectors of a model point almost the same way, the cosines tell little."""
    common = vector_of(np.array([1]))

    def alike(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors = common + 0.5 * vector_of(input_ids)
        unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors)).astype(np.float32)
        return unit

    transport.answer = alike
    right = quantize(documents(), dtype, calibration=None)
    bits = ["--dtype", dtype, "--least-cosine", "0.1"]
    foreign(right)
    assert command("audit", *FOREIGN, *bits) == 0
    assert table(capsys.readouterr().out)["nearest to own text"] == "100; more than half wanted"
    foreign(np.roll(right, 1, axis=0))
    assert command("audit", *FOREIGN, *bits) == 1
    assert "nearer to another text" in table(capsys.readouterr().out)["verdict"]


def test_the_file_says_how_special_tokens_were_read(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["one", "two <|endoftext|> x", "three"]
    parquet.write_table(pa.table({"text": texts}), "c.parquet")
    audit = ["v.parquet", "--text-column", "text", "--corpus", "c.parquet"]
    assert command("embed", *EMBED, "--special-tokens", "--output", "v.parquet") == 0
    assert command("audit", *audit) == 0
    assert command("embed", *EMBED, "--output", "v.parquet") == 0
    assert command("audit", *audit) == 0
    assert command("audit", *audit, "--special-tokens") == 2
    assert "leave out --special-tokens" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_rows_without_a_direction_agree_with_nothing(bad: float, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = documents()
    vectors[5] = bad
    foreign(vectors)
    assert command("audit", *FOREIGN, "--sample", "150") == 1
    assert " at 5; " in table(capsys.readouterr().out)["cosine, smallest"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["c.csv", "--text-column", "text"], 2, "the name must end in .npy or .parquet"),
        ([*FOREIGN, "--sample", "0"], 2, "--sample must be at least 1"),
        (["v.npy", "--text-column", "text"], 2, "name the file with them in --corpus"),
        (["foreign.parquet", "--text-column", "text"], 1, "has no column 'embedding'"),
        (["foreign.parquet", "--text-column", "vector", "--vector-column", "vector"], 1, "has no text in the column"),
        (["foreign.parquet", "--text-column", "passage", "--vector-column", "passage"], 1, "lists of equal length"),
        ([*FOREIGN, "--corpus", "c.parquet", "--id-column", "id"], 1, "has no column 'id'"),
        ([*FOREIGN, "--instruction", "Sort"], 2, "add --query"),
        (["wide.parquet", *FOREIGN[1:]], 1, "so are not of the model"),
        (["bytes.parquet", *FOREIGN[1:]], 2, "and there is no bytes.calibration.npz"),
        (["broken.parquet", *FOREIGN[1:]], 1, "damaged"),
        (["none.parquet", *FOREIGN[1:]], 1, "none.parquet"),
    ],
)
def test_what_cannot_be_audited(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign(documents())
    foreign(np.ones((150, 65), np.float32), "wide.parquet")
    foreign(np.ones((150, 64), np.int8), "bytes.parquet")
    np.save("v.npy", documents())
    Path("broken.parquet").write_bytes(b"PAR1")
    assert command("audit", *arguments) == status
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-weight", "bf16"])
@pytest.mark.parametrize("dimensions", [64, 1024])
def test_the_bounds_take_what_rounding_does_and_nothing_else(dtype: Dtype, precision: str, dimensions: int) -> None:
    """Vectors at the very angle that the precision allows, all in other directions."""
    rng = np.random.default_rng(7)

    def unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))

    vectors = unit(rng.standard_normal((200, dimensions)))
    noise = rng.standard_normal(vectors.shape)
    noise = unit(noise - vectors * (noise * vectors).sum(axis=1, keepdims=True))
    angle = math.acos(least_cosine(precision, "float32")) * 0.99
    turned = (math.cos(angle) * vectors + math.sin(angle) * noise).astype(np.float32)
    calibration = Calibration.of(vectors.astype(np.float32)) if dtype in ("int8", "uint8") else None
    stored = quantize(vectors.astype(np.float32), dtype, calibration=calibration)
    bound = least_cosine(precision, dtype)
    near = agreement(stored, turned, dtype, calibration=calibration)
    slack = 0.1 if dtype in ("binary", "ubinary") and dimensions < 1024 else 0.0  # few signs, much chance
    assert near.least_cosine >= bound - slack
    other = agreement(
        stored, unit(rng.standard_normal(vectors.shape)).astype(np.float32), dtype, calibration=calibration
    )
    assert other.median_cosine < 0.3 < bound - slack


def test_json_stays_the_description_of_a_file() -> None:
    assert command("embed", *EMBED, "--output", "v.npy") == 0
    Path("v.about.json").write_text(json.dumps(["no object"]))
    assert command("audit", "v.npy", "--text-column", "text", "--corpus", "c.parquet") == 1
