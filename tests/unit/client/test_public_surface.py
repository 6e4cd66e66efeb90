"""What users import, and what importing it costs."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import qwen3_client
from qwen3_client import transports

SOURCE = Path(qwen3_client.__file__).parent
MODULES = sorted(
    m.name.removeprefix("qwen3_client.")
    for m in pkgutil.walk_packages([str(SOURCE)], "qwen3_client.")
    if ".integrations" not in m.name and not m.name.endswith("__main__")
)

_ONLY_ONE = ("on_running_loop", "over")  # clients of the two kinds are made of one another, and of an event loop


def test_the_public_surface_is_pinned() -> None:
    assert qwen3_client.__all__ == [
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
    assert transports.__all__ == ["BlockingTransport", "FakeRequest", "FakeTransport", "Outputs", "Transport"]
    for client in (qwen3_client.Client, qwen3_client.AsyncClient):
        assert [name for name in dir(client) if name not in _ONLY_ONE and not name.startswith("_")] == [
            "close",
            "encode_document",
            "encode_query",
            "encode_stream",
            "encode_tokens",
            "from_options",
            "info",
            "is_ready",
            "rank",
            "reranker_info",
            "score",
            "score_tokens",
            "token_rows",
            "token_rows_of_pairs",
            "tokenize",
            "tokenize_pairs",
        ]


def test_both_clients_take_the_same_arguments() -> None:
    for name in ["__init__", *(name for name in dir(qwen3_client.Client) if not name.startswith("_"))]:
        if name not in ("encode_stream", *_ONLY_ONE):  # the asynchronous one takes asynchronous iterables too
            plain, awaited = (
                inspect.signature(getattr(client, name)) for client in (qwen3_client.Client, qwen3_client.AsyncClient)
            )
            assert plain == awaited, name


def test_the_package_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert importlib.import_module(f"qwen3_client.{name}").__doc__


def test_one_module_imports_tritonclient_and_none_imports_another_package_of_the_project() -> None:
    importers = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names.append(node.module or "")
            roots = {name.split(".")[0] for name in names}
            assert not roots & {"qwen3_export", "qwen3_serve"}, path.name
            if "tritonclient" in roots:
                importers.append(path.name)
    assert set(importers) == {"grpc.py"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        (
            "import qwen3_client",
            "torch transformers onnx onnxruntime tritonclient grpc gevent aiohttp tokenizers huggingface_hub tqdm "
            "pyarrow langchain_core llama_index haystack mteb sentence_transformers",
        ),
        (
            "from qwen3_client import Client; Client('http://localhost:8000').close()",
            "torch transformers onnx onnxruntime tritonclient grpc gevent aiohttp",
        ),
        ("from qwen3_client import Client; Client().close()", "torch transformers onnx onnxruntime gevent aiohttp"),
        (
            "import qwen3_client.cli.embed, qwen3_client.cli.rerank, qwen3_client.cli.main",
            "tokenizers tqdm tritonclient grpc",
        ),
    ],
)
def test_importing_loads_nothing_heavy(code: str, absent: str) -> None:
    check = f"{code}\nimport sys; print(*sorted(set({absent.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([], "")
