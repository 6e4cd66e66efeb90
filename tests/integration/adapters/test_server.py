"""What all integrations share: which client they use, what they close, and the error for a missing library."""

import asyncio
import copy
import dataclasses
import importlib
import json
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import AsyncClient, Client, ClientOptions, InvalidInputError, Qwen3ClientError, Tls
from qwen3_client.integrations.langchain import Qwen3Embeddings
from qwen3_client.integrations.server import Server, check_arguments, options_from, secrets_of, without_secrets

BEARER = "open sesame"
LIBRARIES = {
    "langchain": ("langchain", "langchain_core"),
    "llama_index": ("llama-index", "llama_index"),
    "haystack": ("haystack", "haystack"),
    "mteb": ("mteb", "mteb"),
    "ray": ("bulk", "pyarrow"),
}


def test_both_clients_share_one_connection(url: str, client: Client) -> None:
    expected = client.encode_document("text")
    own = Server(url)

    async def encode() -> NDArray[np.float32]:
        return await own.async_client.encode_document("text")

    for _ in range(2):  # two event loops
        np.testing.assert_array_equal(asyncio.run(encode()), expected)
    np.testing.assert_array_equal(own.client.encode_document("text"), expected)
    own.close()
    own.close()
    with pytest.raises(Qwen3ClientError, match="closed"):
        own.client.encode_document("text")
    with pytest.raises(Qwen3ClientError, match="closed"):
        asyncio.run(encode())


def test_closing_can_be_awaited(url: str) -> None:
    own = Server(url)
    own.client.encode_document("text")
    asyncio.run(own.aclose())
    with pytest.raises(Qwen3ClientError, match="closed"):
        own.client.encode_document("text")


def test_a_ready_client_of_either_kind_is_used_and_stays_open(url: str, client: Client) -> None:
    expected = client.encode_document("text")

    async def use() -> None:
        async with AsyncClient(url) as ready:
            borrowed = Server(None, client=ready)
            assert borrowed.async_client is ready
            np.testing.assert_array_equal(await asyncio.to_thread(borrowed.client.encode_document, "text"), expected)
            await borrowed.aclose()
            borrowed.close()
            np.testing.assert_array_equal(await ready.encode_document("text"), expected)

    asyncio.run(use())
    borrowed = Server(None, client=client)
    assert borrowed.client is client
    np.testing.assert_array_equal(asyncio.run(borrowed.async_client.encode_document("text")), expected)
    borrowed.close()
    asyncio.run(borrowed.aclose())
    np.testing.assert_array_equal(client.encode_document("text"), expected)


def test_exactly_one_of_server_and_client(client: Client) -> None:
    with pytest.raises(InvalidInputError, match="either server="):
        Server(None)
    for given in ("localhost:1", ClientOptions("localhost:1")):
        with pytest.raises(InvalidInputError, match="server= and client="):
            Server(given, client=client)
    with pytest.raises(InvalidInputError, match="not str"):
        Server(None, client="localhost:8001")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="pass the Client as client="):
        Server(client)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="not int"):
        Server(8001)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="ftp"):
        Server("ftp://localhost")


def test_a_context_manager_closes(url: str, client: Client) -> None:
    with Qwen3Embeddings(url) as embeddings:
        assert embeddings.embed_query("text") == client.encode_query("text").tolist()
    with pytest.raises(Qwen3ClientError, match="closed"):
        embeddings.embed_query("text")
    with Qwen3Embeddings(client=client):
        pass
    assert client.is_ready()


def test_options_are_written_without_secrets_and_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    options = ClientOptions(
        "grpcs://localhost:1",
        model="m",
        reranker="r",
        tokenizer=tmp_path,
        reranker_tokenizer="Qwen/Qwen3-Reranker-0.6B",
        expected_fingerprint="0123456789abcdef",
        expected_reranker_fingerprint="fedcba9876543210",
        timeout_s=7.0,
        retry_s=0.0,
        concurrency=32,
        tls=Tls(ca=tmp_path / "ca.pem"),
        token=BEARER,
        headers={"x-tenant": BEARER},
    )
    assert secrets_of(options) == ["token", "headers"]
    plain = without_secrets(options)
    assert isinstance(plain, dict)
    assert plain == json.loads(json.dumps(plain))
    expected = dataclasses.replace(
        options, tokenizer=str(tmp_path), tls=Tls(ca=str(tmp_path / "ca.pem")), token=None, headers=None
    )
    assert options_from(plain) == expected
    assert secrets_of(expected) == []
    assert {field.name for field in dataclasses.fields(ClientOptions)} == {*plain, "token", "headers"}
    assert without_secrets("localhost:8001") == "localhost:8001"
    assert without_secrets(None) is None


def test_arguments_are_checked_without_a_server() -> None:
    check_arguments(instruction="Find it", dimensions=32, top_n=1)
    check_arguments(dimensions=np.int64(32), top_n=np.int64(1))  # type: ignore[arg-type]
    for instruction in ("", 3):
        with pytest.raises(InvalidInputError, match="instruction"):
            check_arguments(instruction=instruction)  # type: ignore[arg-type]
    for dimensions in (31, 64.0, True):
        with pytest.raises(InvalidInputError, match="at least 32"):
            check_arguments(dimensions=dimensions)  # type: ignore[arg-type]
    for top_n in (0, 1.0, True):
        with pytest.raises(InvalidInputError, match="top_n"):
            check_arguments(top_n=top_n)  # type: ignore[arg-type]


def test_a_pickled_integration_opens_a_connection_of_its_own(url: str) -> None:
    options = ClientOptions(url, token=BEARER, concurrency=3)
    embeddings = Qwen3Embeddings(options, instruction="Find it", dimensions=32)
    expected = embeddings.embed_query("text")
    copied: Server = pickle.loads(pickle.dumps(Server(options)))  # noqa: S301 - our own bytes
    assert copied.options == options
    for twin in (pickle.loads(pickle.dumps(embeddings)), copy.deepcopy(embeddings)):  # noqa: S301 - our own bytes
        embeddings.close()
        assert twin.embed_query("text") == expected
        twin.close()


def test_a_ready_client_is_not_pickled(client: Client) -> None:
    with pytest.raises(InvalidInputError, match="make it with server="):
        pickle.dumps(Server(None, client=client))


def test_importing_the_package_imports_no_library() -> None:
    libraries = ["langchain_core", "llama_index", "haystack", "mteb", "sentence_transformers", "torch", "pydantic"]
    modules = ["qwen3_client", "qwen3_client.integrations", "qwen3_client.integrations.sentence_transformers"]
    check = f"import sys, {', '.join(modules)}; print(*sorted(set({libraries}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([], "")


@pytest.mark.parametrize("integration", LIBRARIES)
def test_a_missing_library_names_the_extra(integration: str) -> None:
    extra, library = LIBRARIES[integration]
    code = f"import sys; sys.modules[{library!r}] = None; import qwen3_client.integrations.{integration}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith(f"pip install 'qwen3-triton[{extra}]'")


def test_every_integration_has_a_test() -> None:
    import qwen3_client.integrations

    (folder,) = qwen3_client.integrations.__path__
    public = {path.stem for path in Path(folder).glob("*.py") if "\n__all__ = " in path.read_text("utf-8")}
    assert public == {*LIBRARIES, "sentence_transformers"}
    # Ray's have a tier of their own, tests/integration/ray.
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in public - {"ray"})


@pytest.mark.parametrize(
    ("integration", "shown"),
    [
        ("langchain", "len(best)"),
        ("llama_index", "len(best)"),
        ("haystack", "len(best)"),
        ("sentence_transformers", "model.similarity(queries, documents).size"),
    ],
)
def test_the_example_of_its_docstring_runs(integration: str, shown: str, url: str) -> None:
    doc = importlib.import_module(f"qwen3_client.integrations.{integration}").__doc__
    assert doc is not None
    example = textwrap.dedent("\n".join(line for line in doc.splitlines() if line.startswith("    ")))
    assert "localhost:8001" in example
    names: dict[str, object] = {}
    exec(example.replace("localhost:8001", url), names)  # noqa: S102 - our own words
    assert eval(shown, names) == 1  # noqa: S307 - our own words
