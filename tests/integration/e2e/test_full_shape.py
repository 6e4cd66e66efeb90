"""The slow tier: a random checkpoint of the true 0.6B shape with the genuine vocabulary, through the whole path.

`make test-full` keeps its figures in build/measurements.json; `make measurements` writes docs/measurements.md of them.
Speed and memory at this shape are true; what vectors mean is not tested, for the weights are random.
"""

import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import psutil
import pytest
from qwen3_client import Client
from qwen3_client.prompts import query_prompt
from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
from qwen3_export.packed_directory import DEFAULT_INSTRUCTION
from qwen3_serve import Triton
from support.measure import anonymous_bytes, run_measured
from support.oracle import reference_embeddings
from support.qwen_tokenizer import build_qwen_tokenizer
from support.wire import Wire
from tokenizers import Tokenizer

pytestmark = [pytest.mark.full, pytest.mark.timeout(3000)]

MEASUREMENTS = Path(__file__).parents[3] / "build" / "measurements.json"

MODELS = {"fp32": "qwen3_embedding", "int8": "qwen3_embedding_int8"}

SENTENCES = [
    "What is the capital of China?",
    "The capital of China is Beijing.",
    "Процедура банкротства физических лиц",
    "北京是中华人民共和国的首都。",
    "重力は物体を引き寄せる力です。",
    "La gravité attire les corps les uns vers les autres.",
    "الجاذبية قوة تجذب الأجسام نحو بعضها",
    "def gravity(m1, m2, r):\n    return G * m1 * m2 / r**2",
    "🦜🌍",
    "a",
]


def texts() -> list[str]:
    """32 texts of about 2 to 400 tokens in eight languages and code."""
    random = np.random.default_rng(5)
    made = list(SENTENCES)
    for words in np.geomspace(5, 250, 22).astype(int):
        made.append(" ".join(SENTENCES[i] for i in random.integers(0, len(SENTENCES), max(1, words // 6))))
    return made


class Report:
    """What was measured, each figure with the bound that it was held to."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        libraries = ("onnxruntime", "torch", "transformers", "numpy", "onnx")
        self.versions = {"Python": platform.python_version(), **{library: version(library) for library in libraries}}

    def add(self, what: str, measured: str, bound: str = "") -> None:
        self.rows.append((what, measured, bound))
        print(f"\n  {what}: {measured} {bound}")

    def write(self) -> None:
        kept = {
            "machine": f"{_processor()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
            "versions": self.versions,
            "rows": self.rows,
        }
        MEASUREMENTS.parent.mkdir(exist_ok=True)
        MEASUREMENTS.write_text(json.dumps(kept, indent=2), "utf-8")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    made = Report()
    yield made
    made.write()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_random_checkpoint(folder, published_config("0.6B"))
    build_qwen_tokenizer().save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def repository(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, report: Report) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for precision, name in MODELS.items():
        command = [sys.executable, "-m", "qwen3_client", "export", str(checkpoint), "--repository", str(folder)]
        cost = run_measured([*command, "--name", name, "--precision", precision])
        report.add(f"export {precision}, seconds", f"{cost.seconds:.1f}")
        report.add(f"export {precision}, peak anonymous memory", f"{cost.peak_bytes / 2**20:.0f} MB", "<= 1,500 MB")
        assert cost.peak_bytes <= 1.5e9
        size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        report.add(f"model directory {precision}", f"{size / 1e6:,.0f} MB")
    return folder


@pytest.fixture(scope="module")
def reference(checkpoint: Path) -> npt.NDArray[np.float32]:
    """What transformers makes of every text, as a document: float32 ``[32, 1024]``."""
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    return reference_embeddings(checkpoint, [np.array(tokenizer.encode(text).ids) for text in texts()])


@pytest.mark.parametrize("precision", MODELS)
def test_served_vectors(
    repository: Path,
    reference: npt.NDArray[np.float32],
    report: Report,
    precision: str,
    tmp_path: Path,
) -> None:
    model = MODELS[precision]
    (tmp_path / model).symlink_to(repository / model)
    started = time.monotonic()
    with Triton(tmp_path) as triton, Client(triton.grpc_url, model=model) as client:
        report.add(f"{precision}: Triton ready after", f"{time.monotonic() - started:.1f} s")
        report.versions["Triton"] = triton.server_version()
        batch = texts()
        alone = np.stack([client.encode_document(text) for text in batch])

        cosine = (alone * reference).sum(axis=1).min()
        largest = np.abs(alone - reference).max()
        if precision == "fp32":
            report.add("fp32: smallest cosine with transformers", f"{cosine:.7f}", ">= 0.999999")
            report.add("fp32: largest difference", f"{largest:.1e}", "<= 1e-5")
            assert cosine >= 0.999999
            assert largest <= 1e-5
        else:
            report.add("int8: smallest cosine with transformers fp32", f"{cosine:.5f}", ">= 0.998")
            assert cosine >= 0.998

        def embed(seed: int) -> int:
            order = np.random.default_rng(seed).permutation(len(batch))[:3]
            rows = client.encode_document([batch[i] for i in order])
            return sum(not np.array_equal(row, alone[i]) for row, i in zip(rows, order, strict=True))

        with ThreadPoolExecutor(32) as pool:
            different = sum(pool.map(embed, range(32)))
        report.add(f"{precision}: rows of 96 from 32 clients that differ from the text alone", str(different), "0")
        assert different == 0

        tokenizer = Tokenizer.from_file(str(repository / model / "tokenizer.json"))
        random = np.random.default_rng(7)

        def unseen(tokens: int) -> list[int]:
            """A text that shares nothing with any other, for the server computes once what texts share."""
            ids: list[int] = random.integers(0, 151_643, tokens).tolist()
            return ids

        def seconds(texts: list[list[int]]) -> float:
            started = time.monotonic()
            client.encode_tokens(texts)
            return time.monotonic() - started

        lengths = [len(tokenizer.encode(text).ids) for text in batch]
        rate = sum(lengths) / seconds([unseen(tokens) for tokens in lengths])
        report.add(f"{precision}: 32 texts, {sum(lengths)} tokens", f"{rate:.0f} tokens/s")
        instruction = tokenizer.encode(query_prompt("", instruction=DEFAULT_INSTRUCTION)).ids[:-1]
        for what, shared in (("nothing of it seen before", []), ("the instruction seen before", instruction)):
            times = [seconds([shared + unseen(27 - len(shared))]) for _ in range(7)][2:]
            report.add(f"{precision}: one query of 27 tokens, {what}, median of 5", f"{1000 * median(times):.0f} ms")
        memory = sum(anonymous_bytes(process.pid) for process in _processes(triton))
        report.add(f"{precision}: anonymous memory of Triton and its host", f"{memory / 2**30:.1f} GiB")


def test_a_long_text_costs_its_neighbours_nothing(repository: Path, report: Report, tmp_path: Path) -> None:
    """One text of 8,192 tokens and 31 of 16, in one Triton batch, against the two apart."""
    model = MODELS["int8"]
    shutil.copytree(repository / model, tmp_path / model)
    config = tmp_path / model / "configs" / "embedded.pbtxt"
    cache = 'key: "prefix_cache_tokens" value { string_value: "512" }'
    assert cache in config.read_text()
    config.write_text(config.read_text().replace(cache, cache.replace("512", "0")))  # the same texts come twice
    random = np.random.default_rng(6)
    long = random.integers(0, 151_643, (1, 8192))
    short = [random.integers(0, 151_643, (1, 16)) for _ in range(31)]
    with Triton(tmp_path) as triton:
        wire = Wire(triton.grpc_url, model, timeout_s=900)  # the long text takes minutes
        wire.embed(short)

        def processor_s() -> float:
            """Processor time so far: over minutes, other work on the machine would disturb the clock's too much."""
            times = [process.cpu_times() for process in _processes(triton)]
            return sum(spent.user + spent.system for spent in times)

        def seconds(texts: list[npt.NDArray[np.int64]]) -> tuple[float, list[npt.NDArray[np.float32]]]:
            started = processor_s()
            rows = wire.embed(texts)
            return processor_s() - started, rows

        def memory() -> int:
            return sum(anonymous_bytes(process.pid) for process in _processes(triton))

        alone, long_row = seconds([long])
        memory_alone = memory()
        few, short_rows = seconds(short)
        together, rows = seconds([short[0], long, *short[1:]])
        ratio = together / (alone + few)
        report.add("int8: 8,192 tokens with 31 texts of 16, processor time against apart", f"{ratio:.2f}", "<= 1.15")
        growth = memory() / memory_alone
        report.add("int8: memory after it, against after the long text alone", f"{growth:.2f}", "<= 1.10")
        for row, expected in zip(rows, [short_rows[0], *long_row, *short_rows[1:]], strict=True):
            np.testing.assert_array_equal(row, expected)
        wire.close()
        assert ratio <= 1.15
        assert growth <= 1.10


def _processes(triton: Triton) -> list[psutil.Process]:
    server = psutil.Process(triton.pid)
    return [server, *server.children(recursive=True)]
