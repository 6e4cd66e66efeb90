"""Corpora of every format: what is read from them, and how a bad row is named."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from qwen3_client import InvalidInputError
from qwen3_client.bulk import corpus as corpus_module
from qwen3_client.bulk.corpus import Block, Corpus

TEXTS = ["one", 'says "two", twice', "три\n四 😀", " spaces ", "a,b;c\td", "NA", "null", "\u2028sep\x85", "x" * 200_000]
IDS = [f"№{number}" for number in range(len(TEXTS))]

Write = Callable[[Path, Sequence[Any], Sequence[Any]], None]


def write_parquet(path: Path, ids: Sequence[Any], texts: Sequence[Any]) -> None:
    parquet.write_table(pa.table({"id": ids, "n": range(len(ids)), "text": texts}), path, row_group_size=4)


def write_csv(path: Path, ids: Sequence[Any], texts: Sequence[Any]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "n", "text"])
        writer.writerows(zip(ids, range(len(ids)), texts, strict=True))


def write_jsonl(path: Path, ids: Sequence[Any], texts: Sequence[Any]) -> None:
    lines = [json.dumps({"id": key, "n": {}, "text": text}) for key, text in zip(ids, texts, strict=True)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


WRITERS: dict[str, Write] = {".parquet": write_parquet, ".csv": write_csv, ".jsonl": write_jsonl}


def corpus(
    path: Path, *, text: str = "text", key: str | None = None, block_rows: int = 4, skips_empty: bool = False
) -> Corpus:
    return Corpus(path, text_column=text, id_column=key, block_rows=block_rows, skips_empty=skips_empty)


def texts_of(blocks: Sequence[Block]) -> list[str]:
    return [text for block in blocks for text in block.texts]


def keys_of(blocks: Sequence[Block]) -> list[Any]:
    return [key for block in blocks for key in block.keys.to_pylist()]


@pytest.mark.parametrize("suffix", WRITERS)
def test_texts_and_ids_come_as_they_are_and_in_order(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    WRITERS[suffix](path, IDS, TEXTS)
    blocks = list(corpus(path, key="id").blocks())
    assert texts_of(blocks) == TEXTS
    assert keys_of(blocks) == IDS
    assert {block.keys.type for block in blocks} == {pa.string()}
    assert [(block.start, block.stop) for block in blocks] == [(0, 4), (4, 8), (8, 9)]


def test_the_lines_of_a_txt_are_its_only_column(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes('\ufeffодин\r\ntwo, "x"\n\x85三\u2028\n last'.encode())
    blocks = list(corpus(path).blocks())
    assert texts_of(blocks) == ["один", 'two, "x"', "\x85三\u2028", " last"]
    assert keys_of(blocks) == [0, 1, 2, 3]
    with pytest.raises(InvalidInputError, match="has no column 'line'; there are: text"):
        corpus(path, text="line")


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("block_rows", [1, 3, 100])
def test_it_goes_on_where_any_block_ended(suffix: str, block_rows: int, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    WRITERS[suffix](path, IDS, TEXTS)
    read = corpus(path, key="id", block_rows=block_rows)
    blocks = list(read.blocks())
    assert [block.begin for block in blocks] == [0, *(block.end for block in blocks[:-1])]
    assert blocks[-1].end == read.size
    for done, block in enumerate(blocks, start=1):
        rest = list(read.blocks(start=block.stop))
        assert [(each.rows, each.texts, each.begin, each.end) for each in rest] == [
            (each.rows, each.texts, each.begin, each.end) for each in blocks[done:]
        ]
        assert keys_of(rest) == keys_of(blocks[done:])


def test_long_texts_make_short_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "_MAX_CHARACTERS", 10)
    path = tmp_path / "c.txt"
    path.write_text("\n".join(["aaaa", "bbbb", "cccc", "d" * 50, "e", "f"]), encoding="utf-8")
    assert [block.texts for block in corpus(path).blocks()] == [["aaaa", "bbbb", "cccc"], ["d" * 50], ["e", "f"]]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_missing_column_names_those_that_there_are(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    WRITERS[suffix](path, IDS, TEXTS)
    for text, key in (("body", None), ("text", "body")):
        with pytest.raises(InvalidInputError, match=rf"c\{suffix} has no column 'body'; there are: id, n, text"):
            corpus(path, text=text, key=key)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("empty", ["", None, "  \t\n"])
def test_a_row_without_a_text_is_named_or_left_out(suffix: str, empty: str | None, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    WRITERS[suffix](path, IDS[:7], [empty, "a", "b", empty, empty, "c", empty])
    with pytest.raises(
        InvalidInputError, match=rf"c\{suffix}, row 0 \(the first is 0\), column 'text': .*--skip-empty"
    ):
        list(corpus(path, key="id").blocks())
    with pytest.raises(InvalidInputError, match=r"row 3 \(the first is 0\), column 'text'"):
        list(corpus(path, key="id").blocks(start=1))
    read = corpus(path, key="id", block_rows=2, skips_empty=True)
    blocks = list(read.blocks())
    assert [(block.start, block.stop, block.rows, block.texts) for block in blocks] == [
        (0, 3, [1, 2], ["a", "b"]),
        (3, 7, [5], ["c"]),
    ]
    assert keys_of(blocks) == [IDS[1], IDS[2], IDS[5]]
    assert texts_of(list(read.blocks(start=3))) == ["c"]


def test_numbers_as_ids_keep_their_type(tmp_path: Path) -> None:
    numbers = [2**63 - 1, -(2**63), 0]
    write_jsonl(tmp_path / "c.jsonl", numbers, ["a", "b", "c"])
    parquet.write_table(
        pa.table({"id": pa.array([1, None, 2**64 - 1], pa.uint64()), "text": ["a", "b", "c"]}), tmp_path / "c.parquet"
    )
    (block,) = corpus(tmp_path / "c.jsonl", key="id").blocks()
    assert (block.keys.type, block.keys.to_pylist()) == (pa.int64(), numbers)
    (block,) = corpus(tmp_path / "c.parquet", key="id").blocks()
    assert (block.keys.type, block.keys.to_pylist()) == (pa.uint64(), [1, None, 2**64 - 1])


def test_columns_of_categories_are_read_as_what_they_hold(tmp_path: Path) -> None:
    words = pa.array(["b", "a", "b"]).dictionary_encode()
    parquet.write_table(pa.table({"id": words, "text": words}), tmp_path / "c.parquet")
    (block,) = corpus(tmp_path / "c.parquet", key="id").blocks()
    assert block.texts == ["b", "a", "b"]
    assert (block.keys.type, block.keys.to_pylist()) == (pa.string(), ["b", "a", "b"])


@pytest.mark.parametrize("ids", [[1.5, 2.5], [True, False], [["a"], ["b"]]])
def test_ids_of_other_types_are_refused(ids: list[object], tmp_path: Path) -> None:
    for suffix in (".parquet", ".jsonl"):
        WRITERS[suffix](tmp_path / f"c{suffix}", ids, ["a", "b"])
        with pytest.raises(InvalidInputError, match=r"column 'id' holds .*ids are strings or integers"):
            corpus(tmp_path / f"c{suffix}", key="id")


@pytest.mark.parametrize("ids", [["a", "b", 3], [1, 2, "c"], [1, 2, 2**70]])
def test_an_id_of_another_type_than_the_first_is_refused(ids: list[object], tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c.jsonl", ids, ["a", "b", "c"])
    with pytest.raises(InvalidInputError, match=r"rows 2 to 2: an id in column 'id' is not (string|int64)"):
        list(corpus(tmp_path / "c.jsonl", key="id", block_rows=2).blocks())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.txt", b"a\n\xff\n", r"c\.txt, line 2 is not UTF-8"),
        ("c.csv", b"text\na\n\xff\n", r"c\.csv, line 3 is not UTF-8"),
        ("c.csv", b"text,n\na,1\nb\n", r"row 1 .*it has 1 fields, but the header has 2"),
        ("c.csv", b'text\n"a\nb', r"c\.csv, line 3 is not CSV: unexpected end of data"),
        ("c.csv", b'text\n"a"b\n', r"c\.csv, line 2 is not CSV"),
        ("c.csv", b"text,text\na,b\n", r"has more than one column 'text'"),
        ("c.csv", b"", r"must name the columns in its first line"),
        ("c.csv", b"\ntext\na\n", r"must name the columns in its first line"),
        ("c.csv", b"text\na\n\nc\n", r"row 1 .*column 'text': the text is blank"),
        ("c.jsonl", b"", r"c\.jsonl holds no rows"),
        ("c.jsonl", b'{"text": "a"}\n\n', r"row 1 \(the first is 0\): it is not JSON"),
        ("c.jsonl", b'{"text": "a"}\n["b"]\n', r"row 1 .*it is not a JSON object"),
        ("c.jsonl", b'{"text": "a"}\n{"text": 7}\n', r"row 1 .*column 'text': the value must be a str, not int"),
        ("c.jsonl", b'{"text": "a"}\n{"body": "b"}\n', r"row 1 .*column 'text': there is no text"),
        ("c.jsonl", b'{"text": "a\\ud800"}\n', r"row 0 .*lone surrogate"),
        ("c.jsonl", b"[" * 100_000, r"row 0 .*it is not JSON"),
        ("c.parquet", b"text", r"c\.parquet cannot be read as Parquet"),
        ("c.parquet", b"", r"c\.parquet cannot be read as Parquet"),
        ("c.xlsx", b"", r"the name must end in \.csv, \.jsonl, \.parquet, \.txt"),
    ],
)
def test_a_damaged_file_is_said_to_be(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=said):
        list(corpus(tmp_path / name).blocks())


def test_a_parquet_that_lost_its_middle_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    write_parquet(path, range(100), [f"a text of some length {number}" for number in range(100)])
    content = bytearray(path.read_bytes())
    content[200:1200] = bytes(1000)
    path.write_bytes(content)
    with pytest.raises((InvalidInputError, OSError), match=r"Parquet|page|deserialize|compress"):
        list(corpus(path).blocks())


def test_a_column_of_numbers_is_not_text(tmp_path: Path) -> None:
    write_parquet(tmp_path / "c.parquet", IDS, TEXTS)
    with pytest.raises(InvalidInputError, match=r"row 0 .*column 'n': the value must be a str, not int"):
        list(corpus(tmp_path / "c.parquet", text="n").blocks())


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    for suffix in (".parquet", ".csv", ".jsonl", ".txt"):
        with pytest.raises(FileNotFoundError):
            corpus(tmp_path / f"c{suffix}")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt"])
def test_a_file_without_rows_has_no_blocks(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c{suffix}"
    if suffix == ".parquet":
        parquet.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    else:
        path.write_text("text\n" if suffix == ".csv" else "", encoding="utf-8")
    assert list(corpus(path).blocks()) == []


def test_empty_lines_of_a_csv_with_several_columns_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_bytes(b"id,text\n\na,one\n\n\nb,two\n\n")
    (block,) = corpus(tmp_path / "c.csv", key="id").blocks()
    assert (block.rows, block.texts, block.keys.to_pylist()) == ([0, 1], ["one", "two"], ["a", "b"])


def test_a_block_has_rows(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="at least 1 row, not 0"):
        corpus(tmp_path / "c.txt", block_rows=0)
