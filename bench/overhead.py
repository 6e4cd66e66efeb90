"""What Triton, gRPC and the clients add to the time in which the model computes.

    python -m bench.overhead --directory build/bench/exports/int8
    python -m bench.overhead --directory build/bench/exports/int8 --steady
    python -m bench.overhead --query

The first command embeds texts through Triton, with 1, 8 and 32 clients at once, and takes the time in which the model
computed from Triton's own statistics. What is left is what Triton, gRPC and the clients add. Both times are of the
same call, so that other work on the machine, which makes both longer, hardly changes their ratio. The model directory
is one that `python -m bench.peers run` has made, or any other.

With `--steady`, clients ask without pause, each for its next texts when it has its answers; in turns with them, the
engine runs 48 texts at a time in process. So this shows all that a server costs, such as batches that are not full.
Nothing else may run meanwhile.

The last command measures one query at a time, with the tiny model: through gRPC, and in process, in turns. The model
itself takes the same in both, so the difference of the medians is what Triton's process, its Python backend and the
client add.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tritonclient.grpc
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton

from bench.peers.workers.embedded import open_engine
from bench.peers.workloads import WORKLOADS

_MODEL = "qwen3_embedding"
_WORKLOADS = ("short", "mixed")
_CLIENTS = (1, 8, 32)
_STEADY = ((1, 48), (8, 6), (32, 1), (32, 2))  # clients, and texts of each call
_TEXTS_IN_PROCESS = 48
_STEADY_S = 6.0
_QUERY_TOKENS = 16
_QUERIES = 1000
_SETTLED_S = 0.1  # Triton counts a batch a moment after it has answered it

Ids = list[int]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--directory", type=Path, help="the model directory to serve")
    what.add_argument("--query", action="store_true", help="measure single queries with the tiny model")
    parser.add_argument(
        "--steady", action="store_true", help="let clients ask without pause, and compare with no server"
    )
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured (%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the model (%(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qwen3-bench-") as folder:
        if args.query:
            directory = export("tiny", repository=Path(folder)).directory
            with Triton(folder, threads=1) as triton:
                queries(triton, directory)
            return
        (Path(folder) / _MODEL).symlink_to(args.directory.resolve())
        with Triton(folder, threads=args.threads) as triton:
            if args.steady:
                steady(triton, args.directory, rounds=args.rounds, threads=args.threads)
            else:
                loads(triton, rounds=args.rounds)


def loads(triton: Triton, *, rounds: int) -> None:
    """Print what is added for each workload and number of clients."""
    random = np.random.default_rng(0)
    raw = tritonclient.grpc.InferenceServerClient(triton.grpc_url)
    print("| texts | clients | time of a call, ms | batches | added, ms | added, share of the call |")
    print("|---|---|---|---|---|---|")
    with _connected(triton, max(_CLIENTS)) as clients, ThreadPoolExecutor(len(clients)) as pool:
        vocabulary = clients[0].info().vocabulary
        for workload in (each for each in WORKLOADS if each.name in _WORKLOADS):
            found: dict[int, list[tuple[float, float, int]]] = {width: [] for width in _CLIENTS}
            for number in range(rounds):
                for width in _CLIENTS if number % 2 == 0 else _CLIENTS[::-1]:
                    texts = [random.integers(0, vocabulary, length).tolist() for length in workload.lengths]
                    found[width].append(_load(raw, pool, clients[:width], texts))
            for width, samples in found.items():
                _print_load(workload.name, width, samples)
    raw.close()


@contextmanager
def _connected(triton: Triton, count: int) -> Iterator[Sequence[Client]]:
    """Yield clients that have all their connections."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(triton.grpc_url)) for _ in range(count)]
        for client in clients:
            client.encode_tokens([[0]])
        yield clients


def _load(
    raw: tritonclient.grpc.InferenceServerClient, pool: ThreadPoolExecutor, clients: Sequence[Client], texts: list[Ids]
) -> tuple[float, float, int]:
    """Embed texts with some clients at once: seconds of the whole, seconds that were added, and number of batches."""
    before_s, before = _computed(raw)
    began = time.perf_counter()
    shares = [texts[i :: len(clients)] for i in range(len(clients))]
    list(pool.map(lambda client, share: client.encode_tokens(share), clients, shares))
    seconds = time.perf_counter() - began
    after_s, after = _computed(raw)
    return seconds, seconds - (after_s - before_s), after - before


def _computed(raw: tritonclient.grpc.InferenceServerClient) -> tuple[float, int]:
    """Seconds in which the model has computed so far, and the number of its batches."""
    time.sleep(_SETTLED_S)
    (model,) = raw.get_inference_statistics(_MODEL, as_json=True)["model_stats"]
    batches = [batch["compute_infer"] for batch in model.get("batch_stats", [])]
    return sum(int(batch["ns"]) for batch in batches) / 1e9, sum(int(batch["count"]) for batch in batches)


def _print_load(workload: str, width: int, samples: Sequence[tuple[float, float, int]]) -> None:
    seconds, added, batches = zip(*samples, strict=True)
    shares = [100 * more / whole for whole, more in zip(seconds, added, strict=True)]
    low, _, high = statistics.quantiles(shares, n=4)
    print(
        f"| {workload} | {width} | {1e3 * statistics.median(seconds):.0f} | {statistics.median(batches):.0f} "
        f"| {1e3 * statistics.median(added):.0f} | {statistics.median(shares):.1f}% ({low:.1f}% to {high:.1f}%) |",
        flush=True,
    )


def steady(triton: Triton, directory: Path, *, rounds: int, threads: int) -> None:
    """Print tokens per second of clients that ask without pause, and of the engine in process."""
    engine = open_engine(directory, threads=threads)
    print("| texts | clients | texts of a call | in process, tokens/s | through Triton, tokens/s | less |")
    print("|---|---|---|---|---|---|")

    def embed_in_process(texts: list[Ids]) -> None:
        engine.run([np.array(ids) for ids in texts])

    with _connected(triton, max(width for width, _ in _STEADY)) as clients:
        vocabulary = clients[0].info().vocabulary
        for workload in (each for each in WORKLOADS if each.name in _WORKLOADS):
            texts = _Texts(workload.lengths, vocabulary)
            for width, size in _STEADY:
                served = partial(_rate, [client.encode_tokens for client in clients[:width]], size, texts)
                own = partial(_rate, [embed_in_process], _TEXTS_IN_PROCESS, texts)
                rates = [(own(), served()) if number % 2 else (served(), own())[::-1] for number in range(rounds)]
                less = [100 * (1 - through / alone) for alone, through in rates]
                low, middle, high = statistics.quantiles(less, n=4)
                alone, through = (statistics.median(column) for column in zip(*rates, strict=True))
                print(
                    f"| {workload.name} | {width} | {size} | {alone:.0f} | {through:.0f} "
                    f"| {middle:.1f}% ({low:.1f}% to {high:.1f}%) |",
                    flush=True,
                )


class _Texts:
    """Random texts, none of which comes twice; for several threads."""

    def __init__(self, lengths: Sequence[int], vocabulary: int) -> None:
        self._lengths, self._vocabulary = lengths, vocabulary
        self._seeds = count()

    def draw(self, size: int) -> list[Ids]:
        random = np.random.default_rng(next(self._seeds))
        return [random.integers(0, self._vocabulary, length).tolist() for length in random.choice(self._lengths, size)]


def _rate(embedders: Sequence[Callable[[list[Ids]], object]], size: int, texts: _Texts) -> float:
    """Embed `size` texts at a time with each of the embedders, all at once, for a while; returns tokens per second."""
    began = time.perf_counter()

    def work(embed: Callable[[list[Ids]], object]) -> float:
        tokens, last = 0, began
        while True:
            drawn = texts.draw(size)
            embed(drawn)
            now = time.perf_counter()
            if tokens and now > began + _STEADY_S:  # others may have stopped during this call
                return tokens / (last - began)
            tokens, last = tokens + sum(map(len, drawn)), now

    with ThreadPoolExecutor(len(embedders)) as pool:
        return sum(pool.map(work, embedders))


def queries(triton: Triton, directory: Path) -> None:
    """Print the medians of one query through gRPC and in process."""
    engine = open_engine(directory, threads=1)
    random = np.random.default_rng(0)
    with Client(triton.grpc_url) as client:
        vocabulary = client.info().vocabulary
        ways: dict[str, Callable[[npt.NDArray[np.int64]], object]] = {
            "in process": lambda ids: engine.run([ids]),
            "through gRPC": lambda ids: client.encode_tokens([ids.tolist()]),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(_QUERIES):
            ids = random.integers(0, vocabulary, _QUERY_TOKENS)
            for name, way in ways.items():
                began = time.perf_counter()
                way(ids)
                times[name].append(time.perf_counter() - began)
    print("| one query at a time | median, ms | quartiles |\n|---|---|---|")
    for name, seconds in times.items():
        low, middle, high = (1e3 * quartile for quartile in statistics.quantiles(seconds, n=4))
        print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
