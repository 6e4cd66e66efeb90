"""What a text model costs beside the client's own tokenizing, for one caller and for 32.

    python bench/text_models.py

Everything runs on this machine, with the genuine vocabulary and a model so small that it takes almost no time. The ways
of asking take turns, so that other work on the machine affects all alike; medians are compared. All callers use
tritonclient's or our own gRPC connection, one for all.
"""

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tritonclient.grpc
from qwen3_client import Client
from qwen3_export import export
from qwen3_serve import Triton
from qwen3_serve.triton.text_tensors import TextTensors

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the genuine vocabulary
from support.qwen_tokenizer import build_qwen_tokenizer
from support.random_checkpoints import make_random_checkpoint

ROUNDS = 8
REQUESTS = 320  # in a round, of all callers together
WORDS = (8, 40)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_random_checkpoint(Path(folder) / "checkpoint", vocab_size=151669)
        build_qwen_tokenizer().save(str(checkpoint / "tokenizer.json"))
        export(str(checkpoint), repository=Path(folder) / "repository", kind="embedding")
        with Triton(Path(folder) / "repository", threads=1, text=TextTensors()) as triton:
            measure(triton)


def measure(triton: Triton) -> None:
    """Print the medians for each length of texts and each number of callers."""
    with Client(triton.grpc_url) as client, tritonclient.grpc.InferenceServerClient(triton.grpc_url) as raw:

        def through_text_model(text: str) -> object:
            tensor = tritonclient.grpc.InferInput("input_text", [1], "BYTES")
            tensor.set_data_from_numpy(np.array([text], np.object_))
            return raw.infer("qwen3_embedding_text", [tensor]).as_numpy("embedding")

        ways: dict[str, Callable[[str], object]] = {
            "the client": client.encode_document,
            "the text model": through_text_model,
        }
        print("| words | callers | way | median, ms | texts/s |\n|---|---|---|---|---|")
        for words in WORDS:
            for callers in (1, 32):
                times: dict[str, list[float]] = {name: [] for name in ways}
                rates: dict[str, list[float]] = {name: [] for name in ways}
                for turn in range(ROUNDS + 1):
                    for name, way in ways.items():
                        taken, rate = one_round(way, words=words, callers=callers, turn=turn)
                        if turn:  # the first round warms up
                            times[name] += taken
                            rates[name].append(rate)
                for name in ways:
                    median, rate = statistics.median(times[name]) * 1000, statistics.median(rates[name])
                    print(f"| {words} | {callers} | {name} | {median:.2f} | {rate:.0f} |", flush=True)


def one_round(way: Callable[[str], object], *, words: int, callers: int, turn: int) -> tuple[list[float], float]:
    """Send the requests of one round; return the seconds of each and the requests per second."""
    taken: list[float] = []
    ready = threading.Barrier(callers + 1)

    def call(caller: int) -> None:
        ready.wait()
        for number in range(REQUESTS // callers):
            text = " ".join(f"word{(turn * 7919 + caller * 104729 + number * 31 + k * k) % 5000}" for k in range(words))
            started = time.perf_counter()
            way(text)
            taken.append(time.perf_counter() - started)

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call, caller) for caller in range(callers)]
        ready.wait()
        started = time.perf_counter()
        for done in calls:
            done.result()
        return taken, len(taken) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
