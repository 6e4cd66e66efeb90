"""A model that is replaced under its name while clients run: every vector is of the old space or of the new one."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpc
from numpy.typing import NDArray
from qwen3_client import Client, ContractMismatchError, ModelChangedError
from qwen3_client.bulk.corpus import Block
from qwen3_client.bulk.unfinished import UnfinishedBlocks
from qwen3_client.cli.main import main
from qwen3_client.fingerprint import as_number
from qwen3_export import export
from qwen3_serve import Triton
from support.checkpoints import Shape, make_checkpoint
from support.wire import Wire

TEXTS = [f"the text {i} {'tree ' * i}" for i in range(24)]
PAIRS = [("a tree", text) for text in TEXTS[:6]]
ANYTHING = "Find anything"

Rows = NDArray[np.float32]


class Space:
    """What one checkpoint makes of the texts, on a server of its own."""

    def __init__(self, checkpoint: Path, repository: Path) -> None:
        self.checkpoint = str(checkpoint)
        export(self.checkpoint, repository=repository, kind="embedding")
        with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as client:
            info = client.info()
            assert info.fingerprint is not None
            self.fingerprint, self.dimensions = info.fingerprint, info.dimensions
            self.vectors = client.encode_document(TEXTS)

    def export(self, repository: Path) -> None:
        export(self.checkpoint, repository=repository, kind="embedding", force=True)


def with_other_ids(checkpoint: Path, *, swap: str) -> Path:
    """Exchange the ids of two characters in the tokenizer of a checkpoint."""
    path = checkpoint / "tokenizer.json"
    content = json.loads(path.read_text())
    ids = content["model"]["vocab"]
    ids[swap[0]], ids[swap[1]] = ids[swap[1]], ids[swap[0]]
    path.write_text(json.dumps(content))
    return checkpoint


@pytest.fixture(scope="module")
def spaces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Space]:
    folder = tmp_path_factory.mktemp("spaces")
    first = make_checkpoint(folder / "first", Shape(), seed=1)
    checkpoints = {
        "first": first,
        "tokenizer": with_other_ids(shutil.copytree(first, folder / "tokenizer"), swap="et"),
        "weights": make_checkpoint(folder / "weights", Shape(), seed=2),
        "dimensions": make_checkpoint(folder / "dimensions", Shape(hidden=128), seed=3),
    }
    found = {name: Space(path, folder / f"{name} repository") for name, path in checkpoints.items()}
    assert len({space.fingerprint for space in found.values()}) == len(found)
    assert np.abs(found["first"].vectors - found["tokenizer"].vectors).max() > 0.01
    return found


@pytest.fixture
def repository(spaces: dict[str, Space], tmp_path: Path) -> Path:
    spaces["first"].export(tmp_path)
    return tmp_path


class Load:
    """Threads that embed the texts over and over; the space of each call's vectors, in order, by thread."""

    def __init__(self, urls: list[str], spaces: list[Space]) -> None:
        self.calls: list[list[str]] = [[] for _ in urls]
        self._urls, self._spaces = urls, spaces
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(len(urls))

    def __enter__(self) -> "Load":
        self._running = [self._pool.submit(self._run, index) for index in range(len(self._urls))]
        return self

    def stop(self) -> None:
        self._stopped.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._pool.shutdown()
        for running in self._running:
            running.result()

    def _run(self, index: int) -> None:
        with Client(self._urls[index]) as client:
            while not self._stopped.is_set():
                vectors = client.encode_document(TEXTS)
                matching = [space for space in self._spaces if np.array_equal(vectors, space.vectors)]
                assert len(matching) == 1, "vectors of no space, or of two"
                self.calls[index].append(matching[0].fingerprint)

    def wait_for(self, space: Space) -> None:
        """Wait until each thread has had two more calls in a space."""
        counts = [len(calls) for calls in self.calls]
        until(
            lambda: all(
                calls[count:].count(space.fingerprint) >= 2 and calls[-1] == space.fingerprint
                for calls, count in zip(self.calls, counts, strict=True)
            ),
            self._running,
        )


def until(condition: Callable[[], bool], running: Sequence["Future[None]"] = ()) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        for each in running:
            assert not each.done(), each.exception()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def reload(triton: Triton) -> None:
    assert main(["reload", "--url", triton.grpc_url]) == 0


@pytest.mark.parametrize("change", ["tokenizer", "weights", "dimensions"])
def test_every_call_is_of_one_space_through_a_reload(spaces: dict[str, Space], repository: Path, change: str) -> None:
    old, new = spaces["first"], spaces[change]
    with Triton(repository, threads=1) as triton, Load([triton.grpc_url, triton.http_url] * 2, [old, new]) as load:
        load.wait_for(old)
        new.export(repository)
        load.wait_for(old)
        reload(triton)
        load.wait_for(new)
    for calls in load.calls:
        assert calls == sorted(calls, key=[old.fingerprint, new.fingerprint].index), "back to the old one"


def test_and_through_a_restart(spaces: dict[str, Space], repository: Path) -> None:
    old, new = spaces["first"], spaces["tokenizer"]
    with ExitStack() as stack:
        with Triton(repository, threads=1) as triton:
            urls = [triton.grpc_url, triton.http_url]
            load = stack.enter_context(Load(urls, [old, new]))
            load.wait_for(old)
        new.export(repository)
        grpc_port, http_port = (int(url.rpartition(":")[2]) for url in urls)
        with Triton(repository, threads=1, grpc_port=grpc_port, http_port=http_port):
            load.wait_for(new)
            load.stop()


@pytest.fixture
def switched(spaces: dict[str, Space], repository: Path) -> Iterator[tuple[Triton, Client, Callable[[], None]]]:
    """A client that has embedded with the first model, and a function that replaces this by another tokenizer's."""
    with Triton(repository, threads=1) as triton, Client(triton.grpc_url) as client:
        np.testing.assert_array_equal(client.encode_document(TEXTS), spaces["first"].vectors)

        def switch() -> None:
            spaces["tokenizer"].export(repository)
            reload(triton)

        yield triton, client, switch


def test_a_client_that_expects_a_fingerprint_refuses_the_new_model(
    spaces: dict[str, Space], switched: tuple[Triton, Client, Callable[[], None]]
) -> None:
    triton, _, switch = switched
    expected = spaces["first"].fingerprint
    with Client(triton.http_url, expected_fingerprint=expected) as client:
        client.encode_document("text")
        switch()
        for _ in range(2):
            with pytest.raises(ContractMismatchError, match=f"but {expected} is expected"):
                client.encode_document("text")


def test_a_stream_ends_where_the_model_changes(
    spaces: dict[str, Space], switched: tuple[Triton, Client, Callable[[], None]]
) -> None:
    triton, _, switch = switched
    with Client(triton.grpc_url, concurrency=4) as client:
        stream = client.encode_stream(TEXTS)
        rows = [next(stream)]
        switch()
        with pytest.raises(ModelChangedError, match=spaces["tokenizer"].fingerprint) as caught:
            rows += stream
        assert caught.value.answered == spaces["tokenizer"].fingerprint
        np.testing.assert_array_equal(np.stack(rows), spaces["first"].vectors[: len(rows)])
        np.testing.assert_array_equal(np.stack([*client.encode_stream(TEXTS)]), spaces["tokenizer"].vectors)


def test_token_ids_are_for_one_model_and_reload_says_what_changed(
    spaces: dict[str, Space],
    switched: tuple[Triton, Client, Callable[[], None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, client, switch = switched
    old = client.info().fingerprint
    new = spaces["tokenizer"].fingerprint
    rows = client.tokenize(TEXTS, fingerprint=old)
    np.testing.assert_array_equal(client.encode_tokens(rows, fingerprint=old), spaces["first"].vectors)
    switch()
    said = capsys.readouterr().out
    assert f"  fingerprint: {new}, was {old}\n" in said
    assert "  tokenizer_sha256: " in said
    assert "model_sha256" not in said, "only the tokenizer changed"
    with pytest.raises(ModelChangedError):
        client.encode_tokens(rows)  # which the client takes for token ids of the model that it knows
    for call in (lambda: client.encode_tokens(rows, fingerprint=old), lambda: client.tokenize(TEXTS, fingerprint=old)):
        with pytest.raises(ModelChangedError, match=f"now, not {old}"):
            call()


def test_an_edited_instruction_becomes_known(
    repository: Path, switched: tuple[Triton, Client, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    triton, client, _ = switched
    before, query = client.info(), client.encode_query("text")
    config = repository / "qwen3_embedding" / "configs" / "embedded.pbtxt"
    config.write_text(config.read_text().replace(before.default_instruction, ANYTHING))
    reload(triton)
    monkeypatch.setattr("qwen3_client.current_model._MAX_AGE_S", 0.0)
    until(lambda: client.info().default_instruction == ANYTHING)
    assert client.info().fingerprint != before.fingerprint
    assert np.abs(client.encode_query("text") - query).max() > 0


def test_any_client_may_ask_which_model_answered(spaces: dict[str, Space], repository: Path) -> None:
    with Triton(repository, threads=1) as triton:
        wire = Wire(triton.grpc_url)
        try:
            ids = grpc.InferInput("input_ids", [2, 3], "INT64")
            ids.set_data_from_numpy(np.ones((2, 3), np.int64))
            answer = wire.client.infer(wire.model, [ids], outputs=[grpc.InferRequestedOutput("fingerprint")])
        finally:
            wire.close()
    assert answer.as_numpy("fingerprint").tolist() == [[as_number(spaces["first"].fingerprint)]] * 2


def test_a_bulk_run_stops_and_mixes_nothing(
    spaces: dict[str, Space],
    switched: tuple[Triton, Client, Callable[[], None]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    triton, _, switch = switched
    corpus, output = tmp_path / "corpus.txt", tmp_path / "vectors.npy"
    corpus.write_text("".join(f"{text}\n" for text in TEXTS))
    finished: list[int] = []
    real = UnfinishedBlocks.finished

    def and_switch(self: UnfinishedBlocks, block: Block) -> None:
        real(self, block)
        finished.append(block.stop)
        if len(finished) == 1:
            switch()

    monkeypatch.setattr(UnfinishedBlocks, "finished", and_switch)
    command = ["embed", str(corpus), "--output", str(output), "--block-rows", "4", "--url", triton.grpc_url]
    assert main([*command, "--text-column", "text"]) == 1
    said = capsys.readouterr().err
    assert f"but {spaces['first'].fingerprint} is expected" in said
    assert not output.exists()
    assert len(finished) < len(TEXTS) // 4
