"""A text model: takes texts instead of token ids, for clients that have no tokenizer.

Triton's python backend loads it beside a packed model. It is the client, with the packed model in place of a server: so
texts become the same ids, vectors are the same bits, and errors the same sentences as with the client. Each request is
answered when it is done, and further ones begin meanwhile: texts of many callers share the packed model's batches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from qwen3_client import (
    AsyncClient,
    InvalidInputError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerUnavailableError,
    io_thread,
)
from qwen3_export.triton_requests import error_response
from qwen3_export.triton_tensors import as_tensor

from .packed_model import PackedModel
from .text_parameters import EmbeddingParameters, RerankingParameters, as_strings, read_parameters

# Twice the texts of a batch: the next batch is complete when one has run.
_CONCURRENCY = 64
_RETRY_S = 5.0  # while the packed model's queue is full; then it is the caller who should wait
_FINISH_S = 60.0

Outputs = list[tuple[str, npt.NDArray[np.float32]]]


class TritonPythonModel:
    """One model instance. Triton calls the three methods by these names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer of the packed model.

        Args:
            args: From Triton: the model's configuration as JSON, among others.
        """
        _check_texts_can_be_read()
        config = json.loads(args["model_config"])
        self._name = config["name"]
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._kind = parameters.get("kind", "document")
        self._is_reranker = len(self._inputs) > 1
        self._packed = PackedModel(
            parameters["packed_model"],
            config=Path(parameters["packed_config"]),
            directory=Path(parameters["packed_directory"]),
            concurrency=_CONCURRENCY,
        )
        self._client = AsyncClient(
            model=self._packed.name,
            reranker=self._packed.name,
            tokenizer=self._packed.directory,
            reranker_tokenizer=self._packed.directory,
            concurrency=_CONCURRENCY,
            retry_s=_RETRY_S,
            transport=self._packed,
        )
        self._pending: set[Future[None]] = set()
        io_thread.submit(self._load()).result()

    def execute(self, requests: Sequence[pb_utils.InferenceRequest]) -> None:
        """Begin to answer requests."""
        for request in requests:
            work = io_thread.submit(self._respond(request, request.get_response_sender()))
            self._pending.add(work)
            work.add_done_callback(self._pending.discard)

    def finalize(self) -> None:
        """Finish the requests that were begun."""
        wait(list(self._pending), _FINISH_S)
        io_thread.submit(self._client.close()).result(_FINISH_S)

    async def _load(self) -> None:
        # The client reads the model's description and its tokenizer when it first needs them.
        if self._is_reranker:
            await self._client.tokenize_pairs([("a", "a")])
        else:
            await self._client.tokenize(["a"])

    async def _respond(self, request: pb_utils.InferenceRequest, sender: pb_utils.InferenceResponseSender) -> None:
        try:
            outputs = await (self._score(request) if self._is_reranker else self._embed(request))
            response = pb_utils.InferenceResponse([as_tensor(name, array) for name, array in outputs])
        except InvalidInputError as error:
            response = error_response(str(error), pb_utils.TritonError.INVALID_ARG)
        except (ServerOverloadedError, ServerUnavailableError) as error:
            response = error_response(str(error), pb_utils.TritonError.UNAVAILABLE)
        except Qwen3ClientError as error:
            response = error_response(str(error), pb_utils.TritonError.INTERNAL)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, the request must be answered
            response = error_response(f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    async def _embed(self, request: pb_utils.InferenceRequest) -> Outputs:
        self._refuse_if_stale()
        how = read_parameters(EmbeddingParameters, request.parameters(), kind=self._kind)
        texts = _texts(request, self._inputs[0], noun="text")
        if how.kind == "query":
            vectors = await self._client.encode_query(
                texts, instruction=how.instruction, dimensions=how.dimensions, truncate=how.truncate
            )
        else:
            vectors = await self._client.encode_document(texts, dimensions=how.dimensions, truncate=how.truncate)
        return [(self._outputs[0], vectors)]

    async def _score(self, request: pb_utils.InferenceRequest) -> Outputs:
        self._refuse_if_stale()
        how = read_parameters(RerankingParameters, request.parameters())
        query = _texts(request, self._inputs[0], noun="query")
        if len(query) != 1:
            raise InvalidInputError(f"{self._inputs[0]} must hold one query, not {len(query)}")
        documents = _texts(request, self._inputs[1], noun="document")
        ranking = await self._client.rank(query[0], documents, instruction=how.instruction, truncate=how.truncate)
        judged = sorted(ranking, key=lambda document: document.index)
        scores = np.array([document.score for document in judged], np.float32)
        logits = np.array([document.logit for document in judged], np.float32)
        return list(zip(self._outputs, (scores, logits), strict=True))

    def _refuse_if_stale(self) -> None:
        if self._packed.is_stale():
            raise ServerUnavailableError(
                f"{self._packed.name} was exported again, with another tokenizer or other prompts than {self._name} "
                "has loaded; load both with `qwen3-triton reload`"
            )


def _texts(request: pb_utils.InferenceRequest, name: str, *, noun: str) -> list[str]:
    return as_strings(pb_utils.get_input_tensor_by_name(request, name).as_numpy().tolist(), noun=noun)


def _check_texts_can_be_read() -> None:
    """Make sure that this python backend can read texts: that of Triton 2.51 cannot, with numpy 2."""
    texts = pb_utils.Tensor("texts", np.array([b"a"], np.object_)).as_numpy()
    if texts.tolist() != [b"a"]:
        raise RuntimeError(
            f"this Triton's python backend cannot read texts with numpy {np.__version__}: install 'numpy<2' (Python "
            "3.12 or older), or serve without --text"
        )
