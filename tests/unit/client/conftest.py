"""What the client's tests share: a small genuine tokenizer, models' configs, a transport without a server.

The transport stands in for the network and nothing else: it maps token ids to a vector or a judgement. Everything that
depends on how Triton behaves is tested on a real Triton, in tests/integration/e2e.
"""

import asyncio
import hashlib
import math
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import Client
from qwen3_client.options import Priority
from qwen3_client.transports import FakeTransport, Outputs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

DIMENSIONS = 64
MAX_TOKENS = 128
RERANKER_MAX_TOKENS = 512  # of which the template takes one for each of its bytes


class SlowTransport(FakeTransport):
    """A `FakeTransport` whose answers a test may delay and change, and which counts what it is asked.

    Attributes:
        answer: makes the vector of an embedding model's answer.
        judge: makes the score and the logit of a reranker's.
        delay_s: how long an answer takes.
        most_at_once: most requests that were on their way together.
    """

    def __init__(self, *configs: dict[str, Any]) -> None:
        super().__init__(configs=configs)
        self.index_calls = 0
        self.config_calls = 0
        self.models_asked: list[str] = []
        self.shapes: list[tuple[int, ...]] = []
        self.priorities: list[str] = []
        self.most_at_once = 0
        self.is_closed = False
        self.is_ready_itself = True
        self.delay_s: Callable[[NDArray[np.int64]], float] = lambda _: 0.0
        self.answer: Callable[[NDArray[np.int64]], NDArray[np.float32]] = vector_of
        self.judge: Callable[[NDArray[np.int64]], tuple[float, float]] = judgement_of
        self._at_once = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        return len(self.models_asked)

    async def infer(
        self,
        model: str,
        input_ids: NDArray[np.int64],
        *,
        outputs: Sequence[str],
        priority: Priority,
        timeout_s: float,
    ) -> Outputs:
        assert list(outputs) == [output["name"] for output in self.configs[model]["output"]]
        assert timeout_s > 0
        assert input_ids.dtype == np.int64
        with self._lock:
            self.models_asked.append(model)
            self.shapes.append(input_ids.shape)
            self.priorities.append(priority)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.delay_s(input_ids))
            # In a thread, so that a test's function may wait for something.
            texts = [ids[np.newaxis] for ids in input_ids]
            if "embedding" in outputs:
                return {"embedding": np.concatenate([await asyncio.to_thread(self.answer, ids) for ids in texts])}
            judged = [await asyncio.to_thread(self.judge, ids) for ids in texts]
            columns = zip(*judged, strict=True)
            return {name: np.array(column, np.float32)[:, None] for name, column in zip(outputs, columns, strict=True)}
        finally:
            with self._lock:
                self._at_once -= 1

    async def models(self, *, timeout_s: float) -> list[str]:
        assert timeout_s > 0
        self.index_calls += 1
        return await super().models(timeout_s=timeout_s)

    async def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        assert timeout_s > 0
        self.config_calls += 1
        return await super().model_config(model, timeout_s=timeout_s)

    async def is_server_ready(self, *, timeout_s: float) -> bool:
        assert timeout_s > 0
        return self.is_ready_itself

    async def is_ready(self, model: str, *, timeout_s: float) -> bool:
        assert timeout_s > 0
        return model in self.configs and not self.is_closed

    async def close(self) -> None:
        self.is_closed = True


def vector_of(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """A unit vector that depends on every token and on their order."""
    rng = np.random.default_rng(zlib.crc32(input_ids.tobytes()))
    vector = rng.standard_normal((1, DIMENSIONS))
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


def judgement_of(input_ids: NDArray[np.int64]) -> tuple[float, float]:
    """A score and its logit that depend on every token and on their order; some logits saturate the score."""
    logit = float(np.random.default_rng(zlib.crc32(input_ids.tobytes())).normal(scale=20))
    return 1 / (1 + math.exp(-logit)), logit


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level tokenizer.json: one token per byte, and an end-of-text token, 256.

    It asks for truncation and padding, as the files of real models may.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.enable_truncation(max_length=7)
    tokenizer.enable_padding(length=9)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def config(tokenizer_folder: Path) -> dict[str, Any]:
    """An embedding model's Triton config as it comes over HTTP."""
    parameters = {
        **common_parameters(tokenizer_folder),
        "model_family": "Qwen3-Embedding",
        "dimensions": str(DIMENSIONS),
        "max_tokens": str(MAX_TOKENS),
        "eos_token_id": "256",
    }
    return {
        "name": "qwen3_embedding",
        "input": [{"name": "input_ids", "data_type": "TYPE_INT64", "dims": [-1], "optional": False}],
        "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [DIMENSIONS]}],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }


@pytest.fixture
def reranker_config(tokenizer_folder: Path) -> dict[str, Any]:
    """A reranker's."""
    parameters = {
        **common_parameters(tokenizer_folder),
        "model_family": "Qwen3-Reranker",
        "max_tokens": str(RERANKER_MAX_TOKENS),
    }
    return {
        "name": "qwen3_reranker",
        "input": [{"name": "input_ids", "data_type": "TYPE_INT64", "dims": [-1], "optional": False}],
        "output": [{"name": name, "data_type": "TYPE_FP32", "dims": [1]} for name in ("score", "logit")],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }


def common_parameters(tokenizer_folder: Path) -> dict[str, str]:
    return {
        "source": "tiny",
        "revision": "",
        "model_size": "tiny",
        "precision": "fp32",
        "vocabulary": "257",
        "tokenizer": str(tokenizer_folder),
        "tokenizer_sha256": hashlib.sha256((tokenizer_folder / "tokenizer.json").read_bytes()).hexdigest(),
        "default_instruction": "Find it",
    }


@pytest.fixture
def transport(
    config: dict[str, Any], reranker_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> SlowTransport:
    """The transport of every client of the test, those that commands open included, whatever its URL."""
    slow = SlowTransport(config, reranker_config)
    monkeypatch.setattr("qwen3_client.session.connect", lambda options: slow)  # noqa: ARG005
    return slow


@pytest.fixture
def make_client(transport: SlowTransport, request: pytest.FixtureRequest) -> Callable[..., Client]:
    """Makes clients over `transport` and closes them."""
    assert transport.count == 0

    def make(*, concurrency: int = 4) -> Client:
        client = Client(concurrency=concurrency)
        request.addfinalizer(client.close)
        return client

    return make
