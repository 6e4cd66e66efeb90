"""A worker for Ray Data that embeds a column of texts: a callable class for `Dataset.map_batches`.

    import ray
    from qwen3_client.integrations.ray import Qwen3Embedder

    rows = ray.data.read_parquet("corpus/").repartition(target_num_rows_per_block=512)
    rows.map_batches(
        Qwen3Embedder,
        fn_constructor_args=("triton-a:8001,triton-b:8001",),
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=4),
        num_cpus=0.1,
    ).write_parquet("vectors/")

Ray makes one object in each actor, with a client of its own. The object takes and returns Arrow tables, so it also
serves engines other than Ray that have them; docs/bulk.md has some. This module imports pyarrow, of the extra `bulk`,
and not Ray.
"""

from ..async_client import AsyncClient
from ..client import Client
from ..errors import InvalidInputError
from ..options import ClientOptions, Kind, checked_kind
from .extra import missing
from .server import Connected, Server, check_arguments

try:
    import pyarrow as pa

    from ..bulk.vector_lists import vector_lists
except ImportError as error:
    raise missing("bulk") from error

__all__ = ["Qwen3Embedder"]


class Qwen3Embedder(Connected):
    """Adds the vectors of a column of texts to Arrow tables.

    A text that is empty or missing raises an error, which ends Ray's job: filter such rows before.

    Args:
        server: URL of the server, or the options of its client. With `expected_fingerprint` in the options, no worker
            can add the vectors of another model.
        text_column: the column of texts.
        vector_column: the column of vectors to add, fixed-size lists of float32.
        kind: whether the texts are queries or documents.
        instruction: the task of queries; None for the model's default.
        dimensions: length of the vectors; None for the model's.
        client: a client, in place of `server`; it cannot be sent to another process.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        text_column: str = "text",
        vector_column: str = "embedding",
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        client: Client | AsyncClient | None = None,
    ) -> None:
        check_arguments(instruction=instruction, dimensions=dimensions)
        if instruction is not None and checked_kind(kind) == "document":
            raise InvalidInputError("instruction= is for queries: documents have none; leave it out, or kind='query'")
        self._server = Server(server, client=client)
        self._text_column = text_column
        self._vector_column = vector_column
        self._kind = checked_kind(kind)
        self._instruction = instruction
        self._dimensions = dimensions

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Return the rows with their vectors.

        Args:
            rows: a table with the column of texts.

        Raises:
            InvalidInputError: `rows` is no table, has no such column or has the column of vectors already, or a text is
                empty.
            Qwen3ClientError: a request failed.
        """
        if not isinstance(rows, pa.Table):
            raise InvalidInputError(
                f"rows must be a table of pyarrow, not {type(rows).__name__}: with map_batches, give "
                'batch_format="pyarrow"'
            )
        if self._text_column not in rows.column_names:
            names = ", ".join(rows.column_names)
            raise InvalidInputError(
                f"there is no column {self._text_column!r}, only {names}; name it with text_column="
            )
        if self._vector_column in rows.column_names:
            raise InvalidInputError(f"the column {self._vector_column!r} is there already: name another vector_column=")
        texts, client = rows[self._text_column].to_pylist(), self._server.client
        if self._kind == "query":
            vectors = client.encode_query(
                texts, instruction=self._instruction, dimensions=self._dimensions, priority="bulk"
            )
        else:
            vectors = client.encode_document(texts, dimensions=self._dimensions)
        return rows.append_column(self._vector_column, vector_lists(vectors))
