"""Embed texts with Qwen3-Embedding, and rank them with Qwen3-Reranker, on a Triton server.

    from qwen3_client import Client, similarity

    with Client("localhost:8001") as client:
        queries = client.encode_query(["What is the capital of China?"])
        documents = client.encode_document(["The capital of China is Beijing.", "Gravity is a force."])
        best = client.rank("What is the capital of China?", ["Beijing.", "Gravity is a force."], top_k=1)
    print(similarity(queries, documents))  # float32 [1, 2], higher is closer
    print(best[0].index, best[0].score)  # index among the documents, P(yes)

The client turns text into token ids, adds what the model expects around it, sends one request per text or pair so
that the server can batch them, and cuts vectors to fewer dimensions. It reads what it needs to know about the models
from the server. Every error that it raises is a `Qwen3ClientError`.

`AsyncClient` has the same methods as coroutines.

A call passes through the modules `client`, `async_client`, `current_model`, `served_model`, `session` and one of
`transports`, in this order, and none of them calls back into the one before it.
"""

import importlib

__version__ = "0.1.0"  # the only copy: the distribution, the command and the gateway read this one

TYPE_CHECKING = False  # type checkers take it for true; importing typing would take longer than the rest of this module
if TYPE_CHECKING:
    from .added_tokens import text_tokenizer
    from .async_client import AsyncClient
    from .client import Client
    from .contract import ModelInfo, RerankerInfo
    from .errors import (
        ContractMismatchError,
        EmptyTextError,
        InferenceError,
        InvalidInputError,
        ModelChangedError,
        Qwen3ClientError,
        RefusedError,
        ServerOverloadedError,
        ServerTimeoutError,
        ServerUnavailableError,
        TextTooLongError,
        TokenizerUnavailableError,
        TooManyTokensError,
        UnknownModelError,
    )
    from .options import (
        ClientOptions,
        Kind,
        Priority,
        Tls,
        Truncate,
    )
    from .quantization import Calibration, dequantize, quantize
    from .ranking import Judgement, RankedDocument
    from .tokenizer import TokenRow
    from .vectors import similarity

__all__ = [
    "AsyncClient",
    "Calibration",
    "Client",
    "ClientOptions",
    "ContractMismatchError",
    "EmptyTextError",
    "InferenceError",
    "InvalidInputError",
    "Judgement",
    "Kind",
    "ModelChangedError",
    "ModelInfo",
    "Priority",
    "Qwen3ClientError",
    "RankedDocument",
    "RefusedError",
    "RerankerInfo",
    "ServerOverloadedError",
    "ServerTimeoutError",
    "ServerUnavailableError",
    "TextTooLongError",
    "Tls",
    "TokenRow",
    "TokenizerUnavailableError",
    "TooManyTokensError",
    "Truncate",
    "UnknownModelError",
    "dequantize",
    "quantize",
    "similarity",
    "text_tokenizer",
]

# The module that defines each name, imported when the name is first used. Importing all of them here would slow down
# the start of the command, whose modules are in this package too, and it could not respond to Ctrl-C meanwhile.
_MODULES = {
    "AsyncClient": "async_client",
    "Calibration": "quantization",
    "Client": "client",
    "ClientOptions": "options",
    "ContractMismatchError": "errors",
    "EmptyTextError": "errors",
    "InferenceError": "errors",
    "InvalidInputError": "errors",
    "ModelChangedError": "errors",
    "Judgement": "ranking",
    "Kind": "options",
    "ModelInfo": "contract",
    "Priority": "options",
    "Qwen3ClientError": "errors",
    "RankedDocument": "ranking",
    "RefusedError": "errors",
    "RerankerInfo": "contract",
    "ServerOverloadedError": "errors",
    "ServerTimeoutError": "errors",
    "ServerUnavailableError": "errors",
    "TextTooLongError": "errors",
    "Tls": "options",
    "TokenRow": "tokenizer",
    "TokenizerUnavailableError": "errors",
    "TooManyTokensError": "errors",
    "Truncate": "options",
    "UnknownModelError": "errors",
    "dequantize": "quantization",
    "quantize": "quantization",
    "similarity": "vectors",
    "text_tokenizer": "added_tokens",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
