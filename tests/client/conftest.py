"""What the client's tests share: a small genuine tokenizer, a model's config, a transport without a server.

The transport stands in for the network and nothing else: it maps token ids to a vector. Everything that
depends on how Triton behaves is tested on a real Triton, in tests/e2e.
"""

import hashlib
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import Client
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

DIMENSIONS = 64
MAX_TOKENS = 128


class FakeTransport:
    """A `qwen3_client._transport.Transport` that answers from a function of the token ids."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.config_calls = 0
        self.requests = 0
        self.most_at_once = 0
        self.is_closed = False
        self.delay_s: Callable[[NDArray[np.int64]], float] = lambda _: 0.0
        self.answer: Callable[[NDArray[np.int64]], NDArray[np.float32]] = vector_of
        self._at_once = 0
        self._lock = threading.Lock()

    def infer(self, model: str, input_ids: NDArray[np.int64], *, timeout_s: float) -> NDArray[np.float32]:
        assert model == "qwen3_embedding"
        assert timeout_s > 0
        assert input_ids.dtype == np.int64
        with self._lock:
            self.requests += 1
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.delay_s(input_ids))
            return self.answer(input_ids)
        finally:
            with self._lock:
                self._at_once -= 1

    def model_config(self, model: str, *, timeout_s: float) -> dict[str, Any]:
        assert (model, timeout_s > 0) == ("qwen3_embedding", True)
        self.config_calls += 1
        return self.config

    def is_ready(self, model: str, *, timeout_s: float) -> bool:
        assert (model, timeout_s > 0) == ("qwen3_embedding", True)
        return not self.is_closed

    def close(self) -> None:
        self.is_closed = True


def vector_of(input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """A unit vector that depends on every token and on their order."""
    rng = np.random.default_rng(zlib.crc32(input_ids.tobytes()))
    vector = rng.standard_normal((1, DIMENSIONS))
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


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
    """A Triton model config as it comes over HTTP."""
    parameters = {
        "source": "tiny",
        "revision": "",
        "model_family": "qwen3-embedding",
        "model_size": "tiny",
        "precision": "fp32",
        "dimensions": str(DIMENSIONS),
        "max_tokens": str(MAX_TOKENS),
        "tokenizer": str(tokenizer_folder),
        "tokenizer_sha256": hashlib.sha256((tokenizer_folder / "tokenizer.json").read_bytes()).hexdigest(),
        "eos_token_id": "256",
        "default_instruction": "Find it",
    }
    return {
        "name": "qwen3_embedding",
        "input": [{"name": "input_ids", "data_type": "TYPE_INT64", "dims": [-1], "optional": False}],
        "output": [{"name": "embedding", "data_type": "TYPE_FP32", "dims": [DIMENSIONS]}],
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }


@pytest.fixture
def transport(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> FakeTransport:
    """The transport that every `Client` of the test gets, whatever its URL."""
    fake = FakeTransport(config)
    monkeypatch.setattr("qwen3_client._client.connect", lambda address: fake)  # noqa: ARG005
    return fake


@pytest.fixture
def make_client(transport: FakeTransport, request: pytest.FixtureRequest) -> Callable[..., Client]:
    """Makes clients over `transport` and closes them."""
    assert transport.requests == 0

    def make(*, concurrency: int = 4) -> Client:
        client = Client(concurrency=concurrency)
        request.addfinalizer(client.close)
        return client

    return make
