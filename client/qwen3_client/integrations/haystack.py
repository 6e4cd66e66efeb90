"""Haystack components that embed a query, embed documents, and rank documents.

    from haystack import Document, Pipeline
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from qwen3_client.integrations.haystack import Qwen3DocumentEmbedder, Qwen3Ranker, Qwen3TextEmbedder

    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    documents = [Document(content="Mars is often called the Red Planet.")]
    store.write_documents(Qwen3DocumentEmbedder("localhost:8001").run(documents)["documents"])
    pipeline = Pipeline()
    pipeline.add_component("embedder", Qwen3TextEmbedder("localhost:8001"))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store))
    pipeline.add_component("ranker", Qwen3Ranker("localhost:8001"))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "ranker.documents")
    question = "Which planet is red?"
    best = pipeline.run({"embedder": {"text": question}, "ranker": {"query": question}})["ranker"]["documents"]

The text embedder puts the instruction before its text, as the model expects for queries. The document embedder adds
nothing.

`pipeline.dumps()` writes the components as YAML, and `Pipeline.loads(yaml, allowed_modules=["qwen3_client.*"])` reads
them. Components with `client=` cannot be written, nor those whose `ClientOptions` hold a token or headers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ..async_client import AsyncClient
from ..client import Client
from ..contract import ServedInfo
from ..errors import InvalidInputError
from ..options import ClientOptions
from ..ranking import RankedDocument, checked_top_k
from .extra import missing
from .server import Server, check_arguments, checked_server, options_from, secrets_of, without_secrets

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError as error:
    raise missing("haystack") from error

__all__ = ["Qwen3DocumentEmbedder", "Qwen3Ranker", "Qwen3TextEmbedder"]

_ComponentT = TypeVar("_ComponentT", bound="_Component")


class _Component:
    """The base of the components: their server, and how its options are written and read.

    The components call `_Component.__init__` by name, because `component` replaces each class with a copy, and
    `super()` would still refer to the original class.
    """

    def __init__(
        self, server: str | ClientOptions | None, *, client: Client | AsyncClient | None, token: Secret | None
    ) -> None:
        self._options = checked_server(server, client=client)
        if token is not None:
            if self._options is None:
                raise InvalidInputError("token= and client= contradict each other: give the token to the client")
            if "authorization" in self._options.request_headers():
                raise InvalidInputError(
                    "token= contradicts the token or the header Authorization in ClientOptions: give one"
                )
        self.server = server
        self.client = client
        self.token = token
        self._opened: Server | None = None

    def warm_up(self) -> None:
        """Open the client, also after `close`, without sending anything. `run` calls this too."""
        if self._opened is None:
            options = self._options
            if options is not None and self.token is not None:
                options = replace(options, token=self.token.resolve_value())
            self._opened = Server(options, client=self.client)

    def close(self) -> None:
        """Close the connection, unless the client was given."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    async def close_async(self) -> None:
        """Close as `close` does, without blocking the event loop."""
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    @classmethod
    def from_dict(cls: type[_ComponentT], data: Mapping[str, Any]) -> _ComponentT:
        """Return the component that `to_dict` described."""
        arguments = dict(data["init_parameters"])
        if isinstance(arguments.get("server"), Mapping):
            arguments["server"] = options_from(arguments["server"])
        read: _ComponentT = default_from_dict(cls, {**data, "init_parameters": arguments})
        return read

    @property
    def _server(self) -> Server:
        self.warm_up()
        assert self._opened is not None  # noqa: S101 - `warm_up` has set it
        return self._opened

    def _to_dict(self, **arguments: object) -> dict[str, Any]:
        if self._options is None:
            raise InvalidInputError(
                "a component with client= cannot be written to YAML: make it with server=, a URL or ClientOptions"
            )
        if secrets := secrets_of(self._options):
            raise InvalidInputError(
                f"{' and '.join(secrets)} of ClientOptions may be secret, so they cannot be written to YAML: give the "
                "component token=Secret.from_env_var('…') instead"
            )
        token = None if self.token is None else self.token.to_dict()
        written: dict[str, Any] = default_to_dict(self, server=without_secrets(self.server), token=token, **arguments)
        return written


@component
class Qwen3TextEmbedder(_Component):
    """A component that embeds a query with Qwen3-Embedding on a Triton server. Vectors have norm 1.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        token: bearer token, such as `Secret.from_env_var("TRITON_TOKEN")`.
        instruction: the task, in one English sentence; None for the model's default.
        dimensions: length of the vectors, one that the model allows (MRL); None for the model's.

    Raises:
        InvalidInputError: an argument cannot be used. (`run` raises every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        token: Secret | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        check_arguments(instruction=instruction, dimensions=dimensions)
        _Component.__init__(self, server, client=client, token=token)
        self.instruction = instruction
        self.dimensions = dimensions

    def to_dict(self) -> dict[str, Any]:
        """Return a description from which `from_dict` makes the component again."""
        return self._to_dict(instruction=self.instruction, dimensions=self.dimensions)

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Embed a query.

        Returns:
            `embedding`, and `meta` with the name of the `model` that was exported.
        """
        client = self._server.client
        row = client.encode_query(text, instruction=self.instruction, dimensions=self.dimensions)
        return {"embedding": row.tolist(), "meta": _meta(client.info())}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """Return what `run` does, without blocking the event loop."""
        client = self._server.async_client
        row = await client.encode_query(text, instruction=self.instruction, dimensions=self.dimensions)
        return {"embedding": row.tolist(), "meta": _meta(await client.info())}


@component
class Qwen3DocumentEmbedder(_Component):
    """A component that embeds documents with Qwen3-Embedding on a Triton server. Vectors have norm 1.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        token: bearer token, such as `Secret.from_env_var("TRITON_TOKEN")`.
        dimensions: length of the vectors, one that the model allows (MRL); None for the model's.
        meta_fields_to_embed: names of metadata fields whose values go before a document's content.
        embedding_separator: text between these values and the content.

    Raises:
        InvalidInputError: an argument cannot be used. (`run` raises every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        token: Secret | None = None,
        dimensions: int | None = None,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
    ) -> None:
        check_arguments(dimensions=dimensions)
        _Component.__init__(self, server, client=client, token=token)
        self.dimensions = dimensions
        self.meta_fields_to_embed = list(meta_fields_to_embed)
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Return a description from which `from_dict` makes the component again."""
        return self._to_dict(
            dimensions=self.dimensions,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embed documents.

        Returns:
            `documents`, copies with their embeddings, and `meta` with the name of the `model` that was exported.
        """
        client = self._server.client
        rows = client.encode_document(_texts_of(documents, self), dimensions=self.dimensions).tolist()
        return {"documents": _embedded(documents, rows), "meta": _meta(client.info())}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """Return what `run` does, without blocking the event loop."""
        client = self._server.async_client
        rows = (await client.encode_document(_texts_of(documents, self), dimensions=self.dimensions)).tolist()
        return {"documents": _embedded(documents, rows), "meta": _meta(await client.info())}


@component
class Qwen3Ranker(_Component):
    """A component that ranks documents by how well they meet a query, with Qwen3-Reranker on a Triton server.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        token: bearer token, such as `Secret.from_env_var("TRITON_TOKEN")`.
        instruction: the task, in one English sentence; None for the model's default.
        top_k: how many of the best documents to return; None for all.
        meta_fields_to_embed: names of metadata fields whose values go before a document's content.
        embedding_separator: text between these values and the content.

    Raises:
        InvalidInputError: an argument cannot be used. (`run` raises every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        token: Secret | None = None,
        instruction: str | None = None,
        top_k: int | None = None,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
    ) -> None:
        check_arguments(instruction=instruction)
        checked_top_k(top_k)
        _Component.__init__(self, server, client=client, token=token)
        self.instruction = instruction
        self.top_k = top_k
        self.meta_fields_to_embed = list(meta_fields_to_embed)
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Return a description from which `from_dict` makes the component again."""
        return self._to_dict(
            instruction=self.instruction,
            top_k=self.top_k,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Rank documents.

        Args:
            query: the query.
            documents: the documents to rank.
            top_k: how many of the best documents to return; None for the `top_k` of the component.

        Returns:
            `documents`, copies whose scores are the probabilities that they meet the query, the highest first, and
            `meta` with the name of the `model` that was exported.
        """
        client, most = self._server.client, self.top_k if top_k is None else top_k
        ranking = client.rank(query, _texts_of(documents, self), instruction=self.instruction, top_k=most)
        return {"documents": _scored(documents, ranking), "meta": _meta(client.reranker_info())}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Return what `run` does, without blocking the event loop."""
        client, most = self._server.async_client, self.top_k if top_k is None else top_k
        ranking = await client.rank(query, _texts_of(documents, self), instruction=self.instruction, top_k=most)
        return {"documents": _scored(documents, ranking), "meta": _meta(await client.reranker_info())}


def _meta(info: ServedInfo) -> dict[str, Any]:
    return {"model": info.source}


def _texts_of(documents: Sequence[Document], part: Qwen3DocumentEmbedder | Qwen3Ranker) -> list[str]:
    """Return the text of each document to embed or judge: values of its metadata, then its content."""
    texts = []
    for document in documents:
        values = (document.meta.get(name) for name in part.meta_fields_to_embed)
        named = [str(value) for value in values if value is not None]
        texts.append(part.embedding_separator.join([*named, document.content or ""]))
    return texts


def _embedded(documents: Sequence[Document], rows: Sequence[list[float]]) -> list[Document]:
    return [replace(document, embedding=row) for document, row in zip(documents, rows, strict=True)]


def _scored(documents: Sequence[Document], ranking: Sequence[RankedDocument]) -> list[Document]:
    return [replace(documents[ranked.index], score=ranked.score) for ranked in ranking]
