"""Documents with their vectors, as `qwen3-triton embed` wrote them, and the fingerprint that both databases keep.

This module knows nothing about databases.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet


class SpaceError(Exception):
    """Vectors of two models would be mixed, or nothing says which model made them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Documents:
    """Documents and their vectors.

    Attributes:
        ids: int64 `[n]`.
        texts: the n texts.
        vectors: float32 `[n, d]`, unit norm.
        about: what the metadata of the vectors' file says about them, with their `fingerprint`.
    """

    ids: NDArray[np.int64]
    texts: list[str]
    vectors: NDArray[np.float32]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The short name of the space of the vectors."""
        return str(self.about["fingerprint"])

    def part(self, rows: slice) -> "Documents":
        """Return some of the documents."""
        return Documents(ids=self.ids[rows], texts=self.texts[rows], vectors=self.vectors[rows], about=dict(self.about))


def read_documents(corpus: Path, vectors: Path) -> Documents:
    """Return the texts of a corpus with their vectors.

    Args:
        corpus: .parquet with the columns `id` and `text`.
        vectors: what `qwen3-triton embed corpus.parquet --text-column text --id-column id` made of it.

    Raises:
        SpaceError: the vectors have no fingerprint, or belong to another corpus.
    """
    texts, embedded = parquet.read_table(corpus), parquet.read_table(vectors)
    about = json.loads((embedded.schema.metadata or {}).get(b"qwen3_triton", b"{}"))
    if not about.get("fingerprint"):
        raise SpaceError(f"{vectors} does not say which model made it: write it with `qwen3-triton embed`")
    if texts["id"].to_pylist() != embedded["id"].to_pylist():
        raise SpaceError(f"{vectors} belongs to another corpus than {corpus}: remove it, and embed the corpus again")
    numbers = embedded["embedding"].combine_chunks()
    return Documents(
        ids=texts["id"].to_numpy(),
        texts=texts["text"].to_pylist(),
        vectors=numbers.flatten().to_numpy().reshape(len(numbers), -1),
        about=about,
    )


def check_space(*, table: str, kept: str, offered: str) -> None:
    """Refuse vectors of another model than that of a table.

    Args:
        table: the table's name.
        kept: the fingerprint of the vectors in it.
        offered: the fingerprint of those to add.

    Raises:
        SpaceError: they differ.
    """
    if kept != offered:
        raise SpaceError(
            f"the table {table} holds vectors with the fingerprint {kept}, but these have {offered}: what the two "
            "models compute cannot be compared; load all documents into the table again, or use another table"
        )
