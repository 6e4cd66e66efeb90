"""sentence-transformers: a class with the methods of its `SentenceTransformer`, whose model runs on a server.

    from qwen3_client.integrations.sentence_transformers import SentenceTransformer

    model = SentenceTransformer("localhost:8001")
    queries = model.encode(["What is the capital of China?"], prompt_name="query")
    documents = model.encode(["The capital of China is Beijing."])
    print(model.similarity(queries, documents))  # [1, 1]

To port code that uses `SentenceTransformer("Qwen/Qwen3-Embedding-0.6B")`, change the import and pass the server's URL.
The library itself is not needed, and torch is needed only for tensors. Arguments that have no meaning for a remote
model raise an error.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..async_client import AsyncClient
from ..call_options import Encoding
from ..client import Client
from ..errors import InvalidInputError, Qwen3ClientError
from ..inputs import checked_text
from ..options import ClientOptions
from ..prompts import prefix_of
from ..quantization import quantize
from ..vectors import checked_dimensions, similarity
from .server import Connected, Server, check_arguments
from .tensors import import_torch, is_tensor, unit_vectors

if TYPE_CHECKING:
    import torch

__all__ = ["SentenceTransformer"]

_Precision: TypeAlias = Literal["float32", "binary", "ubinary"]
_Sentences: TypeAlias = str | Sequence[str] | NDArray[np.str_]


class SentenceTransformer(Connected):
    """A model on a Triton server, with the methods of the class of this name in sentence-transformers.

    Args:
        server: URL of the server, such as "localhost:8001", or `ClientOptions` to set more than the URL.
        client: a `Client` or `AsyncClient` to use instead. It stays open.
        prompts: prompts to add to those that `prompt_name` can name. Each is the text to put before a sentence. "query"
            and "document" replace the default ones.
        truncate_dim: number of components to keep of every vector; None for all. `encode` can override it.

    Raises:
        InvalidInputError: an argument cannot be used.
    """

    similarity_fn_name = "cosine"
    default_prompt_name: str | None = None

    def __init__(
        self,
        server: str | ClientOptions | None = None,
        *,
        client: Client | AsyncClient | None = None,
        prompts: Mapping[str, str] | None = None,
        truncate_dim: int | None = None,
    ) -> None:
        check_arguments(dimensions=truncate_dim)
        self._server = Server(server, client=client)
        self._own_prompts = dict(prompts or {})
        self.truncate_dim = truncate_dim

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts by name: "query" and "document", as the model states them, and those of the caller."""
        info = self._server.client.info()
        return {"query": prefix_of(info, "query"), "document": prefix_of(info, "document"), **self._own_prompts}

    @property
    def max_seq_length(self) -> int:
        """The maximum number of tokens in one text. Longer texts are cut at their end."""
        return self._server.client.info().max_tokens

    def get_sentence_embedding_dimension(self) -> int:
        """Return the length of the vectors."""
        return self.truncate_dim or self._server.client.info().dimensions

    get_embedding_dimension = get_sentence_embedding_dimension  # the name since sentence-transformers 5.4

    def encode(
        self,
        sentences: _Sentences,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,  # noqa: FBT001 - the parameters are sentence-transformers'
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: _Precision = "float32",
        convert_to_numpy: bool = True,  # noqa: FBT001, FBT002
        convert_to_tensor: bool = False,  # noqa: FBT001, FBT002
        device: None = None,
        normalize_embeddings: bool = False,  # noqa: FBT001, FBT002
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> Any:  # noqa: ANN401 - an array, a tensor or a list of tensors, as the arguments say
        """Embed sentences.

        Args:
            sentences: one text, or several.
            prompt_name: the name of the prompt to put before each text; None for none.
            prompt: the prompt to put before each text, in place of a named one.
            batch_size: at least 1. It has no effect, because the server forms the batches.
            show_progress_bar: whether to show a progress bar on stderr.
            output_value: only "sentence_embedding".
            precision: "float32"; or "binary" or "ubinary", one bit per component, as int8 or uint8 `[n, d / 8]`.
            convert_to_numpy: whether to return a numpy array instead of a list of tensors.
            convert_to_tensor: whether to return one tensor instead.
            device: only None, because the server chooses its device.
            normalize_embeddings: whether vectors are normalised. Those of a model with Normalize have norm 1 anyway,
                unless they are cut.
            truncate_dim: number of components to keep, one that the model allows; None for `truncate_dim` of the
                constructor.
            pool: only None.
            chunk_size: only None.

        Returns:
            float32 `[d]` for one text, `[n, d]` for several, in their order; `[d / 8]` and `[n, d / 8]` with bits.

        Raises:
            InvalidInputError: an argument cannot be used, or has no meaning for a remote model.
            ImportError: tensors are requested, but torch is not installed.
            Qwen3ClientError: the first failure, in the order of the sentences.
        """
        _refuse_unless(output_value == "sentence_embedding", f"output_value={output_value!r}", "pooled vectors")
        _refuse_unless(device is None, f"device={device!r}", "vectors from the device that the server uses")
        _refuse_unless(pool is None and chunk_size is None, "pool= and chunk_size=", "vectors from one process")
        if precision not in ("float32", "binary", "ubinary"):
            raise InvalidInputError(
                f"precision must be 'float32', 'binary' or 'ubinary', not {precision!r}: 8-bit codes depend on the "
                "texts of their calibration, so encode as float32, and quantize all vectors with one calibration"
            )
        if type(batch_size) is not int or batch_size < 1:
            raise InvalidInputError(f"batch_size must be a whole number of at least 1, not {batch_size!r}")
        texts = [sentences] if isinstance(sentences, str) else sentences
        rows = self._rows(
            [_checked_sentence(text, index=index) for index, text in enumerate(texts)],
            prefix=self._prefix(prompt=prompt, prompt_name=prompt_name),
            dimensions=self.truncate_dim if truncate_dim is None else truncate_dim,
            is_normalised=normalize_embeddings,
            show_progress_bar=bool(show_progress_bar),
        )
        vectors: NDArray[Any] = rows if precision == "float32" else quantize(rows, precision)
        if convert_to_numpy and not convert_to_tensor:
            return vectors[0] if isinstance(sentences, str) else vectors
        tensor = import_torch().from_numpy(vectors)
        if isinstance(sentences, str):
            return tensor[0]
        return tensor if convert_to_tensor else list(tensor)

    def encode_query(
        self,
        sentences: _Sentences,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,  # noqa: FBT001 - as above
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: _Precision = "float32",
        convert_to_numpy: bool = True,  # noqa: FBT001, FBT002
        convert_to_tensor: bool = False,  # noqa: FBT001, FBT002
        device: None = None,
        normalize_embeddings: bool = False,  # noqa: FBT001, FBT002
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> Any:  # noqa: ANN401 - as above
        """Embed as `encode` does, with the prompt "query" unless another is given."""
        return self.encode(
            sentences,
            "query" if prompt is None and prompt_name is None else prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            output_value,
            precision,
            convert_to_numpy,
            convert_to_tensor,
            device,
            normalize_embeddings,
            truncate_dim,
            pool,
            chunk_size,
        )

    def encode_document(
        self,
        sentences: _Sentences,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,  # noqa: FBT001 - as above
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: _Precision = "float32",
        convert_to_numpy: bool = True,  # noqa: FBT001, FBT002
        convert_to_tensor: bool = False,  # noqa: FBT001, FBT002
        device: None = None,
        normalize_embeddings: bool = False,  # noqa: FBT001, FBT002
        truncate_dim: int | None = None,
        pool: None = None,
        chunk_size: None = None,
    ) -> Any:  # noqa: ANN401 - as above
        """Embed as `encode` does, with the prompt "document" unless another is given."""
        return self.encode(
            sentences,
            "document" if prompt is None and prompt_name is None else prompt_name,
            prompt,
            batch_size,
            show_progress_bar,
            output_value,
            precision,
            convert_to_numpy,
            convert_to_tensor,
            device,
            normalize_embeddings,
            truncate_dim,
            pool,
            chunk_size,
        )

    def similarity(self, embeddings1: "ArrayLike | torch.Tensor", embeddings2: "ArrayLike | torch.Tensor") -> Any:  # noqa: ANN401 - a tensor where one was given, else an array
        """Return the cosine of every vector of one side with every vector of the other, `[n, m]`."""
        scores = similarity(unit_vectors(embeddings1), unit_vectors(embeddings2))
        return import_torch().from_numpy(scores) if is_tensor(embeddings1) or is_tensor(embeddings2) else scores

    def similarity_pairwise(
        self, embeddings1: "ArrayLike | torch.Tensor", embeddings2: "ArrayLike | torch.Tensor"
    ) -> Any:  # noqa: ANN401 - as above
        """Return the cosine of each vector of one side with the vector of the other at the same index, `[n]`."""
        left, right = unit_vectors(embeddings1), unit_vectors(embeddings2)
        if left.shape != right.shape:
            raise InvalidInputError(f"pairs need equal shapes, not {list(left.shape)} and {list(right.shape)}")
        scores: NDArray[np.float32] = (left * right).sum(axis=-1)
        return import_torch().from_numpy(scores) if is_tensor(embeddings1) or is_tensor(embeddings2) else scores

    def _prefix(self, *, prompt: str | None, prompt_name: str | None) -> str:
        if prompt is not None and prompt_name is not None:
            raise InvalidInputError("prompt= and prompt_name= contradict each other: give one")
        if prompt_name is None:
            return prompt or ""
        prompts = self.prompts
        if prompt_name not in prompts:
            raise InvalidInputError(f"there is no prompt {prompt_name!r}, only {', '.join(map(repr, prompts))}")
        return prompts[prompt_name]

    def _rows(
        self, texts: Sequence[str], *, prefix: str, dimensions: int | None, is_normalised: bool, show_progress_bar: bool
    ) -> NDArray[np.float32]:
        """Embed the prefix with each text, float32 `[n, d]`."""
        from tqdm import tqdm

        client = self._server.client
        info = client.info()
        kept = checked_dimensions(dimensions, info=info)
        # As in sentence-transformers, a cut vector is not normalised again unless the caller asks for it.
        rows = np.empty((len(texts), kept if is_normalised else info.dimensions), np.float32)
        sent = [index for index, text in enumerate(texts) if text]
        how = Encoding(kind="document", prefix=prefix, dimensions=rows.shape[1])
        stream = client._encode_stream((texts[index] for index in sent), how)
        try:
            with tqdm(total=len(sent), unit=" texts", disable=not show_progress_bar) as bar:
                for index, row in zip(sent, stream, strict=True):
                    rows[index] = row
                    bar.update()
        except Qwen3ClientError as error:
            if error.index is None:
                raise
            # The client counts only the texts that were sent, the caller all of them.
            raise error.about("text", sent[error.index]) from error.__cause__
        if len(sent) < len(texts):
            # The client refuses empty texts. The library embeds an empty text as its prompt and the end token.
            empty = [index for index, text in enumerate(texts) if not text]
            if prefix:
                alone = Encoding(kind="document", prefix="", dimensions=rows.shape[1])
                rows[empty] = next(client._encode_stream([prefix], alone))
            else:
                rows[empty] = client.encode_tokens([[info.eos_token_id]], dimensions=rows.shape[1])
        rows = np.ascontiguousarray(rows[:, :kept])
        return unit_vectors(rows) if is_normalised and not info.is_normalized else rows


def _checked_sentence(sentence: object, *, index: int) -> str:
    """Return a text, which may be empty here."""
    return "" if sentence == "" else checked_text(sentence, index=index)


def _refuse_unless(is_possible: bool, argument: str, instead: str) -> None:  # noqa: FBT001 - a call reads as a sentence
    if not is_possible:
        raise InvalidInputError(f"a remote model does not support {argument}: leave it out to get {instead}")
