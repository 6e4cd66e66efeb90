"""Embed texts with Qwen3-Embedding, and rank them with Qwen3-Reranker, on a Triton server.

    from qwen3_client import Client, similarity

    with Client("localhost:8001") as client:
        queries = client.encode_query(["What is the capital of China?"])
        documents = client.encode_document(["The capital of China is Beijing.", "Gravity is a force."])
        best = client.rank("What is the capital of China?", ["Beijing.", "Gravity is a force."], top_k=1)
    print(similarity(queries, documents))  # float32 [1, 2], higher is closer
    print(best[0].index, best[0].score)  # position among the documents, P(yes)

The client turns text into token ids, adds what the model expects around it, sends one request per text or pair so
that the server can batch them, and cuts vectors to fewer dimensions. What it needs to know about the models it
reads from the server. Every error it raises is a `Qwen3ClientError`.

`AsyncClient` has the same methods, to be awaited.

Read on in this order: `_client`, `_core`, `_prompts`, `_served_model`, `_tokenizer`, `_connection`, `_transport`,
`_vectors`, `_ranking`.
"""

import importlib

__version__ = "0.1.0"  # the one place: the distribution, the command and the gateway read it here

TYPE_CHECKING = False  # as type checkers know it; importing typing would take longer than all of this
if TYPE_CHECKING:
    from ._async_client import AsyncClient
    from ._client import Client
    from ._contract import ModelInfo, RerankerInfo
    from ._credentials import Tls
    from ._errors import (
        ContractMismatchError,
        EmptyTextError,
        InferenceError,
        InvalidInputError,
        Qwen3ClientError,
        RefusedError,
        ServerOverloadedError,
        ServerTimeoutError,
        ServerUnavailableError,
        TextTooLongError,
        TokenizerUnavailableError,
    )
    from ._quantisation import Calibration, dequantise, quantise
    from ._ranking import Judgement, RankedDocument
    from ._vectors import similarity

__all__ = [
    "AsyncClient",
    "Calibration",
    "Client",
    "ContractMismatchError",
    "EmptyTextError",
    "InferenceError",
    "InvalidInputError",
    "Judgement",
    "ModelInfo",
    "Qwen3ClientError",
    "RankedDocument",
    "RefusedError",
    "RerankerInfo",
    "ServerOverloadedError",
    "ServerTimeoutError",
    "ServerUnavailableError",
    "TextTooLongError",
    "Tls",
    "TokenizerUnavailableError",
    "dequantise",
    "quantise",
    "similarity",
]

# The module of each name, loaded when the name is first asked for. The command, whose modules are in this package too,
# then starts in a fraction of the time, and answers Ctrl-C from the start.
_MODULES = {
    "AsyncClient": "_async_client",
    "Calibration": "_quantisation",
    "Client": "_client",
    "ContractMismatchError": "_errors",
    "EmptyTextError": "_errors",
    "InferenceError": "_errors",
    "InvalidInputError": "_errors",
    "Judgement": "_ranking",
    "ModelInfo": "_contract",
    "Qwen3ClientError": "_errors",
    "RankedDocument": "_ranking",
    "RefusedError": "_errors",
    "RerankerInfo": "_contract",
    "ServerOverloadedError": "_errors",
    "ServerTimeoutError": "_errors",
    "ServerUnavailableError": "_errors",
    "Tls": "_credentials",
    "TextTooLongError": "_errors",
    "TokenizerUnavailableError": "_errors",
    "dequantise": "_quantisation",
    "quantise": "_quantisation",
    "similarity": "_vectors",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
