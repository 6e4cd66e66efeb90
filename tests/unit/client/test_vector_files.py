"""Files of vectors that appear whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from qwen3_client.vector_files import vector_file

FLOAT32 = np.dtype(np.float32)


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 12_345])
def test_npy_is_what_numpy_reads(tmp_path: Path, rows: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((rows, 32)).astype(np.float32)
    with vector_file(tmp_path / "x.npy", width=32, dtype=FLOAT32) as write:
        for row in vectors:
            write(row)
    read = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert read.dtype == np.float32
    assert read.shape == (rows, 32)
    np.testing.assert_array_equal(read, vectors)


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8"])
def test_npy_of_every_type_and_of_many_rows_at_once(tmp_path: Path, dtype: str) -> None:
    vectors = np.random.default_rng(0).integers(0, 100, (50, 8)).astype(dtype)
    with vector_file(tmp_path / "x.npy", width=8, dtype=vectors.dtype) as write:
        write(vectors[:20])
        write(vectors[20])
        write(vectors[21:21])
        write(vectors[21:])
    read = np.load(tmp_path / "x.npy")
    assert read.dtype == vectors.dtype
    np.testing.assert_array_equal(read, vectors)


def test_npy_takes_its_own_type_only(tmp_path: Path) -> None:
    with (
        pytest.raises(TypeError, match="Cannot cast"),
        vector_file(tmp_path / "x.npy", width=8, dtype=np.dtype(np.int8)) as write,
    ):
        write(np.zeros((1, 8), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_jsonl_keeps_every_bit(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
    with vector_file(tmp_path / "x.jsonl", width=32, dtype=FLOAT32) as write:
        write(vectors[0])
        write(vectors[1:])
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2]
    read = np.array([line["embedding"] for line in lines], dtype=np.float32)
    assert read.tobytes() == vectors.tobytes()


@pytest.mark.parametrize("name", ["x.npy", "x.jsonl"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old", encoding="utf-8")

    def write_half() -> None:
        with vector_file(tmp_path / name, width=32, dtype=FLOAT32) as write:
            write(np.zeros(32, dtype=np.float32))
            assert (tmp_path / name).read_text(encoding="utf-8") == "old"
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "old"


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    partial = tmp_path / "x.part"
    partial.write_bytes(b"left" * 1000)
    with vector_file(tmp_path / "x.npy", width=8, dtype=FLOAT32, partial=partial) as write:
        write(np.ones((2, 8), np.float32))
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.ones((2, 8)))
