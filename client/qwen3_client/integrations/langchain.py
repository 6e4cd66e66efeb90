"""LangChain: an `Embeddings`, and a document compressor that reranks.

    from langchain_core.vectorstores import InMemoryVectorStore
    from qwen3_client.integrations.langchain import Qwen3Embeddings, Qwen3Reranker

    store = InMemoryVectorStore(Qwen3Embeddings("localhost:8001"))
    store.add_texts(["Mars is often called the Red Planet.", "Venus is the hottest planet."])
    found = store.similarity_search("Which planet is red?", k=2)
    best = Qwen3Reranker(url="localhost:8001", top_n=1).compress_documents(found, "Which planet is red?")

`embed_query` names the task, as the model expects of a query; `embed_documents` takes texts as they are.
"""

from collections.abc import Sequence

from ..async_client import AsyncClient
from ..client import Client
from ..credentials import Tls
from ..ranking import RankedDocument
from ._extra import missing
from ._server import TIMEOUT_S, Server, checked_options

try:
    from langchain_core.callbacks import Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from pydantic import ConfigDict, Field, PrivateAttr, SecretStr
except ImportError as error:
    raise missing("langchain") from error

__all__ = ["Qwen3Embeddings", "Qwen3Reranker"]


class Qwen3Embeddings(Embeddings):
    """Embeds with Qwen3-Embedding on a Triton server. Vectors have norm 1.

    It can be pickled, unless it was given a client.

    Args:
        url: where the server is, as for `Client`.
        client: a ready client instead, of either kind; it stays open.
        model: name of the embedding model on the server; None for the only one there.
        tokenizer: folder that holds the model's tokenizer.json, or Hub id; by default the one the server names.
        timeout_s: seconds that each request may take.
        tls: certificates.
        token: bearer token.
        instruction: the task of the queries, in one English sentence; None for the model's default.
        dimensions: length of the vectors, from 32 to the model's; None for the model's.

    Raises:
        InvalidInputError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Client | AsyncClient | None = None,
        model: str | None = None,
        tokenizer: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: Tls | None = None,
        token: str | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        checked_options(instruction=instruction, dimensions=dimensions)
        self._server = Server(
            url,
            client=client,
            task="embed",
            model=model,
            tokenizer=tokenizer,
            timeout_s=timeout_s,
            tls=tls,
            token=token,
        )
        self.instruction = instruction
        self.dimensions = dimensions

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embeds texts that are found."""
        rows: list[list[float]] = self._server.client.encode_document(texts, dimensions=self.dimensions).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Embeds a text that looks for others."""
        row: list[float] = self._server.client.encode_query(
            text, instruction=self.instruction, dimensions=self.dimensions
        ).tolist()
        return row

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`; no thread waits."""
        rows = await self._server.async_client.encode_document(texts, dimensions=self.dimensions)
        listed: list[list[float]] = rows.tolist()
        return listed

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`; no thread waits."""
        row = await self._server.async_client.encode_query(
            text, instruction=self.instruction, dimensions=self.dimensions
        )
        listed: list[float] = row.tolist()
        return listed

    def close(self) -> None:
        """Closes the connection, unless the client was given."""
        self._server.close()

    async def aclose(self) -> None:
        """As `close`."""
        await self._server.aclose()


class Qwen3Reranker(BaseDocumentCompressor):
    """Puts documents in order of how well they meet the query, as Qwen3-Reranker on a Triton server judges each.

    The documents it returns are copies with one more entry in their metadata, `relevance_score`: the probability, from
    0 to 1, that the document meets the query.

    The options up to `token` are those of `Qwen3Embeddings`, with `model` the name of the reranker.

    Attributes:
        instruction: the task, in one English sentence; None for the model's default.
        top_n: how many documents to return, the best; None for all.

    Raises:
        pydantic.ValidationError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", frozen=True)

    url: str | None = None
    client: Client | AsyncClient | None = Field(default=None, exclude=True, repr=False)
    model: str | None = None
    tokenizer: str | None = None
    timeout_s: float = TIMEOUT_S
    tls: Tls | None = None
    token: SecretStr | None = None
    instruction: str | None = None
    top_n: int | None = None

    _server: Server = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002 - pydantic's
        """Checks the options; nothing is sent."""
        checked_options(instruction=self.instruction, top_n=self.top_n)
        self._server = Server(
            self.url,
            client=self.client,
            task="rank",
            model=self.model,
            tokenizer=self.tokenizer,
            timeout_s=self.timeout_s,
            tls=self.tls,
            token=None if self.token is None else self.token.get_secret_value(),
        )

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - LangChain's; a reranker has no steps to report
    ) -> Sequence[Document]:
        """Returns the best documents, the highest score first."""
        texts = [document.page_content for document in documents]
        ranking = self._server.client.rank(query, texts, instruction=self.instruction, top_k=self.top_n)
        return _scored(documents, ranking)

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - as above
    ) -> Sequence[Document]:
        """As `compress_documents`; no thread waits."""
        texts = [document.page_content for document in documents]
        ranking = await self._server.async_client.rank(query, texts, instruction=self.instruction, top_k=self.top_n)
        return _scored(documents, ranking)

    def close(self) -> None:
        """Closes the connection, unless the client was given."""
        self._server.close()

    async def aclose(self) -> None:
        """As `close`."""
        await self._server.aclose()


def _scored(documents: Sequence[Document], ranking: Sequence[RankedDocument]) -> list[Document]:
    return [
        documents[place.index].model_copy(
            update={"metadata": {**documents[place.index].metadata, "relevance_score": place.score}}
        )
        for place in ranking
    ]
