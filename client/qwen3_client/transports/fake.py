"""`FakeTransport`, which answers without a server, for tests of programs that use the client.

    from qwen3_client import Client
    from qwen3_client.transports import FakeTransport

    transport = FakeTransport(dimensions=1024)
    with Client(transport=transport) as client:
        vector = client.encode_document("text")  # float32 [1024], unit norm, the same for the same text
    print(len(transport.requests))  # 1

Only the network and the model are replaced: texts are checked, tokenized, batched and cut as they are for a real
server. The tokenizer is a small one that needs no download. It has one token for each byte of UTF-8. This module knows
nothing about protocols.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import EMBEDDING_NAME, INPUT_NAME, INPUT_TYPE, LOGIT_NAME, OUTPUT_TYPE, SCORE_NAME
from ..errors import Qwen3ClientError, UnknownModelError
from ..options import Priority
from .base import Outputs

_TOKENIZER = Path(__file__).with_name("fake_tokenizer")
_EOS_TOKEN_ID = 256  # after the 256 bytes
_VOCABULARY = 257


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FakeRequest:
    """A request that reached a `FakeTransport`.

    Attributes:
        model: name of the model.
        input_ids: int64 `[b, n]`, the token ids of b texts.
        priority: its priority, "interactive" or "bulk".
    """

    model: str
    input_ids: NDArray[np.int64]
    priority: Priority


class FakeTransport:
    """A `Transport` to an embedding model and a reranker whose answers are pseudorandom numbers.

    An answer depends only on the token ids, so equal texts get equal vectors and scores. Override `vector` and `logit`
    to return answers of your own.

    Args:
        dimensions: length of the vectors.
        max_tokens: maximum number of tokens that the models take. Each byte of a text is one token, and the template of
            a reranker's prompt has about 300.
        configs: Triton configs of models, as JSON, to use in place of the embedding model and the reranker.

    Attributes:
        requests: the requests for inference, in the order in which they arrived, including those that got `failure`.
        failure: an error that every further request for inference raises; None, the initial value, for no error.
    """

    def __init__(
        self,
        *,
        dimensions: int = 1024,
        max_tokens: int = 32768,
        configs: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        if configs is None:
            configs = [_embedding_config(dimensions, max_tokens), _reranker_config(max_tokens)]
        self.configs = {str(config["name"]): config for config in configs}
        self.requests: list[FakeRequest] = []
        self.failure: Qwen3ClientError | None = None

    def vector(self, input_ids: NDArray[np.int64], *, dimensions: int) -> NDArray[np.float32]:
        """Return the vector of a text.

        Args:
            input_ids: int64 `[n]`, the whole prompt.
            dimensions: length of the model's vectors.

        Returns:
            float32 `[dimensions]`, unit norm.
        """
        numbers = _random(input_ids).standard_normal(dimensions)
        unit: NDArray[np.float32] = (numbers / np.linalg.norm(numbers)).astype(np.float32)
        return unit

    def logit(self, input_ids: NDArray[np.int64]) -> float:
        """Return the logit of a pair. Its score is the sigmoid of the logit.

        Args:
            input_ids: int64 `[n]`, the whole prompt.
        """
        return float(_random(input_ids).normal(scale=4))

    async def infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        """See `Transport.infer`."""
        config = await self.model_config(model, timeout_s=timeout_s)
        self.requests.append(FakeRequest(model=model, input_ids=input_ids, priority=priority))
        if self.failure is not None:
            raise self.failure
        if EMBEDDING_NAME in outputs:
            (output,) = config["output"]
            rows = [self.vector(ids, dimensions=int(output["dims"][0])) for ids in input_ids]
            return {EMBEDDING_NAME: np.stack(rows)}
        logits = np.array([[self.logit(ids)] for ids in input_ids], np.float32)
        scores = np.array([[0.5 * (1 + math.tanh(logit / 2))] for (logit,) in logits.tolist()], np.float32)
        return {SCORE_NAME: scores, LOGIT_NAME: logits}

    async def models(self, *, timeout_s: float) -> list[str]:  # noqa: ARG002
        """See `Transport.models`."""
        return sorted(self.configs)

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:  # noqa: ARG002
        """See `Transport.model_config`."""
        if model not in self.configs:
            raise UnknownModelError(f"the fake server has no model {model!r}; it has {', '.join(self.configs)}")
        return self.configs[model]

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:  # noqa: ARG002
        """See `Transport.is_ready`."""
        return model in self.configs

    async def index(self, *, timeout_s: float) -> list[dict[str, Any]]:  # noqa: ARG002
        """See `Transport.index`."""
        return [{"name": name, "version": "1", "state": "READY"} for name in self.configs]

    async def server_version(self, *, timeout_s: float) -> str:  # noqa: ARG002
        """See `Transport.server_version`."""
        return "2.51.0 (fake)"

    async def is_server_ready(self, *, timeout_s: float) -> bool:  # noqa: ARG002
        """See `Transport.is_server_ready`."""
        return True

    async def load(self, model: str, *, timeout_s: float) -> None:
        """See `Transport.load`."""
        await self.model_config(model, timeout_s=timeout_s)

    async def close(self) -> None:
        """See `Transport.close`."""


def _random(input_ids: NDArray[np.int64]) -> np.random.Generator:
    digest = hashlib.sha256(np.ascontiguousarray(input_ids).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def _embedding_config(dimensions: int, max_tokens: int) -> dict[str, Any]:
    parameters = {
        "model_family": "Qwen3-Embedding",
        "dimensions": str(dimensions),
        "eos_token_id": str(_EOS_TOKEN_ID),
        "default_instruction": "Given a web search query, retrieve relevant passages that answer the query",
    }
    return _config("qwen3_embedding", {EMBEDDING_NAME: dimensions}, parameters, max_tokens)


def _reranker_config(max_tokens: int) -> dict[str, Any]:
    parameters = {
        "model_family": "Qwen3-Reranker",
        "default_instruction": "Given a web search query, retrieve relevant passages that answer the query",
    }
    return _config("qwen3_reranker", {SCORE_NAME: 1, LOGIT_NAME: 1}, parameters, max_tokens)


def _config(name: str, outputs: Mapping[str, int], parameters: Mapping[str, str], max_tokens: int) -> dict[str, Any]:
    """Return a model's config as Triton returns it over HTTP.

    Args:
        name: name of the model.
        outputs: width of each output tensor, by name.
        parameters: the parameters in which the two models differ.
        max_tokens: maximum number of tokens in a prompt.
    """
    tokenizer = (_TOKENIZER / "tokenizer.json").read_bytes()
    shared = {
        "source": "fake",
        "revision": "",
        "model_size": "fake",
        "precision": "fp32",
        "device": "cpu",
        "vocabulary": str(_VOCABULARY),
        "max_tokens": str(max_tokens),
        "tokenizer": str(_TOKENIZER),
        "tokenizer_sha256": hashlib.sha256(tokenizer).hexdigest(),
        "model_sha256": hashlib.sha256(b"fake").hexdigest(),
    }
    return {
        "name": name,
        "max_batch_size": 64,
        "input": [{"name": INPUT_NAME, "data_type": f"TYPE_{INPUT_TYPE}", "dims": [-1]}],
        "output": [
            {"name": output, "data_type": f"TYPE_{OUTPUT_TYPE}", "dims": [width]} for output, width in outputs.items()
        ],
        "parameters": {key: {"string_value": value} for key, value in {**shared, **parameters}.items()},
    }
