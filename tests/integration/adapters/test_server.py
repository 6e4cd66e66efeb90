"""What all adapters share: which client they use, what they close, and what a missing library says."""

import asyncio
import copy
import importlib
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import AsyncClient, Client, InvalidInputError, Qwen3ClientError, Tls
from qwen3_client.integrations._server import TIMEOUT_S, Server, checked_options
from qwen3_client.integrations.langchain import Qwen3Embeddings

BEARER = "open sesame"
LIBRARIES = {
    "langchain": ("langchain", "langchain_core"),
    "llama_index": ("llama-index", "llama_index"),
    "haystack": ("haystack", "haystack"),
    "mteb": ("mteb", "mteb"),
}


def server(
    url: str | None = None,
    *,
    client: Client | AsyncClient | None = None,
    model: str | None = None,
    timeout_s: float = TIMEOUT_S,
    tls: Tls | None = None,
    token: str | None = None,
) -> Server:
    return Server(
        url, client=client, task="embed", model=model, tokenizer=None, timeout_s=timeout_s, tls=tls, token=token
    )


def test_both_clients_share_one_connection(url: str, client: Client) -> None:
    expected = client.encode_document("text")
    own = server(url)

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
    own = server(url)
    own.client.encode_document("text")
    asyncio.run(own.aclose())
    with pytest.raises(Qwen3ClientError, match="closed"):
        own.client.encode_document("text")


def test_a_ready_client_of_either_kind_is_used_and_stays_open(url: str, client: Client) -> None:
    expected = client.encode_document("text")

    async def use() -> None:
        async with AsyncClient(url) as ready:
            borrowed = server(client=ready)
            assert borrowed.async_client is ready
            np.testing.assert_array_equal(await asyncio.to_thread(borrowed.client.encode_document, "text"), expected)
            await borrowed.aclose()
            borrowed.close()
            np.testing.assert_array_equal(await ready.encode_document("text"), expected)

    asyncio.run(use())
    borrowed = server(client=client)
    assert borrowed.client is client
    np.testing.assert_array_equal(asyncio.run(borrowed.async_client.encode_document("text")), expected)
    borrowed.close()
    asyncio.run(borrowed.aclose())
    np.testing.assert_array_equal(client.encode_document("text"), expected)


def test_exactly_one_of_url_and_client(client: Client) -> None:
    with pytest.raises(InvalidInputError, match="either url="):
        server()
    with pytest.raises(InvalidInputError, match="takes no url="):
        server("localhost:1", client=client)
    with pytest.raises(InvalidInputError, match="takes no model=, token=, timeout_s="):
        server(client=client, model="m", token=BEARER, timeout_s=1.0)
    with pytest.raises(InvalidInputError, match="not str"):
        server(client="localhost:8001")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="ftp"):
        server("ftp://localhost")
    with pytest.raises(InvalidInputError, match="timeout_s"):
        server("localhost:1", timeout_s=0)
    with pytest.raises(InvalidInputError, match="grpcs"):
        server("localhost:1", tls=Tls())


def test_options_are_checked_without_a_server() -> None:
    checked_options(instruction="Find it", dimensions=32, top_n=1)
    checked_options(dimensions=np.int64(32), top_n=np.int64(1))  # type: ignore[arg-type]
    for instruction in ("", 3):
        with pytest.raises(InvalidInputError, match="instruction"):
            checked_options(instruction=instruction)  # type: ignore[arg-type]
    for dimensions in (31, 64.0, True):
        with pytest.raises(InvalidInputError, match="at least 32"):
            checked_options(dimensions=dimensions)  # type: ignore[arg-type]
    for top_n in (0, 1.0, True):
        with pytest.raises(InvalidInputError, match="top_n"):
            checked_options(top_n=top_n)  # type: ignore[arg-type]


def test_a_pickled_adapter_opens_a_connection_of_its_own(url: str) -> None:
    embeddings = Qwen3Embeddings(url, instruction="Find it", dimensions=32)
    expected = embeddings.embed_query("text")
    for twin in (pickle.loads(pickle.dumps(embeddings)), copy.deepcopy(embeddings)):  # noqa: S301 - our own bytes
        embeddings.close()
        assert twin.embed_query("text") == expected
        twin.close()


def test_a_ready_client_is_not_pickled(client: Client) -> None:
    with pytest.raises(InvalidInputError, match="make it with url="):
        pickle.dumps(server(client=client))


def test_importing_the_package_imports_no_library() -> None:
    libraries = ["langchain_core", "llama_index", "haystack", "mteb", "sentence_transformers", "torch", "pydantic"]
    modules = ["qwen3_client", "qwen3_client.integrations", "qwen3_client.integrations.sentence_transformers"]
    check = f"import sys, {', '.join(modules)}; print(*sorted(set({libraries}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([], "")


@pytest.mark.parametrize("adapter", LIBRARIES)
def test_a_missing_library_names_the_extra(adapter: str) -> None:
    extra, library = LIBRARIES[adapter]
    code = f"import sys; sys.modules[{library!r}] = None; import qwen3_client.integrations.{adapter}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith(f"pip install 'qwen3-triton[{extra}]'")


def test_every_adapter_has_a_test() -> None:
    import qwen3_client.integrations

    (folder,) = qwen3_client.integrations.__path__
    public = {path.stem for path in Path(folder).glob("[!_]*.py")}
    assert public == {*LIBRARIES, "sentence_transformers"}
    assert all((Path(__file__).parent / f"test_{name}.py").is_file() for name in public)


@pytest.mark.parametrize(
    ("adapter", "shown"),
    [
        ("langchain", "len(best)"),
        ("llama_index", "len(best)"),
        ("haystack", "len(best)"),
        ("sentence_transformers", "model.similarity(queries, documents).size"),
    ],
)
def test_the_example_of_its_docstring_runs(adapter: str, shown: str, url: str) -> None:
    doc = importlib.import_module(f"qwen3_client.integrations.{adapter}").__doc__
    assert doc is not None
    example = textwrap.dedent("\n".join(line for line in doc.splitlines() if line.startswith("    ")))
    assert "localhost:8001" in example
    names: dict[str, object] = {}
    exec(example.replace("localhost:8001", url), names)  # noqa: S102 - our own words
    assert eval(shown, names) == 1  # noqa: S307 - our own words
