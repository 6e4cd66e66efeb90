"""A corpus through real Triton: every format and dtype, a kill in the middle, what a terminal shows."""

import csv
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from qwen3_client import Client
from qwen3_client.bulk.description import PROBE
from qwen3_client.quantization import DTYPES, Calibration, Dtype, quantize
from qwen3_serve import Triton
from support.wire import texts_done

TEXTS = [f"№{number} " + '"q",三\n😀 ' * (number * 7 % 3) for number in range(150)]


def command(triton: Triton, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "qwen3_client",
        "embed",
        "--url",
        triton.grpc_url,
        "--text-column",
        "text",
        *arguments,
    ]


def embed(triton: Triton, *arguments: str, cwd: Path) -> str:
    """Runs the command to its end and returns what it said."""
    done = subprocess.run(
        command(triton, *arguments), cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_every_format_gives_the_vectors_of_single_texts(triton: Triton, tmp_path: Path) -> None:
    lines = [" ".join(text.split()) for text in TEXTS]
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    with (tmp_path / "c.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text"), *enumerate(TEXTS)])
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "c.txt").write_text("\n".join(lines), encoding="utf-8")
    with Client(triton.grpc_url) as client:
        expected = {"c.txt": client.encode_document(lines)}
        expected |= dict.fromkeys(("c.parquet", "c.csv", "c.jsonl"), client.encode_document(TEXTS))
    for name, vectors in expected.items():
        said = embed(triton, name, "--output", "v.npy", "--block-rows", "64", cwd=tmp_path)
        assert said.startswith("wrote v.npy: float32 [150, 64] in ")
        np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), vectors, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_the_quantized_vector(dtype: Dtype, triton: Triton, tmp_path: Path) -> None:
    parquet.write_table(
        pa.table({"id": [f"d{number}" for number in range(150)], "text": TEXTS}), tmp_path / "c.parquet"
    )
    arguments = ["c.parquet", "--id-column", "id", "--dtype", dtype, "--dimensions", "32", "--block-rows", "64"]
    embed(triton, *arguments, "--output", "v.parquet", cwd=tmp_path)
    with Client(triton.grpc_url) as client:
        vectors = client.encode_document(TEXTS, dimensions=32)
    calibration = Calibration.of(vectors) if dtype in ("int8", "uint8") else None
    expected = quantize(vectors, dtype, calibration=calibration)
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table["id"].to_pylist() == [f"d{number}" for number in range(150)]
    assert table.schema.field("embedding").type == pa.list_(pa.from_numpy_dtype(expected.dtype), expected.shape[1])
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), expected.dtype), expected)


@pytest.mark.parametrize(
    ("output", "dtype"), [("v.parquet", "float32"), ("v.npy", "int8")], ids=["parquet-float32", "npy-int8"]
)
def test_kill_9_in_the_middle_loses_and_repeats_nothing(
    output: str, dtype: str, triton: Triton, tmp_path: Path
) -> None:
    rows = 3000  # many more than are under way, so that the command is far from its end when it is killed
    parquet.write_table(
        pa.table({"text": [f"{number} " + "long " * (number % 20) for number in range(rows)]}), tmp_path / "c.parquet"
    )
    arguments = ["c.parquet", "--dtype", dtype, "--block-rows", "50", "--output", output]
    parts = tmp_path / f"{output}.parts"

    stops: list[int] = []
    for wanted in (3, 12):  # killed, and killed again
        with subprocess.Popen(command(triton, *arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 120
            while len(list(parts.glob("rows-*.arrow"))) < wanted and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            said = process.stderr.read() if process.stderr else ""
        assert process.returncode == -signal.SIGKILL, said
        assert (f"resuming: the vectors of {stops[-1]} rows of c.parquet are kept" if stops else "") in said
        stops.append(50 * len(list(parts.glob("rows-*.arrow"))))
        assert not (tmp_path / output).exists()
    assert 0 < stops[0] < stops[1] < rows

    before = texts_done(triton)  # also those that the killed client had sent
    said = embed(triton, *arguments, cwd=tmp_path)
    resumed = f"resuming: the vectors of {stops[1]} rows of c.parquet are kept\n"
    assert said.startswith(f"{resumed}wrote {output}: {dtype} [{rows}, 64] in ")
    assert texts_done(triton) - before == rows - stops[1] + len(PROBE)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert f"{output}.parts" not in left

    # An undisturbed run writes the same bytes.
    for name in left.keys() - {"c.parquet"}:
        (tmp_path / name).unlink()
    assert "resumed" not in embed(triton, *arguments, cwd=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


def test_ctrl_c_in_the_middle_of_a_block_keeps_what_is_finished(triton: Triton, tmp_path: Path) -> None:
    rows = 4000  # one block
    texts = [f"{number} " + "long " * (number % 40) for number in range(rows)]
    parquet.write_table(pa.table({"text": texts}), tmp_path / "c.parquet")
    arguments = ["c.parquet", "--dtype", "int8", "--output", "v.parquet"]
    before = texts_done(triton)
    with subprocess.Popen(command(triton, *arguments), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        # 1,024 texts are under way at most (16 calls of 64), so of 1,500 some vectors have certainly arrived.
        while texts_done(triton, settled=False) - before < 1500 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read() if process.stderr else ""
    assert process.returncode == 130, said
    interrupted = re.fullmatch(
        r"qwen3-triton embed: interrupted; the vectors of ([\d,]+) rows are kept; run the same command again to "
        r"resume\n",
        said,
    )
    assert interrupted, said
    kept = int(interrupted[1].replace(",", ""))
    assert 0 < kept < rows
    assert [path.name for path in tmp_path.iterdir() if path.name != "c.parquet"] == ["v.parquet.parts"]

    before = texts_done(triton)  # also those that the stopped client had sent
    said = embed(triton, *arguments, cwd=tmp_path)
    assert said.startswith(f"resuming: the vectors of {interrupted[1]} rows of c.parquet are kept\nwrote v.parquet: ")
    assert texts_done(triton) - before == rows - kept + len(PROBE)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(left) == ["c.parquet", "v.calibration.npz", "v.parquet"]
    for name in left.keys() - {"c.parquet"}:
        (tmp_path / name).unlink()
    assert "resumed" not in embed(triton, *arguments, "--block-rows", "4096", cwd=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == left


def test_a_terminal_shows_how_far_it_is(triton: Triton, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("".join(f"text {number}\n" for number in range(600)), encoding="utf-8")
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # a bar needs columns
    arguments = ["c.txt", "--output", "v.npy", "--block-rows", "100"]
    with subprocess.Popen(command(triton, *arguments), cwd=tmp_path, stderr=secondary) as process:
        os.close(secondary)
        shown = b""
        try:
            while piece := os.read(primary, 4096):
                shown += piece
        except OSError:  # the terminal closed with the process
            pass
    os.close(primary)
    assert process.returncode == 0, shown.decode()
    bars = re.findall(r"(\d+)%\|[^|]*\| [\d:]+<[\d:?]+, ([\d,]+) texts, [\d,]+ tokens/s", shown.decode())
    assert bars, shown.decode()
    assert ("100", "600") in bars
