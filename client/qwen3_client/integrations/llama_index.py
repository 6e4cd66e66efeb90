"""LlamaIndex: an embedding model, and a node postprocessor that reranks.

    from llama_index.core import Document, VectorStoreIndex
    from qwen3_client.integrations.llama_index import Qwen3Embedding, Qwen3Rerank

    documents = [Document(text="Mars is often called the Red Planet."), Document(text="Venus is the hottest planet.")]
    index = VectorStoreIndex.from_documents(documents, embed_model=Qwen3Embedding(server="localhost:8001"))
    found = index.as_retriever(similarity_top_k=2).retrieve("Which planet is red?")
    best = Qwen3Rerank(server="localhost:8001", top_n=1).postprocess_nodes(found, query_str="Which planet is red?")

The embedding of a query puts the instruction before the text, as the model expects. The embedding of a text adds
nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from ..async_client import AsyncClient
from ..client import Client
from ..errors import InvalidInputError
from ..options import ClientOptions
from ..ranking import RankedDocument
from .extra import missing
from .server import Connected, Server, check_arguments, without_secrets

try:
    from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
    from llama_index.core.bridge.pydantic import Field, PlainSerializer, PrivateAttr
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
    from llama_index_instrumentation import get_dispatcher
except ImportError as error:
    raise missing("llama-index") from error

__all__ = ["Qwen3Embedding", "Qwen3Rerank"]

_dispatcher = get_dispatcher(__name__)


class Qwen3Embedding(Connected, BaseEmbedding):
    """A LlamaIndex embedding model: Qwen3-Embedding on a Triton server. Vectors have norm 1.

    `to_dict` leaves out `client`, and the token and the headers of `server`. To supply them again, call
    `from_dict(data, server=ClientOptions(…))` or `from_dict(data, client=…)`.

    Attributes:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        instruction: the task of the queries, in one English sentence; None for the model's default.
        dimensions: length of the vectors, one that the model allows (MRL); None for the model's.

    Raises:
        pydantic.ValidationError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    server: Annotated[str | ClientOptions | None, PlainSerializer(without_secrets)] = None
    client: Client | AsyncClient | None = Field(default=None, exclude=True, repr=False)
    instruction: str | None = None
    dimensions: int | None = None
    model_name: str = Field(default="Qwen3-Embedding", description="The name of the model in events.")
    # The server forms the batches. With LlamaIndex's default of 10, it would wait for the next call most of the time.
    embed_batch_size: int = Field(
        default=256, description="The number of texts in one call of the client.", gt=0, le=2048
    )

    _server: Server = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002 - pydantic's
        """Check the arguments, without sending anything."""
        check_arguments(instruction=self.instruction, dimensions=self.dimensions)
        self._server = Server(self.server, client=self.client)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class for `to_dict`."""
        return "Qwen3Embedding"

    def __getstate__(self) -> dict[str, Any]:
        self._server.refuse_if_borrowed("pickled")  # the base class would drop the client, and only log it
        return super().__getstate__()

    def _get_query_embedding(self, query: str) -> Embedding:
        row: Embedding = self._server.client.encode_query(
            query, instruction=self.instruction, dimensions=self.dimensions
        ).tolist()
        return row

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        rows: list[Embedding] = self._server.client.encode_document(texts, dimensions=self.dimensions).tolist()
        return rows

    async def _aget_query_embedding(self, query: str) -> Embedding:
        row = await self._server.async_client.encode_query(
            query, instruction=self.instruction, dimensions=self.dimensions
        )
        listed: Embedding = row.tolist()
        return listed

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return (await self._aget_text_embeddings([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        rows = await self._server.async_client.encode_document(texts, dimensions=self.dimensions)
        listed: list[Embedding] = rows.tolist()
        return listed


class Qwen3Rerank(Connected, BaseNodePostprocessor):
    """A node postprocessor that ranks nodes with Qwen3-Reranker on a Triton server.

    It judges the text of a node that is embedded too, which includes the metadata that the node allows to embed. The
    score of a node becomes the probability, from 0 to 1, that it meets the query.

    `to_dict` leaves out `client`, and the token and the headers of `server`. To supply them again, call
    `from_dict(data, server=ClientOptions(…))` or `from_dict(data, client=…)`.

    Attributes:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        instruction: the task, in one English sentence; None for the model's default.
        top_n: how many of the best nodes to return; None for all.

    Raises:
        pydantic.ValidationError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    server: Annotated[str | ClientOptions | None, PlainSerializer(without_secrets)] = None
    client: Client | AsyncClient | None = Field(default=None, exclude=True, repr=False)
    instruction: str | None = None
    top_n: int | None = None

    _server: Server = PrivateAttr()

    def model_post_init(self, context: object, /) -> None:  # noqa: ARG002 - pydantic's
        """Check the arguments, without sending anything."""
        check_arguments(instruction=self.instruction, top_n=self.top_n)
        self._server = Server(self.server, client=self.client)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class for `to_dict`."""
        return "Qwen3Rerank"

    def __getstate__(self) -> dict[str, Any]:
        self._server.refuse_if_borrowed("pickled")  # as above
        return super().__getstate__()

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        with self._reported(nodes, query) as report:
            ranking = self._server.client.rank(query, _texts_of(nodes), instruction=self.instruction, top_k=self.top_n)
            return report(ranking)

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _query_of(query_bundle)
        with self._reported(nodes, query) as report:
            ranking = await self._server.async_client.rank(
                query, _texts_of(nodes), instruction=self.instruction, top_k=self.top_n
            )
            return report(ranking)

    @contextmanager
    def _reported(
        self, nodes: list[NodeWithScore], query: str
    ) -> Iterator[Callable[[list[RankedDocument]], list[NodeWithScore]]]:
        """Report a reranking to LlamaIndex's callbacks and instrumentation.

        Yields:
            The function that turns the ranking into nodes, and reports these too.
        """
        options = self._server.options
        name = (options.reranker if options else None) or "Qwen3-Reranker"
        most = self.top_n or len(nodes)
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: most,
        }
        _dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=most, model_name=name))
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:

            def report(ranking: list[RankedDocument]) -> list[NodeWithScore]:
                ranked = [NodeWithScore(node=nodes[result.index].node, score=result.score) for result in ranking]
                event.on_end(payload={EventPayload.NODES: ranked})
                _dispatcher.event(ReRankEndEvent(nodes=ranked))
                return ranked

            yield report


def _query_of(bundle: QueryBundle | None) -> str:
    if bundle is None:
        raise InvalidInputError("reranking needs the query: pass query_str= or query_bundle=")
    return bundle.query_str


def _texts_of(nodes: list[NodeWithScore]) -> list[str]:
    return [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
