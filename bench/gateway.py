"""The cost of the gateway: latency of one query, throughput of one worker, and a profile of its event loop.

    python bench/gateway.py [--profile]

Everything runs on this machine, with the tiny model, so that the model takes almost no time. For the latencies,
requests directly to Triton and through each API alternate, so that other work on the machine affects all alike. Their
medians are compared.
"""

import argparse
import cProfile
import pstats
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import orjson
import uvicorn
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.gateway import Settings, create_app
from qwen3_serve.gateway.workers import HTTP

QUERY = "What is the capital of China?"
ROUNDS = 400
SIZES = (1, 8, 64)
SECONDS = 6.0
CLIENTS = 16
PORT = 18399


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true", help="profile the gateway's event loop instead")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        export("tiny", repository=Path(folder))
        with Triton(folder, threads=1) as triton:
            if args.profile:
                profile(triton.grpc_url)
            else:
                measure(triton.grpc_url)


def measure(triton: str) -> None:
    """Print the latencies and the throughputs."""
    command = [sys.executable, "-m", "qwen3_serve.gateway", "--triton", triton, "--port", str(PORT), "--no-access-log"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        wait_for_the_gateway()
        with Client(triton) as client:
            latencies(client)
        throughputs()
    finally:
        process.terminate()
        process.communicate()


def latencies(client: Client) -> None:
    """Print the median latency of one query, directly and through each API."""
    connection = HTTPConnection("127.0.0.1", PORT)
    ways: dict[str, Callable[[], object]] = {
        "direct, gRPC": lambda: client.encode_query(QUERY),
        "/health": lambda: get(connection, "/health"),
        "/v1/embeddings": lambda: post(connection, "/v1/embeddings", {"input": QUERY, "input_type": "query"}),
        "/embed": lambda: post(connection, "/embed", {"inputs": QUERY, "prompt_name": "query"}),
        "/api/embed": lambda: post(connection, "/api/embed", {"model": "qwen3-embedding", "input": QUERY}),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 20):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn >= 20:
                times[name].append((time.perf_counter() - started) * 1000)
    direct = statistics.median(times["direct, gRPC"])
    print(f"one query, {ROUNDS} times each, in turn\n")
    print("| way | median ms | added ms | 95% ms |\n|---|---|---|---|")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"| {name} | {median:.2f} | {median - direct:+.2f} | {statistics.quantiles(taken, n=20)[-1]:.2f} |")


def throughputs() -> None:
    """Print how many texts one worker answers in a second."""
    print(f"\n`/v1/embeddings`, {CLIENTS} clients, one worker\n")
    print("| texts per request | requests/s | texts/s |\n|---|---|---|")
    for size in SIZES:
        body: dict[str, object] = {
            "input": [f"{QUERY} {number}" for number in range(size)],
            "encoding_format": "base64",
        }
        ends = time.monotonic() + SECONDS

        def work(body: dict[str, object] = body, ends: float = ends) -> int:
            connection = HTTPConnection("127.0.0.1", PORT)
            answered = 0
            while time.monotonic() < ends:
                post(connection, "/v1/embeddings", body)
                answered += 1
            connection.close()
            return answered

        with ThreadPoolExecutor(CLIENTS) as pool:
            answered = sum(future.result() for future in [pool.submit(work) for _ in range(CLIENTS)])
        print(f"| {size} | {answered / SECONDS:.0f} | {answered * size / SECONDS:.0f} |")


def profile(triton: str) -> None:
    """Print what the gateway's own thread does while it answers single queries, and 64 texts at once."""
    for size in (1, 64):
        app = create_app(Settings(triton=triton, access_log=False))
        config = uvicorn.Config(app, port=PORT, http=HTTP, log_config=None, access_log=False)
        server, profiler = uvicorn.Server(config), cProfile.Profile()
        thread = threading.Thread(target=lambda server=server, profiler=profiler: profiler.runcall(server.run))
        thread.start()
        wait_for_the_gateway()
        connection = HTTPConnection("127.0.0.1", PORT)
        for _ in range(ROUNDS):
            post(connection, "/v1/embeddings", {"input": [QUERY] * size})
        connection.close()
        server.should_exit = True
        thread.join()
        print(f"\n{ROUNDS} requests of {size} texts, by own time\n")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(20)


def wait_for_the_gateway() -> None:
    """Return once it answers."""
    while True:
        try:
            return get(HTTPConnection("127.0.0.1", PORT, timeout=5), "/ready")
        except OSError:
            time.sleep(0.1)


def get(connection: HTTPConnection, path: str) -> None:
    """Send a GET request and reads the answer."""
    connection.request("GET", path)
    read(connection)


def post(connection: HTTPConnection, path: str, body: dict[str, object]) -> None:
    """Send JSON and reads the answer."""
    connection.request("POST", path, body=orjson.dumps(body))
    read(connection)


def read(connection: HTTPConnection) -> None:
    """Read an answer that must be a success."""
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {content[:200]!r}")


if __name__ == "__main__":
    main()
