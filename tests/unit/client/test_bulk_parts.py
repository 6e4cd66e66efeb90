"""The folder of a job: what is kept there, what is refused, what a kill leaves."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from qwen3_client import InvalidInputError
from qwen3_client.bulk.corpus import Block
from qwen3_client.bulk.parts import open_parts
from qwen3_client.bulk.unfinished import UnfinishedBlocks

JOB = {"corpus": "c.txt", "dtype": "int8", "instruction": None}


def table(*numbers: int) -> pa.Table:
    return pa.table({"n": list(numbers)})


def begin(folder: Path) -> None:
    """Two blocks, of rows 0 to 3 and 3 to 5."""
    with open_parts(folder, job=JOB) as parts:
        parts.add(table(0, 1, 2), stop=3)
        parts.add(table(4), stop=5)


def test_finished_blocks_are_kept_and_the_same_job_goes_on(tmp_path: Path) -> None:
    begin(tmp_path / "x.parts")
    with open_parts(tmp_path / "x.parts", job=dict(JOB)) as parts:
        assert (len(parts), parts.next_row) == (2, 5)
        parts.add(table(5, 6), stop=7)
        assert [part["n"].to_pylist() for part in parts.tables()] == [[0, 1, 2], [4], [5, 6]]
        parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_tables_outlive_the_reading(tmp_path: Path) -> None:
    begin(tmp_path / "x.parts")
    with open_parts(tmp_path / "x.parts", job=JOB) as parts:
        kept = list(parts.tables())
        parts.remove()
    assert [part["n"].to_pylist() for part in kept] == [[0, 1, 2], [4]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"dtype": "float32"},
            "another job: dtype was 'int8', is 'float32'. Run that job again to finish it, add --re",
        ),
        ({"corpus": "d.txt", "instruction": "Sort"}, "corpus was 'c.txt', is 'd.txt'; instruction was None, is 'Sort'"),
        ({"new": 7}, "new was None, is 7"),
    ],
)
def test_another_job_is_refused_with_what_differs(change: dict[str, object], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(InvalidInputError, match=said), open_parts(folder, job=JOB | change):
        pass
    assert sorted(path.name for path in folder.iterdir()) == before
    with open_parts(folder, job=JOB | change, restarts=True) as parts:
        assert (len(parts), parts.next_row, list(parts.tables())) == (0, 0, [])
        parts.add(table(7), stop=1)
    with open_parts(folder, job=JOB | change) as parts:
        assert parts.next_row == 1


def test_a_job_without_a_block_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with open_parts(tmp_path / "x.parts", job=JOB):
            raise RuntimeError("no server")

    with pytest.raises(RuntimeError, match="no server"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_finished(tmp_path: Path) -> None:
    def fail() -> None:
        with open_parts(tmp_path / "x.parts", job=JOB) as parts:
            parts.add(table(1), stop=1)
            raise RuntimeError("no server")

    with pytest.raises(RuntimeError, match="no server"):
        fail()
    with open_parts(tmp_path / "x.parts", job=JOB) as parts:
        assert parts.next_row == 1


def test_pieces_of_a_block_are_kept_until_it_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    with open_parts(folder, job=JOB) as parts:
        parts.add_piece(table(6), start=5)
        parts.add_piece(table(9), start=8)
        parts.add_piece(table(5), start=5)
    with open_parts(folder, job=JOB) as parts:
        assert (len(parts), parts.next_row, parts.texts) == (2, 5, 7)
        assert [piece["n"].to_pylist() for piece in parts.pieces(5)] == [[6], [5]]
        assert [part["n"].to_pylist() for part in parts.tables()] == [[0, 1, 2], [4]]
        parts.add(table(5, 6, 7), stop=8)
        assert list(parts.pieces(5)) == []
        parts.add_piece(table(8), start=8)
        assert [piece["n"].to_pylist() for piece in parts.pieces(8)] == [[9], [8]]
        parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_job_with_nothing_but_a_piece_goes_on(tmp_path: Path) -> None:
    with open_parts(tmp_path / "x.parts", job=JOB) as parts:
        parts.add_piece(table(2), start=0)
    with open_parts(tmp_path / "x.parts", job=JOB) as parts:
        assert (len(parts), parts.is_empty, parts.texts) == (0, False, 1)
    with open_parts(tmp_path / "x.parts", job=JOB, restarts=True) as parts:
        assert parts.is_empty
    assert list(tmp_path.iterdir()) == []


def test_pieces_whose_block_a_kill_left_finished_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    (folder / "texts-000000000003-0000.arrow").write_bytes(b"of the block of rows 3 to 5")
    with open_parts(folder, job=JOB) as parts:
        assert parts.texts == 4
    assert not list(folder.glob("texts-*"))


def test_finished_texts_are_committed_by_the_clock(tmp_path: Path) -> None:
    folder, now = tmp_path / "x.parts", [0.0]
    block = Block(start=0, stop=6, rows=[0, 2, 4], texts=["a", "b", "c"], keys=pa.array([0, 2, 4]), begin=0, end=6)
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    with open_parts(folder, job=JOB) as parts:
        unfinished = UnfinishedBlocks(parts, commit_s=25, clock=lambda: now[0])
        unfinished.keep(block, [2, 0], vectors[[2, 0]])
        now[0] = 24.9
        unfinished.commit_if_due()
        assert parts.texts == 0
        now[0] = 25.0
        unfinished.commit_if_due()
        assert parts.texts == 2
        unfinished.keep(block, [1], vectors[[1]])
        now[0] = 49.9
        unfinished.commit_if_due()
        assert parts.texts == 2
        unfinished.commit()
        unfinished.commit()
        assert parts.texts == 3
    with open_parts(folder, job=JOB) as parts:
        kept = UnfinishedBlocks(parts).restore(block)
    assert sorted(kept) == [0, 1, 2]
    np.testing.assert_array_equal(np.stack([kept[index] for index in range(3)]), vectors)


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    (folder / "rows-000000000005-000000000009.arrow.part").write_bytes(b"half")
    (folder / "x.npy.part").write_bytes(b"half")
    with open_parts(folder, job=JOB) as parts:
        assert parts.next_row == 5
        assert not list(folder.glob("*.part"))


def test_what_a_kill_left_while_it_cleaned_up_is_worth_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    (folder / "job.json").unlink()  # which is removed first
    with open_parts(folder, job=JOB | {"dtype": "float32"}) as parts:
        assert parts.next_row == 0
        assert not list(folder.glob("rows-*"))


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with open_parts(folder, job=JOB) as parts:
        parts.remove()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("content", ["", "[1]", '{"dtype"', "7"])
def test_a_damaged_job_is_said_to_be(content: str, tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    (folder / "job.json").write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="add --restart"), open_parts(folder, job=JOB):
        pass
    with open_parts(folder, job=JOB, restarts=True) as parts:
        assert parts.next_row == 0


def test_a_missing_block_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    (folder / "rows-000000000000-000000000003.arrow").unlink()
    said = r"x\.parts is damaged: rows-000000000003-000000000005\.arrow does not begin at row 0"
    with pytest.raises(InvalidInputError, match=said), open_parts(folder, job=JOB):
        pass


def test_the_job_is_readable(tmp_path: Path) -> None:
    begin(tmp_path / "x.parts")
    assert json.loads((tmp_path / "x.parts" / "job.json").read_text(encoding="utf-8")) == JOB


def test_two_processes_do_not_share_a_job(tmp_path: Path) -> None:
    folder = tmp_path / "x.parts"
    begin(folder)
    program = f"""
import pathlib
from qwen3_client.bulk.parts import open_parts
with open_parts(pathlib.Path({str(folder)!r}), job={JOB!r}):
    print("held", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InvalidInputError, match="another process works on"), open_parts(folder, job=JOB):
            pass
        process.kill()
    # The lock goes with its process, however it ends.
    with open_parts(folder, job=JOB) as parts:
        assert parts.next_row == 5
