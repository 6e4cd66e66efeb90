"""Haystack: components that embed a query, embed documents, and rank documents.

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

The text embedder names the task, as the model expects of a query; the document embedder takes texts as they are.

`pipeline.dumps()` writes the components down, and `Pipeline.loads(yaml, allowed_modules=["qwen3_client.*"])` reads
them; a component that was given a ready client cannot be written.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar

from ..async_client import AsyncClient
from ..client import Client
from ..contract import ServedInfo
from ..credentials import Tls
from ..errors import InvalidInputError
from ..ranking import RankedDocument, checked_top_k
from ._extra import missing
from ._server import TIMEOUT_S, Server, checked_options

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret, deserialize_secrets_inplace
except ImportError as error:
    raise missing("haystack") from error

__all__ = ["Qwen3DocumentEmbedder", "Qwen3Ranker", "Qwen3TextEmbedder"]

_ComponentT = TypeVar("_ComponentT", bound="_Component")


class _Component:
    """What the components share: a server, the options of its client, and how these are written down and read.

    They name this class where they call its constructor: `component` replaces each by a class that it makes anew, so
    `super()` would look in the wrong one.
    """

    _TASK: Literal["embed", "rank"] = "embed"

    def __init__(
        self,
        url: str | None,
        *,
        client: Client | AsyncClient | None,
        model: str | None,
        tokenizer: str | None,
        timeout_s: float,
        tls: Tls | None,
        token: Secret | None,
    ) -> None:
        self.url = url
        self.client = client
        self.model = model
        self.tokenizer = tokenizer
        self.timeout_s = timeout_s
        self.tls = tls
        self.token = token
        self._opened: Server | None = None
        self._open(token=None)  # checks the options; the secret is read when the component is first used

    def warm_up(self) -> None:
        """Makes the client ready, and again after `close`; nothing is sent. `run` does it too."""
        if self._opened is None:
            self._opened = self._open(token=None if self.token is None else self.token.resolve_value())

    def close(self) -> None:
        """Closes the connection, unless the client was given."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    async def close_async(self) -> None:
        """As `close`."""
        if self._opened is not None:
            await self._opened.aclose()
            self._opened = None

    @property
    def _server(self) -> Server:
        self.warm_up()
        assert self._opened is not None  # noqa: S101 - that is what warming up does
        return self._opened

    def _open(self, *, token: str | None) -> Server:
        return Server(
            self.url,
            client=self.client,
            task=self._TASK,
            model=self.model,
            tokenizer=self.tokenizer,
            timeout_s=self.timeout_s,
            tls=self.tls,
            token=token,
        )

    def _written(self, **options: object) -> dict[str, Any]:
        if self.client is not None:
            raise InvalidInputError("a component around a ready client cannot be written down: make it with url=")
        written: dict[str, Any] = default_to_dict(
            self,
            url=self.url,
            model=self.model,
            tokenizer=self.tokenizer,
            timeout_s=self.timeout_s,
            tls=None if self.tls is None else _paths_of(self.tls),
            token=None if self.token is None else self.token.to_dict(),
            **options,
        )
        return written

    @classmethod
    def from_dict(cls: type[_ComponentT], data: Mapping[str, Any]) -> _ComponentT:
        """Makes the component that `to_dict` wrote down."""
        options = dict(data["init_parameters"])
        deserialize_secrets_inplace(options, keys=["token"])
        if options.get("tls") is not None:
            options["tls"] = Tls(**options["tls"])
        read: _ComponentT = default_from_dict(cls, {**data, "init_parameters": options})
        return read


@component
class Qwen3TextEmbedder(_Component):
    """Embeds a query with Qwen3-Embedding on a Triton server. Vectors have norm 1.

    Args:
        url: where the server is, as for `Client`.
        client: a ready client instead, of either kind; it stays open.
        model: name of the embedding model on the server; None for the only one there.
        tokenizer: folder that holds the model's tokenizer.json, or Hub id; by default the one the server names.
        timeout_s: seconds that each request may take.
        tls: certificates.
        token: bearer token, such as `Secret.from_env_var("TRITON_TOKEN")`.
        instruction: the task, in one English sentence; None for the model's default.
        dimensions: length of the vectors, from 32 to the model's; None for the model's.

    Raises:
        InvalidInputError: an argument cannot be used. (`run` raises every `Qwen3ClientError`.)
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
        token: Secret | None = None,
        instruction: str | None = None,
        dimensions: int | None = None,
    ) -> None:
        checked_options(instruction=instruction, dimensions=dimensions)
        _Component.__init__(
            self, url, client=client, model=model, tokenizer=tokenizer, timeout_s=timeout_s, tls=tls, token=token
        )
        self.instruction = instruction
        self.dimensions = dimensions

    def to_dict(self) -> dict[str, Any]:
        """Writes the component down."""
        return self._written(instruction=self.instruction, dimensions=self.dimensions)

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """Embeds a query.

        Returns:
            `embedding`, and `meta` with the `model` that the server's was exported from.
        """
        client = self._server.client
        row = client.encode_query(text, instruction=self.instruction, dimensions=self.dimensions)
        return {"embedding": row.tolist(), "meta": _meta(client.info())}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """As `run`; no thread waits."""
        client = self._server.async_client
        row = await client.encode_query(text, instruction=self.instruction, dimensions=self.dimensions)
        return {"embedding": row.tolist(), "meta": _meta(await client.info())}


@component
class Qwen3DocumentEmbedder(_Component):
    """Embeds documents with Qwen3-Embedding on a Triton server. Vectors have norm 1.

    The arguments up to `token` are those of `Qwen3TextEmbedder`.

    Args:
        dimensions: length of the vectors, from 32 to the model's; None for the model's.
        meta_fields_to_embed: names of metadata fields whose values go before a document's content.
        embedding_separator: what stands between them.

    Raises:
        InvalidInputError: an argument cannot be used. (`run` raises every `Qwen3ClientError`.)
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
        token: Secret | None = None,
        dimensions: int | None = None,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
    ) -> None:
        checked_options(dimensions=dimensions)
        _Component.__init__(
            self, url, client=client, model=model, tokenizer=tokenizer, timeout_s=timeout_s, tls=tls, token=token
        )
        self.dimensions = dimensions
        self.meta_fields_to_embed = list(meta_fields_to_embed)
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Writes the component down."""
        return self._written(
            dimensions=self.dimensions,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embeds documents.

        Returns:
            `documents`, copies with their embeddings, and `meta` with the `model` that the server's was exported from.
        """
        client = self._server.client
        rows = client.encode_document(_texts_of(documents, self), dimensions=self.dimensions).tolist()
        return {"documents": _embedded(documents, rows), "meta": _meta(client.info())}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """As `run`; no thread waits."""
        client = self._server.async_client
        rows = (await client.encode_document(_texts_of(documents, self), dimensions=self.dimensions)).tolist()
        return {"documents": _embedded(documents, rows), "meta": _meta(await client.info())}


@component
class Qwen3Ranker(_Component):
    """Puts documents in order of how well they meet a query, as Qwen3-Reranker on a Triton server judges each.

    The arguments up to `token` are those of `Qwen3TextEmbedder`, with `model` the name of the reranker.

    Args:
        instruction: the task, in one English sentence; None for the model's default.
        top_k: how many documents to return, the best; None for all.
        meta_fields_to_embed: names of metadata fields whose values go before a document's content.
        embedding_separator: what stands between them.

    Raises:
        InvalidInputError: an argument cannot be used. (`run` raises every `Qwen3ClientError`.)
    """

    _TASK = "rank"

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Client | AsyncClient | None = None,
        model: str | None = None,
        tokenizer: str | None = None,
        timeout_s: float = TIMEOUT_S,
        tls: Tls | None = None,
        token: Secret | None = None,
        instruction: str | None = None,
        top_k: int | None = None,
        meta_fields_to_embed: Sequence[str] = (),
        embedding_separator: str = "\n",
    ) -> None:
        checked_options(instruction=instruction)
        checked_top_k(top_k)
        _Component.__init__(
            self, url, client=client, model=model, tokenizer=tokenizer, timeout_s=timeout_s, tls=tls, token=token
        )
        self.instruction = instruction
        self.top_k = top_k
        self.meta_fields_to_embed = list(meta_fields_to_embed)
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Writes the component down."""
        return self._written(
            instruction=self.instruction,
            top_k=self.top_k,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
        )

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Ranks documents.

        Args:
            query: what is looked for.
            documents: where it is looked for.
            top_k: how many to return, the best; None for the component's own number.

        Returns:
            `documents`, copies with the probability that each meets the query as its score, the highest first, and
            `meta` with the `model` that the server's was exported from.
        """
        client, most = self._server.client, self.top_k if top_k is None else top_k
        ranking = client.rank(query, _texts_of(documents, self), instruction=self.instruction, top_k=most)
        return {"documents": _scored(documents, ranking), "meta": _meta(client.reranker_info())}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """As `run`; no thread waits."""
        client, most = self._server.async_client, self.top_k if top_k is None else top_k
        ranking = await client.rank(query, _texts_of(documents, self), instruction=self.instruction, top_k=most)
        return {"documents": _scored(documents, ranking), "meta": _meta(await client.reranker_info())}


def _paths_of(tls: Tls) -> dict[str, str]:
    """Returns the paths of the certificates, in a form that YAML knows."""
    named = ((field.name, getattr(tls, field.name)) for field in fields(tls))
    return {name: os.fspath(path) for name, path in named if path is not None}


def _meta(info: ServedInfo) -> dict[str, Any]:
    return {"model": info.source}


def _texts_of(documents: Sequence[Document], part: Qwen3DocumentEmbedder | Qwen3Ranker) -> list[str]:
    """Returns what is embedded or judged of documents: values of their metadata, then their content."""
    texts = []
    for document in documents:
        values = (document.meta.get(name) for name in part.meta_fields_to_embed)
        named = [str(value) for value in values if value is not None]
        texts.append(part.embedding_separator.join([*named, document.content or ""]))
    return texts


def _embedded(documents: Sequence[Document], rows: Sequence[list[float]]) -> list[Document]:
    return [replace(document, embedding=row) for document, row in zip(documents, rows, strict=True)]


def _scored(documents: Sequence[Document], ranking: Sequence[RankedDocument]) -> list[Document]:
    return [replace(documents[place.index], score=place.score) for place in ranking]
