"""Embed texts with Qwen3-Embedding on a Triton server.

    from qwen3_client import Client, similarity

    with Client("localhost:8001") as client:
        queries = client.encode_query(["What is the capital of China?"])
        documents = client.encode_document(["The capital of China is Beijing.", "Gravity is a force."])
    print(similarity(queries, documents))  # float32 [1, 2], higher is closer

The client turns text into token ids, adds the query's instruction, sends one request per text so that the
server can batch them, and cuts vectors to fewer dimensions. What it needs to know about the model it reads
from the server. Every error it raises is a `Qwen3ClientError`.

Read on in this order: `_client`, `_prompts`, `_tokenizer`, `_transport`, `_vectors`.
"""

from ._client import Client
from ._contract import ModelInfo
from ._errors import (
    ContractMismatchError,
    InferenceError,
    InvalidInputError,
    Qwen3ClientError,
    ServerOverloadedError,
    ServerTimeoutError,
    ServerUnavailableError,
    TokenizerUnavailableError,
)
from ._vectors import similarity

__all__ = [
    "Client",
    "ContractMismatchError",
    "InferenceError",
    "InvalidInputError",
    "ModelInfo",
    "Qwen3ClientError",
    "ServerOverloadedError",
    "ServerTimeoutError",
    "ServerUnavailableError",
    "TokenizerUnavailableError",
    "similarity",
]
