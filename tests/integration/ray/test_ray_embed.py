"""examples/ray_embed.py with genuine Ray: the vectors of `embed`, each once, though actors and drivers are killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet
from qwen3_export import export
from qwen3_serve import Triton

pytestmark = pytest.mark.ray

EXAMPLES = Path(__file__).parents[3] / "examples"
# A driver with a Ray of its own, whatever machine it runs on. Blocks are small, so that a kill comes between two.
DRIVER = """
import sys
import ray
ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
import ray_embed
ray_embed.ROWS = 64
sys.exit(ray_embed.main())
"""
# Workers with servers have nothing but `qwen3-triton[bulk]` and Ray: importing anything else fails.
BULK_ONLY = """
import sys
for name in ("onnxruntime", "onnx_ir", "onnxscript", "qwen3_export", "qwen3_serve", "torch", "transformers"):
    sys.modules[name] = None
"""
ROWS = 2000


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    export("tiny", repository=folder)
    return folder


@pytest.fixture(scope="module")
def tritons(repository: Path) -> Iterator[list[Triton]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Triton(repository, threads=1)) for _ in range(2)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small files, which Ray would merge into one block."""
    folder = tmp_path_factory.mktemp("corpus")
    ids = np.arange(ROWS)
    for index, part in enumerate(np.array_split(ids, 4)):
        texts = [f"text {i} " + "long " * (i * 37 % 60) for i in part.tolist()]
        parquet.write_table(pa.table({"id": part, "text": texts}), folder / f"{index}.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(corpus: Path, tritons: list[Triton], tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.float32]:
    """The vectors of `qwen3-triton embed`, by id."""
    folder = tmp_path_factory.mktemp("expected")
    parquet.write_table(parquet.read_table(corpus), folder / "corpus.parquet")
    command = [sys.executable, "-m", "qwen3_client", "embed", str(folder / "corpus.parquet"), "--text-column", "text"]
    command += ["--id-column", "id", "--url", tritons[0].grpc_url, "--output", str(folder / "vectors.parquet")]
    subprocess.run(command, check=True, timeout=250)
    return vectors_in(folder / "vectors.parquet")


def vectors_in(path: Path) -> NDArray[np.float32]:
    """The vectors by id, after checking that each id is there once."""
    table = parquet.read_table(path).combine_chunks()
    assert sorted(table["id"].to_pylist()) == list(range(ROWS))
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 64)
    vectors: NDArray[np.float32] = np.empty((ROWS, 64), np.float32)
    numbers = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 64)
    vectors[table["id"].to_numpy()] = numbers
    return vectors


@pytest.fixture
def bulk_only(tmp_path: Path) -> dict[str, str]:
    """The environment of a driver, which its workers inherit."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BULK_ONLY, "utf-8")
    return {"PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{EXAMPLES}"}


@contextlib.contextmanager
def driver(
    corpus: Path, output: Path, *arguments: str, log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the example, in a group of processes that ends with the test."""
    command = [sys.executable, "-c", DRIVER, str(corpus), str(output), *arguments]
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a driver and all that it started, as the loss of its machine would, and wait until they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(30)
        psutil.wait_procs(family[1:], timeout=30)


def run(corpus: Path, output: Path, *arguments: str, log: Path, environment: dict[str, str]) -> None:
    with driver(corpus, output, *arguments, log=log, environment=environment) as process:
        assert process.wait(280) == 0, log.read_text("utf-8")[-4000:]


def wait_for_files(process: subprocess.Popen[bytes], output: Path, count: int, *, log: Path) -> None:
    """Wait until some blocks are written for good."""
    while len(finished(output)) < count:
        assert process.poll() is None, log.read_text("utf-8")[-4000:]
        time.sleep(0.02)


def finished(output: Path) -> list[Path]:
    """The files that say which rows are written for good."""
    return [path for path in (output / "_done").glob("*.parquet") if ".pending" not in path.name]


def actors_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The actors of a driver that embed."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [each for each in children if "MapWorker(MapBatches(Qwen3Embedder)" in each.name() + str(each.cmdline())]


@pytest.mark.timeout(600)
def test_workers_with_servers_write_each_row_once_though_an_actor_is_killed(
    corpus: Path, tritons: list[Triton], expected: NDArray[np.float32], tmp_path: Path, bulk_only: dict[str, str]
) -> None:
    output, log = tmp_path / "vectors", tmp_path / "log"
    url = ",".join(triton.grpc_url for triton in tritons)
    with driver(corpus, output, "--url", url, log=log, environment=bulk_only) as process:
        wait_for_files(process, output, 2, log=log)
        victims = actors_of(process)
        assert victims
        os.kill(victims[0].pid, signal.SIGKILL)
        assert process.wait(280) == 0, log.read_text("utf-8")[-4000:]
    np.testing.assert_array_equal(vectors_in(output), expected)
    assert len(list(output.glob("*.parquet"))) > ROWS / 64 / 2, "one block of all rows would be written at the end"


@pytest.mark.timeout(600)
def test_a_job_whose_driver_is_killed_goes_on_when_it_is_run_again(
    corpus: Path, tritons: list[Triton], expected: NDArray[np.float32], tmp_path: Path, bulk_only: dict[str, str]
) -> None:
    output, log = tmp_path / "vectors", tmp_path / "log"
    arguments = ["--url", tritons[0].grpc_url]
    with driver(corpus, output, *arguments, log=log, environment=bulk_only) as process:
        wait_for_files(process, output, 2, log=log)
        end(process)
    kept = {path: path.read_bytes() for path in finished(output)}
    assert kept
    assert len(kept) < ROWS / 64, "it was killed too late"
    run(corpus, output, *arguments, log=log, environment=bulk_only)
    np.testing.assert_array_equal(vectors_in(output), expected)
    assert all(path.read_bytes() == content for path, content in kept.items()), "finished rows were embedded again"


@pytest.mark.timeout(600)
def test_workers_without_a_server_make_the_same_bits(
    corpus: Path, repository: Path, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    output = tmp_path / "vectors"
    model = str(repository / "qwen3_embedding")
    run(corpus, output, "--model", model, log=tmp_path / "log", environment={"PYTHONPATH": str(EXAMPLES)})
    np.testing.assert_array_equal(vectors_in(output), expected)


def test_vectors_of_another_model_are_refused(corpus: Path, tritons: list[Triton], tmp_path: Path) -> None:
    output, log = tmp_path / "vectors", tmp_path / "log"
    output.mkdir()
    (output / "_about.json").write_text(json.dumps({"fingerprint": "0" * 16}), "utf-8")
    environment = {"PYTHONPATH": str(EXAMPLES)}
    with driver(corpus, output, "--url", tritons[0].grpc_url, log=log, environment=environment) as process:
        assert process.wait(120) == 1
    assert "has vectors of another model" in log.read_text("utf-8")
