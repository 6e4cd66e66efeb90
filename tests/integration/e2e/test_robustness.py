"""Clients against a real Triton that is overloaded, killed, restarted, encrypted, or asked to forget."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import trustme
from qwen3_client import (
    AsyncClient,
    Client,
    ContractMismatchError,
    InvalidInputError,
    RefusedError,
    ServerOverloadedError,
    ServerUnavailableError,
    Tls,
)
from qwen3_client.cli.main import main
from qwen3_client.transports.grpc import GrpcTransport
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.triton.hosts import Host, hosts
from support.wire import Wire, texts_of

LONG = "x" * 2000  # takes the tiny model some ten milliseconds


@pytest.fixture(params=["grpc", "http"])
def protocol(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def url_of(triton: Triton, protocol: str) -> str:
    return f"grpc://{triton.grpc_url}" if protocol == "grpc" else triton.http_url


def waits_in_its_thread(client: Client) -> bool:
    """Return whether the client has sent a request from a caller's thread, on the connection for that."""
    transport = client.async_client._session.transport
    return isinstance(transport, GrpcTransport) and transport._blocking_channel is not None


# --- the two clients ------------------------------------------------------------------------------------------


def test_the_asynchronous_client_gives_the_same(triton: Triton, protocol: str) -> None:
    url = url_of(triton, protocol)
    texts = [f"text {i}" for i in range(150)]
    pairs = [("q", "a"), ("q", "b")]

    async def source() -> AsyncIterator[str]:
        for text in texts:
            yield text

    async def run() -> None:
        async with AsyncClient(url, concurrency=16) as client:
            assert await client.info() == plain.info()
            assert await client.reranker_info() == plain.reranker_info()
            assert await client.is_ready()
            np.testing.assert_array_equal(await client.encode_document(texts), vectors)
            np.testing.assert_array_equal(await client.encode_query("q"), plain.encode_query("q"))
            for stream in (client.encode_stream(texts), client.encode_stream(source())):
                np.testing.assert_array_equal(np.stack([row async for row in stream]), vectors)
            ids = await client.tokenize(texts)
            np.testing.assert_array_equal(await client.encode_tokens(ids), vectors)
            np.testing.assert_array_equal(await client.score(pairs), plain.score(pairs))
            assert await client.rank("q", ["a", "b"]) == plain.rank("q", ["a", "b"])
            assert await client.score_tokens(await client.tokenize_pairs(pairs)) == plain.score_tokens(
                plain.tokenize_pairs(pairs)
            )
            many = await asyncio.gather(*(client.encode_document(text) for text in texts))
            np.testing.assert_array_equal(np.stack(many), vectors)

    with Client(url) as plain:
        vectors = plain.encode_document(texts)
        asyncio.run(run())


def test_one_asynchronous_client_serves_several_event_loops(triton: Triton, protocol: str) -> None:
    client = AsyncClient(url_of(triton, protocol))

    def loop(i: int) -> list[float]:
        row: list[float] = asyncio.run(client.encode_document(f"text {i % 2}")).tolist()
        return row

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(loop, range(8)))
    assert rows[0] == rows[2] == rows[4] != rows[1] == rows[3]
    asyncio.run(client.close())


def test_a_client_works_inside_a_running_loop(triton: Triton) -> None:
    async def run() -> None:
        with Client(triton.grpc_url) as client:
            assert client.encode_document("a").shape == (64,)

    asyncio.run(run())


def test_a_program_that_forgets_to_close_ends_quietly(triton: Triton, protocol: str) -> None:
    code = (
        "import asyncio, sys; from qwen3_client import AsyncClient, Client\n"
        "client = Client(sys.argv[1]); client.encode_document('a')\n"
        "asyncio.run(AsyncClient(sys.argv[1]).encode_document('a'))\n"
        "rows = client.encode_stream(str(i) for i in range(1000)); next(rows)\n"
    )
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code, url_of(triton, protocol)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_forked_child_is_told_to_make_a_client_of_its_own(triton: Triton) -> None:
    code = (
        "import os, sys; from qwen3_client import Client, Qwen3ClientError\n"
        "used, unused = Client(sys.argv[1]), Client(sys.argv[1])\n"
        "expected = used.encode_document('a').tolist()\n"
        "if not os.fork():\n"
        "    try: used.encode_document('a')\n"
        "    except Qwen3ClientError as error: print(error, flush=True)\n"
        "    used.close()\n"
        "    print(unused.encode_document('a').tolist() == expected, flush=True)\n"
        "    unused.close(); os._exit(0)\n"
        "status = os.wait()[1]\n"
        "print(status, used.encode_document('a').tolist() == expected)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, triton.http_url], capture_output=True, text=True, timeout=60, check=True
    )
    said, *rest = done.stdout.splitlines()
    assert "make a new client in the child" in said
    assert rest == ["True", "0 True"]


def test_a_forked_child_of_a_process_that_used_grpc_is_told_what_works(triton: Triton) -> None:
    code = (
        "import os, sys; from qwen3_client import Client, Qwen3ClientError\n"
        "used = Client(sys.argv[1]); used.encode_document(['a', 'b']); expected = used.encode_document('a').tolist()\n"
        "if not os.fork():\n"
        "    try: used.encode_document('a')\n"
        "    except Qwen3ClientError as error: print(error, flush=True)\n"
        "    try: Client(sys.argv[1]).encode_document('a')\n"
        "    except Qwen3ClientError as error: print(error, flush=True)\n"
        "    print(Client(sys.argv[2]).encode_document('a').tolist() == expected, flush=True)\n"
        "    os._exit(0)\n"
        "status = os.wait()[1]\n"
        "print(status, used.encode_document('a').tolist() == expected)\n"
    )
    command = [sys.executable, "-c", code, triton.grpc_url, triton.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    of_used, of_new, *rest = done.stdout.splitlines()
    assert "make a new client in the child" in of_used
    assert "gRPC was used before this process was forked" in of_new
    assert rest == ["True", "0 True"]


def test_a_forked_child_takes_nothing_from_its_parent(triton: Triton) -> None:
    code = (
        "import os, sys; from qwen3_client import Client\n"
        "client = Client(sys.argv[1], timeout_s=20); expected = client.encode_document('a').tolist()\n"
        "if not os.fork():\n"
        "    client = Client(sys.argv[1])\n"
        "    print(client.encode_document('a').tolist() == expected, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(client.encode_document('a').tolist() == expected)\n"
    )
    command = [sys.executable, "-c", code, triton.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_a_handler_at_exit_may_still_use_and_close_a_client(triton: Triton, protocol: str) -> None:
    code = (
        "import atexit, sys; from qwen3_client import Client\n"
        "client = Client(sys.argv[1]); atexit.register(client.close)\n"
        "client.encode_document('a')\n"
    )
    command = [sys.executable, "-c", code, url_of(triton, protocol)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_call_that_waits_in_its_thread_can_be_interrupted_and_closed(repository: Path) -> None:
    code = (
        "import os, signal, sys, threading; from qwen3_client import Client, Qwen3ClientError\n"
        "client = Client(sys.argv[1]); client.encode_document(['a', 'b'])\n"
        "client.encode_document('a')\n"
        "os.kill(int(sys.argv[2]), signal.SIGSTOP)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try: client.encode_document('a')\n"
        "except KeyboardInterrupt: print('interrupted')\n"
        "threading.Timer(0.5, client.close).start()\n"
        "try: client.encode_document('a')\n"
        "except Qwen3ClientError as error: print(error)\n"
    )
    with Triton(repository, threads=1) as triton:
        try:
            command = [sys.executable, "-c", code, triton.grpc_url, str(triton.pid)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        finally:
            os.kill(triton.pid, signal.SIGCONT)
    assert done.stdout == "interrupted\nthis client is closed; make a new one\n"


def test_no_proxy_is_taken_from_the_environment(triton: Triton, protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(url_of(triton, protocol), timeout_s=20) as client:
        assert client.encode_document("a").shape == (64,)


# --- overload -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A Triton whose queue holds four requests, in batches of two."""
    folder = tmp_path_factory.mktemp("narrow")
    export("tiny", repository=folder)
    config = folder / "qwen3_embedding" / "configs" / "embedded.pbtxt"
    text = config.read_text()
    for old, new in (
        ("dynamic_batching { }", "dynamic_batching { default_queue_policy { max_queue_size: 4 } }"),
        ("max_batch_size: 64", "max_batch_size: 2"),
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    with Triton(folder, threads=1) as triton:
        yield triton


def test_a_full_queue_ends_in_waiting(narrow: Triton, protocol: str) -> None:
    texts = [f"{i} {LONG[: 200 * (i % 7)]}" for i in range(60)]  # which take longer to embed than to send
    with Client(url_of(narrow, protocol), concurrency=1) as client:
        alone = client.encode_document(texts)
    with Client(url_of(narrow, protocol), concurrency=64) as client:
        with ThreadPoolExecutor(2) as callers:
            tables = list(callers.map(lambda _: client.encode_document(texts), range(2)))
        assert client.async_client._session._window.limit < 64
    for table in tables:
        np.testing.assert_array_equal(table, alone)


def test_without_retries_a_full_queue_is_an_error(narrow: Triton, protocol: str) -> None:
    with (
        Client(url_of(narrow, protocol), retry_s=0) as client,
        pytest.raises(ServerOverloadedError, match=r"text \d+: .*Exceeds maximum queue size.*max_queue_size"),
    ):
        client.encode_document([LONG] * 300)


def test_cancelling_gives_queued_requests_up_on_the_server(narrow: Triton) -> None:
    async def run() -> None:
        async with AsyncClient(narrow.grpc_url, concurrency=5) as client:
            await client.encode_document("warm")
            before = texts_of(wire.settled_batches())
            call = asyncio.create_task(client.encode_document([LONG] * 2000))
            await asyncio.sleep(0.3)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await client.encode_document("after")  # waits in the queue
            assert texts_of(wire.settled_batches()) - before < 1000, "it still works on them"

    wire = Wire(narrow.grpc_url)
    asyncio.run(run())
    wire.close()


# --- a server that goes and comes back ------------------------------------------------------------------------


def kill(triton: Triton) -> None:
    """End Triton and its hosts as a crash would."""
    os.killpg(os.getpgid(triton.pid), signal.SIGKILL)


def free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        return a.getsockname()[1], b.getsockname()[1]


def test_ten_thousand_texts_survive_a_restart(repository: Path, protocol: str) -> None:
    grpc_port, http_port = free_ports()
    url = f"grpc://127.0.0.1:{grpc_port}" if protocol == "grpc" else f"http://127.0.0.1:{http_port}"

    def serve() -> Triton:
        return Triton(repository, threads=1, grpc_port=grpc_port, http_port=http_port)

    texts = [f"text {i % 100}" for i in range(10_000)]
    rows: list[np.ndarray] = []  # type: ignore[type-arg]
    first, second = serve(), serve()
    restarting = threading.Thread(target=restart, args=(first, second))
    first.__enter__()
    try:
        with Client(url, retry_s=240) as client:
            expected = client.encode_document(texts[:100])
            for row in client.encode_stream(texts):
                rows.append(row)
                if len(rows) == 2000:
                    kill(first)
                    restarting.start()
        restarting.join()
    finally:
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
    assert len(rows) == len(texts)
    np.testing.assert_array_equal(np.stack(rows), np.tile(expected, (100, 1)))


def restart(killed: Triton, anew: Triton) -> None:
    killed.__exit__(None, None, None)
    anew.__enter__()


def test_a_host_that_is_killed_ends_the_server(repository: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Triton(repository, threads=1) as triton:
        processes = hosts(triton.pid)
        assert {host.model for host in processes} == {"qwen3_embedding", "qwen3_reranker"}
        os.kill(processes[Host(model="qwen3_embedding", version="1")], signal.SIGKILL)
        triton.wait()
    assert "the process of qwen3_embedding, version 1, was killed (out of memory?)" in capfd.readouterr().err


def test_a_model_may_be_unloaded(repository: Path) -> None:
    with Triton(repository, threads=1) as triton, Client(triton.http_url, retry_s=0) as client:
        client.encode_document("a")
        unload = f"{triton.http_url}/v2/repository/models/qwen3_embedding/unload"
        urllib.request.urlopen(urllib.request.Request(unload, method="POST"), timeout=30).close()  # noqa: S310
        while any(host.model == "qwen3_embedding" for host in hosts(triton.pid)):
            time.sleep(0.05)
        time.sleep(1.2)  # the watch looks every half second
        assert client.rank("q", ["a"])[0].index == 0
        with pytest.raises((ContractMismatchError, ServerUnavailableError), match="qwen3_embedding"):
            client.encode_document("a")


def test_a_server_that_stays_away_is_an_error_that_names_the_text(repository: Path, protocol: str) -> None:
    with Triton(repository, threads=1) as triton, Client(url_of(triton, protocol), retry_s=1) as client:
        rows = client.encode_stream(str(i) for i in range(1000))
        next(rows)
        kill(triton)
        started = time.monotonic()
        with pytest.raises(ServerUnavailableError, match=r"text \d+: no Triton answers at .* \(tried \d+ times\)"):
            list(rows)
        assert time.monotonic() - started < 30


# --- TLS and headers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and certificates with keys that it vouches for: server.pem, client.pem; other.pem is a stranger."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    for name, leaf in (
        ("server", authority.issue_cert("localhost", "127.0.0.1")),
        ("client", authority.issue_cert("client@example.org")),
    ):
        leaf.private_key_pem.write_to_path(folder / f"{name}.key")
        for i, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(folder / f"{name}.pem", append=i > 0)
    return folder


@pytest.fixture(scope="module")
def encrypted(repository: Path, certificates: Path) -> Iterator[Triton]:
    """A Triton that asks every gRPC client for a certificate."""
    arguments = [
        "--grpc-use-ssl=1",
        "--grpc-use-ssl-mutual=1",
        f"--grpc-server-cert={certificates / 'server.pem'}",
        f"--grpc-server-key={certificates / 'server.key'}",
        f"--grpc-root-cert={certificates / 'ca.pem'}",
    ]
    with Triton(repository, threads=1, arguments=arguments) as triton:
        yield triton


def test_mutual_tls(encrypted: Triton, triton: Triton, certificates: Path) -> None:
    ours = Tls(ca=certificates / "ca.pem", certificate=certificates / "client.pem", key=certificates / "client.key")
    with Client(f"grpcs://{encrypted.grpc_url}", tls=ours) as secure, Client(triton.grpc_url) as plain:
        np.testing.assert_array_equal(secure.encode_document(["a", "b"]), plain.encode_document(["a", "b"]))
        np.testing.assert_array_equal(secure.encode_document("a"), plain.encode_document("a"))
        assert waits_in_its_thread(secure)
    for tls in (
        Tls(ca=certificates / "ca.pem"),  # the server wants to know who we are
        Tls(ca=certificates / "other.pem", certificate=ours.certificate, key=ours.key),  # who is the server?
        None,  # the system's authorities do not know it either
    ):
        with (
            Client(f"grpcs://{encrypted.grpc_url}", tls=tls, timeout_s=10) as client,
            pytest.raises(ServerUnavailableError),
        ):
            client.encode_document("a")


def test_commands_use_certificates_and_a_token(
    encrypted: Triton, certificates: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("secret\n")
    server = ["--url", f"grpcs://{encrypted.grpc_url}", "--token-file", str(tmp_path / "token")]
    tls = [f"--ca={certificates / 'ca.pem'}", f"--certificate={certificates / 'client.pem'}"]
    assert main(["embed", "a", *server, *tls, f"--key={certificates / 'client.key'}"]) == 0
    assert json.loads(capfd.readouterr().out)["index"] == 0
    assert main(["rerank", "q", "a", *server, *tls]) == 1
    assert "--certificate and --key go together" in capfd.readouterr().err


def test_certificates_that_are_none_are_told_at_once(triton: Triton, certificates: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot read ca='/nowhere': there is no such file"):
        Tls(ca="/nowhere")
    with pytest.raises(InvalidInputError, match="together"):
        Tls(certificate=certificates / "client.pem")
    with pytest.raises(InvalidInputError, match="grpcs://"):
        Client(triton.grpc_url, tls=Tls(ca=certificates / "ca.pem"))
    broken = tmp_path / "broken.pem"
    broken.write_text("what?")
    for scheme in ("grpcs", "https"):
        with (
            Client(f"{scheme}://{triton.grpc_url}", tls=Tls(ca=broken)) as client,
            pytest.raises(RefusedError, match="cannot use the certificates"),
        ):
            client.encode_document("a")


def test_headers_arrive(triton: Triton, protocol: str) -> None:
    """Triton itself asks for none unless told to: it can guard gRPC's endpoints with one."""
    with Client(url_of(triton, protocol), token="secret", headers={"X-Team": "search"}) as client:  # noqa: S106
        assert client.encode_document("a").shape == (64,)
        assert "secret" not in repr(client.async_client._session.options)


def test_a_key_in_a_header_opens_guarded_endpoints(repository: Path) -> None:
    arguments = ["--grpc-restricted-protocol=inference,model-config:x-key=sesame"]
    with Triton(repository, threads=1, arguments=arguments) as triton:
        with Client(
            triton.grpc_url, model="qwen3_embedding", headers={"triton-grpc-protocol-x-key": "sesame"}
        ) as client:
            assert client.encode_document(["a", "b"]).shape == (2, 64)
            assert client.encode_document("a").shape == (64,)
            assert waits_in_its_thread(client)
        with (
            Client(triton.grpc_url, model="qwen3_embedding") as client,
            pytest.raises(RefusedError, match="token="),
        ):
            client.encode_document("a")
