"""The client: texts in, unit vectors or ranks out.

Each method says what its texts become and what it wants of the server's answers; `_served_model` carries them, one
request per text or pair. How a prompt reads, how a vector is cut and how documents are put in order are other
modules' business.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ._address import parse_address
from ._connection import Connection
from ._contract import EMBEDDING_NAME, LOGIT_NAME, SCORE_NAME, ModelInfo, RerankerInfo
from ._errors import ContractMismatchError, InvalidInputError, ServerTimeoutError, ServerUnavailableError
from ._prompts import RERANKER_PREFIX, RERANKER_SUFFIX, Kind, pair_prompt, prompt_for, task
from ._ranking import Judgement, RankedDocument, checked_top_k, ranked
from ._served_model import ServedModel
from ._texts import as_documents, as_list, as_pairs, checked_text
from ._transport import Outputs
from ._vectors import checked_dimensions, checked_row, cut

__all__ = ["Client"]


class Client:
    """A connection to one Triton server, to an embedding model and a reranker on it.

    Threads may share a client; `concurrency` then bounds all of them together. A process that forks makes its
    client after the fork. Close it, or use it as a context manager. Nothing is sent before the first call, and
    nothing is asked about a model that no call needs.

    Args:
        url: `host:8001` or `grpc://host:8001` for gRPC, `http://host:8000` for HTTP.
        model: name of the embedding model on the server; None for the only one there.
        reranker: name of the reranker on the server; None for the only one there.
        tokenizer: folder that holds the embedding model's tokenizer.json, or Hub id; by default the one that the
            server names. One that differs from the server's is refused.
        reranker_tokenizer: the same for the reranker.
        timeout_s: seconds that each request may take, its wait in the server's queue included.
        concurrency: most requests on their way at once.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        *,
        model: str | None = None,
        reranker: str | None = None,
        tokenizer: str | os.PathLike[str] | None = None,
        reranker_tokenizer: str | os.PathLike[str] | None = None,
        timeout_s: float = 300.0,
        concurrency: int = 64,
    ) -> None:
        address = parse_address(url)
        if not 0 < timeout_s < math.inf:
            raise InvalidInputError(f"timeout_s must be a positive number of seconds, not {timeout_s!r}")
        if concurrency < 1:
            raise InvalidInputError(f"concurrency must be at least 1, not {concurrency!r}")
        for option, name in (("model", model), ("reranker", reranker)):
            if name is not None:
                checked_text(name, what=option)
        self._connection = Connection(address, timeout_s=timeout_s, concurrency=concurrency)
        self._embedding_model = ServedModel(self._connection, ModelInfo, name=model, tokenizer=tokenizer)
        self._reranker = ServedModel(
            self._connection,
            RerankerInfo,
            name=reranker,
            tokenizer=reranker_tokenizer,
            prefix=RERANKER_PREFIX,
            suffix=RERANKER_SUFFIX,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives up what is on its way and closes all connections. Closing again does nothing."""
        self._connection.close()

    @property
    def info(self) -> ModelInfo:
        """What the served embedding model says about itself; asked once.

        Raises:
            ContractMismatchError: the server has no such model, more than one where none was named, or one that
                this client does not work with.
            ServerUnavailableError: no server answers. (And the other errors of a request.)
        """
        return self._embedding_model.info

    @property
    def reranker_info(self) -> RerankerInfo:
        """What the served reranker says about itself; asked once.

        Raises:
            ContractMismatchError: as for `info`.
            ServerUnavailableError: no server answers. (And the other errors of a request.)
        """
        return self._reranker.info

    def is_ready(self) -> bool:
        """Says whether the server answers and would take requests.

        That is, for every model that was named or used before; without any, for at least one of either kind.
        """
        models = (self._embedding_model, self._reranker)
        known = [model for model in models if model.name is not None]
        try:
            return all(model.is_ready() for model in known) if known else any(model.is_ready() for model in models)
        except (ContractMismatchError, ServerTimeoutError, ServerUnavailableError):
            return False

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
    ) -> NDArray[np.float32]:
        """Embeds queries: texts that look for documents.

        Args:
            texts: one query, or several.
            instruction: the task, in one English sentence; None for the model's default.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: whether a query that is too long loses its end instead of raising.

        Returns:
            float32 `[dimensions]` for one query, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._encode(texts, kind="query", instruction=instruction, dimensions=dimensions, truncate=truncate)

    def encode_document(
        self, texts: str | Sequence[str], *, dimensions: int | None = None, truncate: bool = True
    ) -> NDArray[np.float32]:
        """Embeds documents: texts that are found.

        Args:
            texts: one document, or several.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: whether a document that is too long loses its end instead of raising.

        Returns:
            float32 `[dimensions]` for one document, `[n, dimensions]` for several, in their order; unit norm.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the texts; the rest is given up.
        """
        return self._encode(texts, kind="document", instruction=None, dimensions=dimensions, truncate=truncate)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        kind: Kind = "document",
        instruction: str | None = None,
        dimensions: int | None = None,
        truncate: bool = True,
    ) -> Iterator[NDArray[np.float32]]:
        """Embeds any number of texts in bounded memory.

        Texts are taken `concurrency` at a time, and at most twice as many are held. Closing the iterator
        gives up what is pending.

        Args:
            texts: the texts, such as the lines of a file.
            kind: whether they are queries or documents.
            instruction: the task of the queries; None for the model's default. Documents take none.
            dimensions: length of the vectors, from 32 to the model's; None for the model's.
            truncate: whether a text that is too long loses its end instead of raising.

        Yields:
            One vector for each text, in their order: float32 `[dimensions]`, unit norm.

        Raises:
            InvalidInputError: an option cannot be used (at once), or a text cannot (when it is read, which
                is before the last rows of the texts before it are given out).
            Qwen3ClientError: the first failure of a request, after the rows of the texts before it.
        """
        if isinstance(texts, str):
            raise InvalidInputError("encode_stream takes an iterable of texts, not one str: use encode_document")
        info = self.info
        wanted = checked_dimensions(dimensions, full=info.dimensions)
        prompt = prompt_for(kind, instruction=instruction, default_instruction=info.default_instruction)

        def read(outputs: Outputs) -> NDArray[np.float32]:
            return cut(checked_row(outputs[EMBEDDING_NAME], width=info.output_width), dimensions=wanted)

        return self._embedding_model.answers(
            texts, prompt=lambda text: prompt(checked_text(text)), read=read, truncate=truncate, noun="text"
        )

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        top_k: int | None = None,
        return_documents: bool = False,
        truncate: bool = True,
    ) -> list[RankedDocument]:
        """Puts documents in order of how well they meet a query, as the reranker judges each.

        Args:
            query: what is looked for.
            documents: where it is looked for, such as what a search by embeddings found.
            instruction: the task, in one English sentence; None for the model's default.
            top_k: how many documents to return, the best; None for all. All are judged.
            return_documents: whether to return the documents' texts too.
            truncate: whether a document that is too long loses its end instead of raising.

        Returns:
            The documents, the highest score first. Equal scores go by the logit, then by the order of `documents`.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the documents; the rest is given up.
        """
        checked_text(query, what="the query")
        texts = as_documents(documents)
        most = checked_top_k(top_k)
        judgements = list(
            self._judge([(query, text) for text in texts], instruction=instruction, truncate=truncate, noun="document")
        )
        return ranked(judgements, documents=texts if return_documents else None, top_k=most)

    def score(
        self, pairs: Sequence[tuple[str, str]], *, instruction: str | None = None, truncate: bool = True
    ) -> NDArray[np.float32]:
        """Judges how well documents meet queries.

        Args:
            pairs: each a query and a document.
            instruction: the task, in one English sentence; None for the model's default.
            truncate: whether a document that is too long loses its end instead of raising.

        Returns:
            float32 `[n]`, from 0 to 1, in the order of the pairs.

        Raises:
            InvalidInputError: a text or an option cannot be used.
            Qwen3ClientError: the first failure, in the order of the pairs; the rest is given up.
        """
        judgements = self._judge(as_pairs(pairs), instruction=instruction, truncate=truncate, noun="pair")
        return np.array([judgement.score for judgement in judgements], dtype=np.float32)

    def _encode(
        self,
        texts: str | Sequence[str],
        *,
        kind: Kind,
        instruction: str | None,
        dimensions: int | None,
        truncate: bool,
    ) -> NDArray[np.float32]:
        # All texts are checked before the first is sent, so that a bad one costs nothing.
        batch = as_list([texts] if isinstance(texts, str) else texts)
        rows = self.encode_stream(batch, kind=kind, instruction=instruction, dimensions=dimensions, truncate=truncate)
        vectors = np.empty((len(batch), checked_dimensions(dimensions, full=self.info.dimensions)), dtype=np.float32)
        for index, row in enumerate(rows):
            vectors[index] = row
        return vectors[0] if isinstance(texts, str) else vectors

    def _judge(
        self, pairs: Iterable[tuple[str, str]], *, instruction: str | None, truncate: bool, noun: str
    ) -> Iterator[Judgement]:
        info = self.reranker_info

        def read(outputs: Outputs) -> Judgement:
            (score,), (logit,) = (
                checked_row(outputs[name], width=info.output_width).tolist() for name in (SCORE_NAME, LOGIT_NAME)
            )
            return Judgement(score=score, logit=logit)

        prompt = partial(pair_prompt, instruction=task(instruction, default=info.default_instruction))
        return self._reranker.answers(pairs, prompt=prompt, read=read, truncate=truncate, noun=noun)
