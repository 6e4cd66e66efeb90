"""Zero-downtime updates on a real Triton: new versions, rollbacks and exports in place, under load."""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import Client, ContractMismatchError
from qwen3_client.cli.main import main
from qwen3_client.fingerprint import is_fingerprint
from qwen3_export import export
from qwen3_serve import ServeError, Triton
from qwen3_serve.triton.hosts import Host, hosts
from support.checkpoints import Shape, make_checkpoint

NAME = "qwen3_embedding"
TEXTS = [f"text {'x' * (7 * i)}" for i in range(6)]
THREADS = 4

Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two of one shape and tokenizer, with other weights."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return [str(make_checkpoint(folder / str(seed), Shape(), seed=seed)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def expected(checkpoints: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Rows]:
    """What either makes of the texts, each on a server of its own."""
    rows = []
    for checkpoint in checkpoints:
        repository = tmp_path_factory.mktemp("alone")
        export(checkpoint, repository=repository, kind="embedding")
        with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as client:
            rows.append(client.encode_document(TEXTS))
    assert np.abs(rows[0] - rows[1]).max() > 0.01
    return rows


@pytest.fixture
def repository(checkpoints: list[str], tmp_path: Path) -> Path:
    """A repository with the first as version 1."""
    export(checkpoints[0], repository=tmp_path, kind="embedding")
    return tmp_path


class Load:
    """Threads that embed the texts over and over, through both protocols; which checkpoint answered each, in order."""

    def __init__(self, triton: Triton, expected: list[Rows]) -> None:
        self.answers: list[list[int]] = [[] for _ in range(THREADS)]
        self._urls = [triton.grpc_url, triton.http_url]
        self._expected = expected
        self._stopped = threading.Event()

    def run(self, thread: int) -> None:
        # No second tries: a request that fails is to be seen.
        with Client(self._urls[thread % 2], retry_s=0) as client:
            while not self._stopped.is_set():
                for text, row in enumerate(client.encode_document(TEXTS)):
                    matches = [k for k, rows in enumerate(self._expected) if np.array_equal(row, rows[text])]
                    assert len(matches) == 1, "a vector that is neither version's"
                    self.answers[thread].append(matches[0])

    def stop(self) -> None:
        self._stopped.set()

    def wait_for(self, checkpoint: int) -> None:
        """Wait until each thread got three more rounds, the last of them from a checkpoint."""
        counts = [len(answers) for answers in self.answers]
        deadline = time.monotonic() + 60
        while not all(
            len(answers) >= count + 3 * len(TEXTS) and answers[-1] == checkpoint
            for answers, count in zip(self.answers, counts, strict=True)
        ):
            assert time.monotonic() < deadline, "no answers"
            time.sleep(0.01)


@contextmanager
def under_load(triton: Triton, expected: list[Rows]) -> Iterator[Load]:
    """Clients at work; any failure of theirs is raised at the end."""
    load = Load(triton, expected)
    with ThreadPoolExecutor(THREADS) as pool:
        threads = [pool.submit(load.run, thread) for thread in range(THREADS)]
        try:
            yield load
        finally:
            load.stop()
        for thread in threads:
            thread.result()


def reload(*arguments: str) -> int:
    return main(["reload", *arguments])


def status(*arguments: str) -> int:
    return main(["status", *arguments])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_new_version_takes_over_without_a_failed_request(
    repository: Path, checkpoints: list[str], expected: list[Rows], capsys: pytest.CaptureFixture[str]
) -> None:
    with Triton(repository, threads=1) as triton:
        with under_load(triton, expected) as load:
            load.wait_for(0)
            export(checkpoints[1], repository=repository, kind="embedding", version=2)
            load.wait_for(0)  # exported is not loaded
            assert reload("--url", triton.grpc_url) == 0
            load.wait_for(1)
            until(lambda: set(hosts(triton.pid)) == {Host(model=NAME, version="2")})
            load.wait_for(1)
        for answers in load.answers:
            assert answers == sorted(answers), "the old version answered after the new one"
            assert set(answers) == {0, 1}
        time.sleep(1.2)  # the watch over the hosts looks every half second
        assert triton.models()[NAME]["source"] == checkpoints[1]
    assert f"{NAME}: version 2 (fp32) ready after" in capsys.readouterr().out
    with Triton(repository, threads=1, check="full") as triton, Client(triton.grpc_url) as client:
        np.testing.assert_array_equal(client.encode_document(TEXTS), expected[1])


def test_back_to_the_version_before(repository: Path, checkpoints: list[str], expected: list[Rows]) -> None:
    export(checkpoints[1], repository=repository, kind="embedding", version=2)
    config = repository / NAME / "configs" / "embedded.pbtxt"
    newest = config.read_text()
    with Triton(repository, threads=1) as triton, under_load(triton, expected) as load:
        load.wait_for(1)
        config.write_text("version_policy { specific { versions: [ 1 ] } }\n" + newest)
        assert reload(NAME, "--url", triton.http_url) == 0
        load.wait_for(0)
        config.write_text(newest)
        assert reload(NAME, "--url", triton.http_url) == 0
        load.wait_for(1)


def test_a_model_replaced_in_place_answers_until_the_reload_and_after_it(
    repository: Path, checkpoints: list[str], expected: list[Rows]
) -> None:
    with Triton(repository, threads=1) as triton:
        with under_load(triton, expected) as load:
            load.wait_for(0)
            export(checkpoints[1], repository=repository, kind="embedding", force=True)
            load.wait_for(0)
            assert reload("--url", triton.grpc_url) == 0
            load.wait_for(1)
        time.sleep(1.2)
        assert triton.models()[NAME]["source"] == checkpoints[1]


def test_a_version_that_does_not_load_leaves_the_old_one_at_work(
    repository: Path, checkpoints: list[str], expected: list[Rows], capsys: pytest.CaptureFixture[str]
) -> None:
    with Triton(repository, threads=1) as triton:
        with under_load(triton, expected) as load:
            load.wait_for(0)
            export(checkpoints[1], repository=repository, kind="embedding", version=2)
            for graph in (repository / NAME / "2").glob("*.onnx"):
                graph.write_bytes(b"no graph")
            assert reload("--url", triton.grpc_url) == 1
            load.wait_for(0)
        assert triton.models()
    assert "version 2 is at UNAVAILABLE state" in capsys.readouterr().err
    with pytest.raises(ServeError, match=r"2/model\.onnx has 8 bytes"):
        Triton(repository, threads=1).__enter__()


def test_a_killed_host_of_one_of_two_versions_ends_the_server(
    repository: Path, checkpoints: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    export(checkpoints[1], repository=repository, kind="embedding", version=2)
    config = repository / NAME / "configs" / "embedded.pbtxt"
    config.write_text("version_policy { all { } }\n" + config.read_text())
    with Triton(repository, threads=1) as triton:
        processes = hosts(triton.pid)
        assert set(processes) == {Host(model=NAME, version=version) for version in "12"}
        os.kill(processes[Host(model=NAME, version="1")], signal.SIGKILL)
        triton.wait()
    assert "the process of qwen3_embedding, version 1, was killed" in capfd.readouterr().err


def test_a_model_that_the_server_does_not_know(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Triton(repository, threads=1) as triton:
        for url in (triton.grpc_url, triton.http_url):
            assert reload("another", "--url", url) == 2
            assert "no model another in the server's repository; it holds: qwen3_embedding\n" in capsys.readouterr().err


def test_a_model_that_was_exported_since_is_loaded_and_one_without_weights_is_not(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Triton(repository, threads=1) as triton:
        shutil.copytree(repository / NAME, repository / "empty", ignore=shutil.ignore_patterns("1", "manifest.json"))
        for url in (triton.grpc_url, triton.http_url):
            name = f"qwen3_reranker_{'http' if url.startswith('http') else 'grpc'}"
            export("tiny", repository=repository, kind="reranker", precision="int8", name=name)
            assert reload("--url", url) == 0, "without --repository it loads what it can be sure of"
            said = capsys.readouterr().out
            assert f"{name}: not loaded; `qwen3-triton reload {name}` loads it if it was exported" in said
            assert reload("--url", url, "--repository", str(repository)) == 0
            said = capsys.readouterr().out
            assert "empty: not loaded" in said
            assert f"{NAME}: version 1 (fp32) ready after" in said
            line = next(line for line in said.splitlines() if line.startswith(name))
            assert line.startswith(f"{name}: version 1 (int8) ready after")
            assert line.endswith(" s; it was not loaded before")
            assert status(url) == 0, "the folder without weights was left alone"
            said = capsys.readouterr().out
            assert said.startswith(f"Triton {triton.server_version()} at ")
            rows = {words[0]: words[1:] for words in map(str.split, said.splitlines()[3:])}
            assert rows["empty"] == ["-", "-", "-", "-", "-", "-", "not", "loaded"]
            assert rows[name][:6] == ["1", "Qwen3-Reranker", "tiny", "int8", "-", "2048"]
            assert (is_fingerprint(rows[name][6]), rows[name][7:]) == (True, ["ready"])
            assert (rows[NAME][0], rows[NAME][3], rows[NAME][-1]) == ("1", "fp32", "ready")
        for graph in (repository / NAME / "1").glob("*.onnx"):
            graph.write_bytes(b"no graph")
        (repository / NAME / "1" / "model.py").touch()
        assert reload("--url", triton.http_url, NAME, name) == 1
        assert f"{name}: version 1 (int8) ready" in capsys.readouterr().out, "one failure keeps no other from loading"
        with Client(triton.grpc_url, reranker="other") as client, pytest.raises(ContractMismatchError) as caught:
            client.rank("a", ["b"])
        assert str(caught.value) == (
            "the server has no model 'other'; its rerankers are: qwen3_reranker_grpc, qwen3_reranker_http; "
            "name one of them with reranker="
        )
    assert status(triton_url := f"127.0.0.1:{_free_port()}") == 1
    assert f"no Triton answers at grpc://{triton_url}" in capsys.readouterr().err


def test_model_control_may_need_a_key(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--grpc-restricted-protocol=model-repository:admin-key=sesame",
        "--http-restricted-api=model-repository:admin-key=sesame",
    ]
    keys = tmp_path / "headers.txt"
    with Triton(repository, threads=1, arguments=arguments) as triton:
        for url, name in ((triton.grpc_url, "triton-grpc-protocol-admin-key"), (triton.http_url, "admin-key")):
            assert reload(NAME, "--url", url) == 1
            assert "denies this client access" in capsys.readouterr().err
            keys.write_text(f"{name}: sesame\n")
            assert reload(NAME, "--url", url, "--header-file", str(keys)) == 0
            assert "version 1 (fp32) ready" in capsys.readouterr().out
        keys.write_text("sesame\n")
        assert reload(NAME, "--url", triton.grpc_url, "--header-file", str(keys)) == 2
        assert "is not 'name: value'" in capsys.readouterr().err
