"""LangChain: an implementation of `Embeddings`, and a document compressor that reranks.

    from langchain_core.vectorstores import InMemoryVectorStore
    from qwen3_client.integrations.langchain import Qwen3Embeddings, Qwen3Reranker

    store = InMemoryVectorStore(Qwen3Embeddings("localhost:8001"))
    store.add_texts(["Mars is often called the Red Planet.", "Venus is the hottest planet."])
    found = store.similarity_search("Which planet is red?", k=2)
    best = Qwen3Reranker(server="localhost:8001", top_n=1).compress_documents(found, "Which planet is red?")

`embed_query` puts the instruction before its text, as the model expects for queries. `embed_documents` adds nothing.
"""

from collections.abc import Sequence
from typing import Annotated

from ..async_client import AsyncClient
from ..client import Client
from ..options import ClientOptions
from ..ranking import RankedDocument
from .extra import missing
from .server import Connected, Server, check_arguments, without_secrets

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from pydantic import ConfigDict, Field, PlainSerializer, PrivateAttr
except ImportError as error:
    raise missing("langchain") from error

__all__ = ["Qwen3Embeddings", "Qwen3Reranker"]


class Qwen3Embeddings(Connected, Embeddings):
    """The LangChain embeddings of Qwen3-Embedding on a Triton server. Vectors have norm 1.

    An object can be pickled unless it was created with `client=`.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        instruction: the task of the queries, in one English sentence; None for the model's default.
        dimensions: length of the vectors, one that the model allows (MRL); None for the model's.

    Raises:
        InvalidInputError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        check_arguments(instruction=instruction, dimensions=dimensions)
        self._server = Server(server, client=client)
        self.instruction = instruction
        self.dimensions = dimensions

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents, the texts that are searched."""
        rows: list[list[float]] = self._server.client.encode_document(texts, dimensions=self.dimensions).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Embed a query, the text that searches for documents."""
        row: list[float] = self._server.client.encode_query(
            text, instruction=self.instruction, dimensions=self.dimensions
        ).tolist()
        return row

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed as `embed_documents` does, without blocking the event loop."""
        rows = await self._server.async_client.encode_document(texts, dimensions=self.dimensions)
        listed: list[list[float]] = rows.tolist()
        return listed

    async def aembed_query(self, text: str) -> list[float]:
        """Embed as `embed_query` does, without blocking the event loop."""
        row = await self._server.async_client.encode_query(
            text, instruction=self.instruction, dimensions=self.dimensions
        )
        listed: list[float] = row.tolist()
        return listed


class Qwen3Reranker(Connected, BaseDocumentCompressor):
    """A document compressor that ranks documents with Qwen3-Reranker on a Triton server.

    The documents that it returns are copies with one more entry in their metadata, `relevance_score`: the probability,
    from 0 to 1, that the document meets the query.

    The repr and pydantic's dumps leave out `client`, and the token and the headers of `server`.

    Attributes:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        instruction: the task, in one English sentence; None for the model's default.
        top_n: how many of the best documents to return; None for all.

    Raises:
        pydantic.ValidationError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    server: Annotated[str | ClientOptions | None, PlainSerializer(without_secrets)] = None
    client: Client | AsyncClient | None = Field(default=None, exclude=True, repr=False)
    instruction: str | None = None
    top_n: int | None = None

    _server: Server = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002 - pydantic's
        """Check the arguments, without sending anything."""
        check_arguments(instruction=self.instruction, top_n=self.top_n)
        self._server = Server(self.server, client=self.client)

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - LangChain's; a reranker has no steps to report
    ) -> Sequence[Document]:
        """Return the best documents, the highest score first."""
        texts = [document.page_content for document in documents]
        ranking = self._server.client.rank(query, texts, instruction=self.instruction, top_k=self.top_n)
        return _scored(documents, ranking)

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - as above
    ) -> Sequence[Document]:
        """Return what `compress_documents` does, without blocking the event loop."""
        texts = [document.page_content for document in documents]
        ranking = await self._server.async_client.rank(query, texts, instruction=self.instruction, top_k=self.top_n)
        return _scored(documents, ranking)


def _scored(documents: Sequence[Document], ranking: Sequence[RankedDocument]) -> list[Document]:
    """Return copies of the ranked documents, each with its score in its metadata."""
    scored = []
    for ranked in ranking:
        document = documents[ranked.index]
        scored.append(document.model_copy(update={"metadata": {**document.metadata, "relevance_score": ranked.score}}))
    return scored
