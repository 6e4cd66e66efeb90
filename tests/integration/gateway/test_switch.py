"""A model that is replaced behind a gateway: every answer is of the old space or of the new one, and says of which."""

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from qwen3_client import Client
from qwen3_client.cli.main import main
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings
from support.checkpoints import Shape, make_checkpoint
from support.gateway import running, wait_until

TEXTS = [f"the text {i} {'tree ' * i}" for i in range(40)]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two with the same weights and other tokenizers, and one of another size."""
    folder = tmp_path_factory.mktemp("checkpoints")
    first = make_checkpoint(folder / "first", Shape(), seed=1)
    path = shutil.copytree(first, folder / "tokenizer") / "tokenizer.json"
    content = json.loads(path.read_text())
    ids = content["model"]["vocab"]
    ids["e"], ids["t"] = ids["t"], ids["e"]
    path.write_text(json.dumps(content))
    return [first, path.parent, make_checkpoint(folder / "dimensions", Shape(hidden=128), seed=3)]


def replace(checkpoint: Path, repository: Path) -> None:
    export(str(checkpoint), repository=repository, kind="embedding", force=True)


@pytest.fixture
def triton(checkpoints: list[Path], tmp_path: Path) -> Iterator[Triton]:
    replace(checkpoints[0], tmp_path)
    with Triton(tmp_path, threads=1) as server:
        yield server


def all_of_the_last(seen: list[str], fingerprint: str) -> bool:
    return seen[-4:] == [fingerprint] * 4


def is_served(http: httpx.Client, checkpoint: Path) -> bool:
    return bool(http.get("/info").json()["model_id"] == str(checkpoint))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_every_answer_says_of_which_space_it_is(
    checkpoints: list[Path], triton: Triton, tmp_path: Path, protocol: str
) -> None:
    url = triton.grpc_url if protocol == "grpc" else triton.http_url
    expected: dict[str, NDArray[np.float32]] = {}
    seen: list[str] = []
    unready: list[int] = []
    stop = threading.Event()
    with (
        running(Settings(triton=url, readiness_s=0.05)) as gateway,
        httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http,
        ThreadPoolExecutor(2) as pool,
    ):
        answers: list[tuple[str, NDArray[np.float32]]] = []

        def embed() -> None:
            while not stop.is_set():
                answer = http.post("/v1/embeddings", json={"model": "qwen3_embedding", "input": TEXTS})
                assert answer.status_code == 200, answer.text
                rows = np.array([entry["embedding"] for entry in answer.json()["data"]], np.float32)
                seen.append(answer.headers["x-model-fingerprint"])
                answers.append((seen[-1], rows))
                ready = http.get("/ready").status_code
                if ready != 200:
                    unready.append(ready)

        load = [pool.submit(embed) for _ in range(2)]
        try:
            for step, checkpoint in enumerate(checkpoints):
                if step:
                    replace(checkpoint, tmp_path)
                    assert main(["reload", "--url", triton.grpc_url]) == 0
                with Client(triton.grpc_url) as client:
                    fingerprint = client.info().fingerprint
                    assert fingerprint is not None
                    expected[fingerprint] = client.encode_document(TEXTS)
                wait_until(partial(all_of_the_last, seen, fingerprint), what="the old model answers")
                wait_until(partial(is_served, http, checkpoint), what="/info has the old model")
                tokens = http.post("/tokenize", json={"inputs": "e"}).json()[0]
                assert tokens[0]["text"] == "e"
                assert tokens[0]["id"] == json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]["e"]
        finally:
            stop.set()
        for each in load:
            each.result()
    assert not unready
    assert set(seen) == set(expected)
    for fingerprint, rows in answers:
        np.testing.assert_array_equal(rows, expected[fingerprint])
