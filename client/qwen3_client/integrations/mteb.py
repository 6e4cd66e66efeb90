"""MTEB: evaluating Qwen3-Embedding and Qwen3-Reranker on a server with the `mteb` package.

    import mteb
    from qwen3_client.integrations.mteb import Qwen3Encoder

    with Qwen3Encoder("localhost:8001") as model:
        mteb.evaluate(model, mteb.get_tasks(tasks=["NFCorpus"]))

Each task uses the instruction with which Qwen evaluated it, from `mteb_instructions.json`, because another instruction
can change a score by several points. The rules are those of Qwen's `evaluation/qwen3_embedding_model.py`, with one
exception: documents of reranking tasks have no instruction, as the model cards say.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from numpy.typing import NDArray

from ..async_client import AsyncClient
from ..client import Client
from ..contract import ServedInfo
from ..options import ClientOptions, Kind
from ..prompts import prefix_of, query_prompt
from .extra import missing
from .sentence_transformers import SentenceTransformer
from .server import Connected, Server, check_arguments

try:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.abs_encoder import AbsEncoder
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.types import Array, BatchedInput, EncodeKwargs, PromptType
    from torch.utils.data import DataLoader
    from typing_extensions import Unpack
except ImportError as error:
    raise missing("mteb") from error

__all__ = ["Instructions", "Qwen3CrossEncoder", "Qwen3Encoder", "qwen_instructions"]

Instructions: TypeAlias = Mapping[str, str | Mapping[str, str]]

# The instruction for all texts of all tasks of a type.
_INSTRUCTION_OF_TYPE = {
    "STS": "Retrieve semantically similar text",
    "PairClassification": "Retrieve semantically similar text",
    "BitextMining": "Retrieve parallel sentences",
}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@cache
def qwen_instructions() -> Instructions:
    """Return Qwen's instruction for each task of MTEB, by the task's name.

    An instruction is for the queries, or for all texts if the task does not distinguish queries from documents. Three
    retrieval tasks whose documents resemble queries have one for each kind, under "query" and "document".
    """
    data = json.loads(resources.files(__package__).joinpath("mteb_instructions.json").read_text("utf-8"))
    return MappingProxyType(data["instructions"])


class Qwen3Encoder(Connected, AbsEncoder):
    """An encoder for `mteb`, which embeds the texts of tasks with Qwen3-Embedding on a Triton server.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        instructions: instructions by the task's name, which replace those of Qwen.
        dimensions: length of the vectors, one that the model allows (MRL); None for the model's.

    Attributes:
        model: the object that embeds the texts.

    Raises:
        InvalidInputError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        instructions: Instructions | None = None,
        dimensions: int | None = None,
    ) -> None:
        check_arguments(dimensions=dimensions)
        self._server = Server(server, client=client)
        self._instructions = dict(instructions or {})
        self.model = SentenceTransformer(client=self._server.client, truncate_dim=dimensions)

    @property
    def mteb_model_meta(self) -> ModelMeta:  # type: ignore[override] # there an attribute; here the server must be asked
        """The description of the served model that `mteb` stores with its results."""
        info = self._server.client.info()
        return _meta(
            info,
            embed_dim=self.model.get_sentence_embedding_dimension(),
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=info.query_prompt is None,
        )

    def get_instruction(self, task_metadata: TaskMetadata, prompt_type: PromptType | None) -> str:
        """Return the instruction for texts of a task; "" for none."""
        instruction = _instruction(self._instructions, task_metadata, prompt_type)
        if instruction is not None:
            return instruction
        prompt = task_metadata.prompt
        if isinstance(prompt, Mapping) and prompt_type is None:
            return str(prompt.get("query", ""))
        return super().get_instruction(task_metadata, prompt_type)  # that of the task, or of its type

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,  # noqa: ARG002 - mteb's
        hf_subset: str,  # noqa: ARG002
        prompt_type: PromptType | None = None,
        **kwargs: Unpack[EncodeKwargs],
    ) -> Array:
        """Embed the texts of a task.

        Args:
            inputs: batches with the texts under "text".
            task_metadata: the task.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: whether the texts are queries or documents; None if the task does not distinguish them.
            kwargs: `batch_size`, `show_progress_bar` and `precision`, as for `SentenceTransformer.encode`.

        Returns:
            float32 `[n, d]`, unit norm, unless `precision` says otherwise.
        """
        vectors: NDArray[Any] = self.model.encode(
            _texts(inputs),
            prompt=self._prompt(task_metadata, prompt_type),
            normalize_embeddings=True,
            **cast("dict[str, Any]", kwargs),
        )
        return vectors

    def _prompt(self, task_metadata: TaskMetadata, prompt_type: PromptType | None) -> str:
        """Return what goes before texts of a task: its instruction, or what the model states."""
        info = self._server.client.info()
        if info.query_prompt is not None:
            if own := self._instructions.get(task_metadata.name):
                prefix_of(info, "query", instruction=str(own))  # refuses it
            kind: Kind = "document" if prompt_type == PromptType.document else "query"
            return "" if prompt_type is None else prefix_of(info, kind)
        instruction = self.get_instruction(task_metadata, prompt_type)
        if instruction:
            return query_prompt("", instruction=instruction)
        return info.document_prompt if prompt_type == PromptType.document else ""


class Qwen3CrossEncoder(Connected):
    """A cross-encoder for `mteb`, which scores the pairs of reranking tasks with Qwen3-Reranker on a Triton server.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        instructions: instructions by the task's name, which replace those of Qwen. A task without an instruction gets
            the model's default.

    Raises:
        InvalidInputError: an argument cannot be used. (Calls raise every `Qwen3ClientError`.)
    """

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        instructions: Instructions | None = None,
    ) -> None:
        self._server = Server(server, client=client)
        self._instructions = dict(instructions or {})

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """The description of the served model that `mteb` stores with its results."""
        return _meta(self._server.client.reranker_info(), model_type=["cross-encoder"])

    def predict(
        self,
        inputs1: DataLoader[BatchedInput],
        inputs2: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,  # noqa: ARG002 - mteb's
        hf_subset: str,  # noqa: ARG002
        prompt_type: PromptType | None = None,  # noqa: ARG002
        **kwargs: Unpack[EncodeKwargs],  # noqa: ARG002 - the server forms the batches, and scores are float32
    ) -> Array:
        """Score pairs of a query and a document.

        Args:
            inputs1: batches with the queries under "text".
            inputs2: batches with as many documents under "text".
            task_metadata: the task.
            hf_split: not used.
            hf_subset: not used.
            prompt_type: not used.
            kwargs: not used.

        Returns:
            float32 `[n]`, for each pair the probability that the document meets the query.
        """
        pairs = list(zip(_texts(inputs1), _texts(inputs2), strict=True))
        instruction = _instruction(self._instructions, task_metadata, None)
        takes_one = self._server.client.reranker_info().takes_instruction
        return self._server.client.score(pairs, instruction=(instruction or None) if takes_one else None)


def _instruction(own: Instructions, task: TaskMetadata, prompt_type: PromptType | None) -> str | None:
    """Return the instruction for texts of a task: "" for none, None if neither the caller nor Qwen has an entry."""
    entry = own.get(task.name)
    if entry is None:
        entry = _INSTRUCTION_OF_TYPE.get(task.type)
        if entry is not None:
            return entry
        entry = qwen_instructions().get(task.name)
    if isinstance(entry, Mapping):
        return entry.get("query" if prompt_type is None else prompt_type.value, "")
    return "" if prompt_type == PromptType.document else entry


def _texts(inputs: DataLoader[BatchedInput]) -> list[str]:
    return [text for batch in inputs for text in cast("Mapping[str, list[str]]", batch)["text"]]


def _meta(info: ServedInfo, **more: object) -> ModelMeta:
    """Return a description with which results differ from those of the checkpoint and of other precisions."""
    is_on_hub = _HUB_ID.fullmatch(info.source) is not None
    meta: ModelMeta = ModelMeta.create_empty(
        {
            "name": info.source if is_on_hub else f"qwen3-triton/{info.model_family}-{info.model_size}",
            "revision": info.revision or "unknown",
            "max_tokens": info.max_tokens,
            "framework": ["ONNX", "API"],
            "use_instructions": True,
            "experiment_kwargs": {"server": "qwen3-triton", "precision": info.precision},
            **more,
        }
    )
    return meta
