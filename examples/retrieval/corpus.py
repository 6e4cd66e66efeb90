"""A corpus that every machine has: the docstrings of Python's standard library, with queries whose document is known.

A docstring begins with one line that sums it up. Of some docstrings this line becomes a query, and the document is the
rest, so that the right answer of the query is known and does not hold its words as they are.
"""

import ast
import random
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

_TESTS = {"idle_test", "test", "tests"}
_SUMMARY = range(20, 120)  # the characters of a line that can be a query
_REST = 200  # the least characters of the document that is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query and the id of the document that it was taken from."""

    text: str
    document: int


def write_corpus(path: Path, *, documents: int, queries: int) -> list[Query]:
    """Write a corpus with the columns `id` (int64) and `text`, and return queries for it.

    The same Python gives the same corpus and queries.

    Args:
        path: the .parquet file; one that is there with the same documents is kept.
        documents: how many there are at most.
        queries: how many there are at most.
    """
    shuffled = random.Random(0)  # noqa: S311 (the order is no secret)
    texts = list(docstrings())
    shuffled.shuffle(texts)
    texts = texts[:documents]
    found: list[Query] = []
    for index, text in enumerate(texts):
        summary, _, rest = text.partition("\n\n")
        if len(found) < queries and len(summary) in _SUMMARY and len(rest) >= _REST:
            texts[index] = rest
            found.append(Query(text=" ".join(summary.split()), document=index))
    table = pa.table({"id": pa.array(range(len(texts)), pa.int64()), "text": texts})
    # An unfinished run of `embed` goes on only with the file that it began with.
    if not (path.exists() and parquet.read_table(path).equals(table)):
        parquet.write_table(table, path)
    return found


def docstrings() -> Iterator[str]:
    """Yield each docstring of the standard library once. The code is read and not imported."""
    library = Path(sysconfig.get_path("stdlib"))
    seen = set()
    for name in sorted(sys.stdlib_module_names):
        for path in [*library.glob(f"{name}.py"), *sorted((library / name).rglob("*.py"))]:
            if _TESTS.isdisjoint(path.parts):
                for text in _docstrings_of(path):
                    if text not in seen:
                        seen.add(text)
                        yield text


def _docstrings_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and text.strip():
                yield text
