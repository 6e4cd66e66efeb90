"""The sections of `python -m bench.gpu`: `python -m bench.gpu.sections SECTION FOLDER [--rehearse]` runs one of them.

Every result is appended to `FOLDER/SECTION.jsonl` at once. `__main__.py` starts the sections and stops them at their
deadlines; this module knows nothing about time.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from qwen3_export import export
from qwen3_export.checkpoint.geometry import Geometry
from qwen3_export.checkpoint.random_checkpoint import published_config, write_random_checkpoint
from qwen3_export.checkpoint.tiny import TINY_CONFIG, write_byte_tokenizer
from qwen3_export.cuda import CudaError
from qwen3_export.onnx_runtime import runtime
from qwen3_export.precision import Precision
from qwen3_export.target import Target, choose_target

from bench.gpu import arms as gpu_arms
from bench.gpu.kernels import kind_of, modelled_kinds
from bench.gpu.model import DOCUMENTS, PROMPT, TEXTS, Gpu, gpu_named, layer_kernels, pairs_seconds
from bench.gpu.report import (
    KIND,
    Agreement,
    Timing,
    agreement,
    append,
    matmul_flops,
    mixed_lengths,
    non_embedding_parameters,
)

Kind = Literal["embedding", "reranker"]
_COMPARED = (1, 2, 16, 255, 256, 257, 1024, 4096)  # tokens of the texts whose vectors are compared
_QUERY = 32  # tokens
_VOCABULARY = 256  # ids of the byte tokenizer that are bytes
_END = 256
_YES, _NO = 258, 259
_CACHES = {"without the prefix cache": 0, "with the prefix cache": 512}  # tokens


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a section.

    Attributes:
        section: Its name.
        folder: Where results, checkpoints and exports go.
        rehearse: Whether to use tiny models and short batches.
    """

    section: str
    folder: Path
    rehearse: bool

    def record(self, kind: str, facts: dict[str, Any]) -> None:
        """Write one result, and say so."""
        append(self.folder / f"{self.section}.jsonl", {"kind": kind, "section": self.section, **facts})
        shown = {key: value for key, value in facts.items() if key != "seconds"}
        print(f"  {kind}: {json.dumps(shown)[:160]}", flush=True)

    def note(self, text: str) -> None:
        """Write a sentence for the page."""
        self.record("note", {"text": text})

    def scaled(self, tokens: int) -> int:
        """Return a number of tokens, smaller in a rehearsal."""
        return max(2, tokens // 64) if self.rehearse else tokens

    def checkpoint(self, size: str) -> Path:
        """Write a random checkpoint of a shape, unless it exists. All layers of the large ones are equal."""
        config = {**TINY_CONFIG, "max_position_embeddings": 40_960} if self.rehearse else published_config(size)
        folder = self.folder / "checkpoints" / (f"tiny-{size}" if self.rehearse else size)
        if not (folder / "tokenizer.json").exists():  # written last
            folder.mkdir(parents=True, exist_ok=True)
            std = 1 / 8 if self.rehearse else 0.02
            write_random_checkpoint(folder, config, std=std, equal_layers=size != "0.6B")
            write_byte_tokenizer(folder)
        return folder

    def remove_other_large(self, size: str) -> None:
        """Remove checkpoints and exports of the large sizes but this one: together they need 50 GB of disk."""
        for folder in (self.folder / "checkpoints", self.folder / "models"):
            for other in {"4B", "8B"} - {size}:
                for found in folder.glob(f"*{other}*"):
                    shutil.rmtree(found)

    def exported(self, size: str, kind: Kind = "embedding", *, precision: Precision | None = None) -> Path:
        """Export a random checkpoint for the installed ONNX Runtime, unless it was."""
        checkpoint = self.checkpoint(size)
        device = gpu_arms.export_device()
        release = ".".join(runtime().__version__.split(".")[:2])
        name = f"{checkpoint.name}-{kind}-{precision or device}-{release}".replace(".", "_")
        repository = self.folder / "models"
        if not (repository / name).exists():
            export(
                str(checkpoint),
                repository=repository,
                name=name,
                kind=kind,
                device=cast(Any, device),
                precision=precision,
                ort_version=release if device == "cuda" else None,
            )
        return repository / name


def texts_of(lengths: Sequence[int], *, seed: int = 0) -> list[gpu_arms.Ids]:
    """Return the ids of one random text for each length, including the end token."""
    random = np.random.default_rng(seed)
    return [np.append(random.integers(0, _VOCABULARY, length - 1), _END) for length in lengths]


def correct(run: Run) -> None:
    """Session, agreement with transformers, batch invariance, admission, reranker."""
    run.record("environment", environment())
    arm = gpu_arms.graph_arm(run.exported("0.6B"))
    run.note("the session starts, and every library fits")
    texts = texts_of([run.scaled(length) for length in _COMPARED])
    alone = np.concatenate([arm.embed([ids]) for ids in texts])
    record_agreement(run, agreement("0.6B", "ours, alone and in one batch", alone, arm.embed(texts)))
    for dtype in (torch.float32, torch.bfloat16):
        model = gpu_arms.load_torch(run.checkpoint("0.6B"), dtype)
        reference = gpu_arms.torch_arms(model)[0]
        theirs = np.concatenate([reference.embed([ids]) for ids in texts])
        name = str(dtype).removeprefix("torch.")
        record_agreement(run, agreement("0.6B", f"ours and transformers {name}, each text alone", alone, theirs))
        del model, reference
        release_memory()
    bad = np.array([1_000_000], np.int64)
    rows = arm.embed([texts[2], bad, texts[3]])
    is_alone = np.isnan(rows).all(axis=1).tolist() == [False, True, False]
    run.record("check", {"what": "a text with an unknown id is NaN, and alone in that", "passed": is_alone})
    del arm
    release_memory()

    score, logit, _ = gpu_arms.open_engine(run.exported("0.6B", "reranker")).run(texts)
    model = gpu_arms.load_torch(run.checkpoint("0.6B"), torch.float32)
    head = model.embed_tokens.weight.float()
    with torch.inference_mode():
        hidden = torch.cat([gpu_arms.hidden_states(model, [ids]) for ids in texts])
        expected = (hidden @ (head[_YES] - head[_NO])).cpu().numpy()
    difference = float(np.abs(logit[:, 0] - expected).max() / np.abs(expected).max())
    run.record(
        "check",
        {"what": f"the reranker's logits differ by {difference:.1%} of the largest", "passed": difference < 0.1},
    )
    probable = bool(((score >= 0) & (score <= 1)).all())
    run.record("check", {"what": "the reranker's scores are probabilities", "passed": probable})

    if gpu_arms.export_device() == "cuda":
        arm = gpu_arms.graph_arm(run.exported("0.6B", precision="bf16-residual"))
        theirs = np.concatenate([gpu_arms.torch_arms(model)[0].embed([ids]) for ids in texts])
        residual = np.concatenate([arm.embed([ids]) for ids in texts])
        name = "ours with bf16-residual and transformers float32, each text alone"
        record_agreement(run, agreement("0.6B", name, residual, theirs))


def throughput(run: Run) -> None:
    """Equal, mixed and skewed batches of 0.6B."""
    run.record("environment", environment())
    record_shape(run, "0.6B")
    run.record("flops", {"flops": measured_flops(run)})
    arms = all_arms(run, "0.6B")
    rounds = 3 if run.rehearse else 10
    for tokens in (16_384, 4096, 512, 65_536):
        equal = min(512, tokens)
        measure(run, "0.6B", "equal", arms, [run.scaled(equal)] * (tokens // equal), rounds=rounds)
        measure(run, "0.6B", "mixed", arms, mixed_lengths(run.scaled(tokens)), rounds=rounds)
    measure(run, "0.6B", "skewed", arms, [run.scaled(16_384), *[run.scaled(128)] * 63], rounds=rounds)


def query(run: Run) -> None:
    """One query at a time."""
    arms = all_arms(run, "0.6B")
    if gpu_arms.export_device() == "cuda":
        try:
            arms.append(gpu_arms.captured_arm(run.exported("0.6B")))
        except (CudaError, RuntimeError) as error:
            run.note(f"CUDA graphs are left out: {error}")
    measure(run, "0.6B", "query", arms, [_QUERY], rounds=20 if run.rehearse else 500)


def pairs(run: Run) -> None:
    """Rerank pairs of a new query each time, with and without the prefix cache."""
    run.record("environment", environment())
    directory = run.exported("0.6B", "reranker")
    arms = {name: gpu_arms.open_engine(directory, prefix_cache_tokens=tokens) for name, tokens in _CACHES.items()}
    (prompt,) = texts_of([PROMPT // 2])
    for document in DOCUMENTS:
        seconds: dict[str, list[float]] = {name: [] for name in arms}
        difference = 0.0
        for turn in range(2 + (2 if run.rehearse else 20)):  # two to warm up
            beginning = np.concatenate([prompt, *texts_of([PROMPT - prompt.size], seed=1 + turn)])
            texts = [np.append(beginning, ids) for ids in texts_of([run.scaled(document)] * TEXTS, seed=turn)]
            scores = []
            for name, engine in arms.items():
                started = time.perf_counter()
                rows = engine.run(texts)
                if turn >= 2:
                    seconds[name].append(time.perf_counter() - started)
                scores.append(rows[engine.outputs.index("score")])
            difference = max(difference, float(np.abs(scores[0] - scores[1]).max()))
        work, tokens = f"pairs, documents of {document}", sum(ids.size for ids in texts)
        for name, took in seconds.items():
            run.record("timing", asdict(Timing("0.6B", work, tokens, TEXTS, name, tuple(took))))
        what = f"{work}: the prefix cache changes scores by {difference:.1e}"
        run.record("check", {"what": what, "passed": difference < 0.05})
        if note := predicted_pairs(run, document):
            run.note(note)


def predicted_pairs(run: Run, document: int) -> str:
    """Return a sentence with what the model of `gpu_model.py` predicts for `pairs`; "" without figures for this GPU."""
    found = modelled(run)
    if found is None:
        return ""
    times = [pairs_seconds(*found, pairs=TEXTS, document=document, shares=shares) * 1e3 for shares in (False, True)]
    return f"documents of {document}: the model predicts {times[0]:.1f} ms, and {times[1]:.1f} ms with the prefix cache"


def profile(run: Run) -> None:
    """Write the times of kernels in a large batch and in a query: torch's profiler sees those of ONNX Runtime too."""
    arm = gpu_arms.graph_arm(run.exported("0.6B"))
    if gpu_arms.torch_device() != "cuda":
        run.note("there are no kernels to profile without a GPU; the batches run, and no more")
    activities = [torch.profiler.ProfilerActivity.CPU]
    if gpu_arms.torch_device() == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for work, lengths in (("16,384 tokens", [run.scaled(512)] * 32), ("one query", [_QUERY])):
        texts = texts_of(lengths)
        for _ in range(3):
            arm.embed(texts)
        with torch.profiler.profile(activities=activities) as profiler:
            arm.embed(texts)
        kernels = [event for event in profiler.key_averages() if event.self_device_time_total > 0]
        for event in sorted(kernels, key=lambda event: -event.self_device_time_total)[:25]:
            facts = {"name": event.key[:120], "calls": event.count, "us": event.self_device_time_total}
            run.record("kernel", {"work": work, **facts})
        predicted = predicted_us(run, rows=sum(lengths), longest=max(lengths))
        for kind in sorted({*predicted, *(kind_of(event.key) for event in kernels)}):
            alike = [event for event in kernels if kind_of(event.key) == kind]
            calls, us = sum(event.count for event in alike), sum(event.self_device_time_total for event in alike)
            facts = {"name": kind, "calls": calls, "us": us, "predicted_us": predicted.get(kind)}
            run.record(KIND, {"work": work, **facts})


def predicted_us(run: Run, *, rows: int, longest: int) -> dict[str, float]:
    """Return what the model of `model.py` predicts for each kind of kernel in a batch of 0.6B, in microseconds.

    Returns:
        Nothing if the model has no figures for this GPU.
    """
    found = modelled(run)
    if found is None:
        return {}
    g, target, gpu = found
    kinds = modelled_kinds(layer_kernels(g, target, rows, longest))
    return {kind: g.layers * sum(kernel.seconds(gpu) for kernel in part) * 1e6 for kind, part in kinds.items()}


def modelled(run: Run) -> tuple[Geometry, Target, Gpu] | None:
    """Return what the model of `gpu_model.py` takes for 0.6B on this GPU; None if it has no figures for it."""
    gpu = None if gpu_arms.torch_device() == "cpu" else gpu_named(torch.cuda.get_device_name())
    if gpu is None or gpu_arms.export_device() == "cpu":
        return None
    g = Geometry.from_config(json.loads((run.checkpoint("0.6B") / "config.json").read_text()))
    target = choose_target(device="cuda", precision="bf16", ort_version=".".join(runtime().__version__.split(".")[:2]))
    return g, target, gpu


def serving(run: Run) -> None:
    """Triton with the embedded host, by clients at once, and the gateway."""
    if importlib.util.find_spec("pytriton") is None:
        run.note("left out: nvidia-pytriton is not installed")
        return
    from qwen3_client import Client
    from qwen3_serve import Triton
    from qwen3_serve.gateway_options import gateway_options
    from qwen3_serve.gateway_process import Gateway

    directory = run.exported("0.6B")
    repository = run.folder / "serving"
    repository.mkdir(exist_ok=True)
    link = repository / directory.name
    if not link.exists():
        link.symlink_to(directory.resolve(), target_is_directory=True)
    requests = 4 if run.rehearse else 40
    documents = texts_of([run.scaled(512)] * 8)
    with Triton(repository) as triton:
        run.note(f"Triton {triton.server_version()} serves with the embedded host on {gpu_arms.export_device()}")
        for clients in (1, 8, 64):
            for work, batch in (("one query", texts_of([_QUERY])), ("8 documents", documents)):
                with ExitStack() as connected:
                    calls: list[Callable[[], object]] = []
                    for _ in range(clients):
                        client = Client(triton.grpc_url, model=directory.name, tokenizer=str(directory))
                        calls.append(partial(connected.enter_context(client).encode_tokens, batch))
                    concurrent(run, f"{work}, gRPC", calls, sum(ids.size for ids in batch), requests)
        if importlib.util.find_spec("fastapi") is None:
            run.note("the gateway is left out: its extra is not installed")
            return
        options = gateway_options(
            [f"--model={directory.name}", f"--tokenizer={directory}", "--port=0", "--no-access-log"],
            host="127.0.0.1",
            drain_timeout_s=5,
        )
        with Gateway(triton.grpc_url, options) as gateway:
            for clients in (1, 8, 64):
                post_query = partial(post, gateway.url, directory.name, "a" * (_QUERY - 1))
                concurrent(run, "one query, gateway", [post_query] * clients, _QUERY, requests)


def larger(run: Run) -> None:
    """Throughput and a query of 4B or 8B."""
    size = run.section
    run.remove_other_large(size)
    record_shape(run, size)
    arms = [gpu_arms.graph_arm(run.exported(size))]
    measure(run, size, "equal", arms, [run.scaled(512)] * 32, rounds=5)
    measure(run, size, "query", arms, [_QUERY], rounds=10 if run.rehearse else 100)
    # Afterwards, because both copies of the weights may not fit.
    arms.clear()
    release_memory()
    model = gpu_arms.load_torch(run.checkpoint(size), torch.bfloat16)
    measure(run, size, "equal", gpu_arms.torch_arms(model), [run.scaled(512)] * 32, rounds=5)


def all_arms(run: Run, size: str) -> list[gpu_arms.Arm]:
    """Load every arm; a library that is missing or fails is noted, and its arm left out."""
    checkpoint = run.checkpoint(size)
    arms = [gpu_arms.graph_arm(run.exported(size))]
    arms += gpu_arms.torch_arms(gpu_arms.load_torch(checkpoint, torch.bfloat16))
    try:
        arms.append(gpu_arms.sentence_transformers_arm(checkpoint))
    except Exception as error:  # noqa: BLE001 - the comparison is worth less than the rest of the section
        run.note(f"sentence-transformers is left out: {type(error).__name__}: {error}")
    return arms


def measure(
    run: Run, size: str, work: str, arms: Sequence[gpu_arms.Arm], lengths: Sequence[int], *, rounds: int
) -> None:
    """Time a batch with every arm; the arms alternate, so that the GPU's clock is the same for all."""
    texts = texts_of(lengths)
    seconds: dict[str, list[float]] = {arm.name: [] for arm in arms}
    notes: dict[str, str] = {}
    for turn in range(2 + rounds):  # two to warm up
        for arm in arms:
            if arm.name in notes:
                continue
            try:
                (took,) = timed(lambda arm=arm: arm.embed(texts), 1)  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 - what one arm cannot do is a result
                notes[arm.name] = (
                    "out of memory" if "memory" in str(error) else f"{type(error).__name__}: {error}"[:200]
                )
                release_memory()
                continue
            if turn >= 2:
                seconds[arm.name].append(took)
    for arm in arms:
        timing = Timing(
            size, work, sum(lengths), len(lengths), arm.name, tuple(seconds[arm.name]), notes.get(arm.name, "")
        )
        run.record("timing", asdict(timing))


def concurrent(run: Run, work: str, calls: Sequence[Callable[[], object]], tokens: int, requests: int) -> None:
    """Let clients send requests at the same time, and write throughput and latency.

    Args:
        run: The run.
        work: What is measured.
        calls: For each client, how it sends a request.
        tokens: Tokens of a request.
        requests: Requests of each client. One before them, which connects it, is not measured.
    """
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(lambda call: call(), calls))
        started = time.perf_counter()
        seconds = [took for took_by_one in pool.map(lambda call: timed(call, requests), calls) for took in took_by_one]
        wall = time.perf_counter() - started
    rate = len(seconds) * tokens / wall
    run.record("served", {"work": work, "clients": len(calls), "tokens_per_s": rate, "seconds": seconds})


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Return the seconds that each of some calls takes."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


def post(url: str, model: str, text: str) -> None:
    """Embed a text through the gateway's OpenAI API."""
    import urllib.request

    body = json.dumps({"model": model, "input": text}).encode()
    request = urllib.request.Request(f"{url}/v1/embeddings", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the URL is our own server's
        answer.read()


def record_agreement(run: Run, found: Agreement) -> None:
    """Write an agreement."""
    run.record("agreement", asdict(found))


def record_shape(run: Run, size: str) -> None:
    """Write the number of parameters that every token is multiplied by."""
    config = json.loads((run.checkpoint(size) / "config.json").read_text())
    run.record("parameters", {"size": size, "parameters": non_embedding_parameters(config)})


def measured_flops(run: Run) -> float:
    """Return the rate of one large bfloat16 product, in operations per second."""
    device, size = gpu_arms.torch_device(), 256 if run.rehearse else 8192
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        left @ right
        if device == "cuda":
            torch.cuda.synchronize()

    return matmul_flops(size, timed(product, 20)[3:])


def release_memory() -> None:
    """Give memory of objects that are gone back to the GPU."""
    gc.collect()
    if gpu_arms.torch_device() == "cuda":
        torch.cuda.empty_cache()


def environment() -> dict[str, str]:
    """Return names and versions of what is used."""
    import transformers

    device = torch.cuda.get_device_name() if gpu_arms.torch_device() == "cuda" else "none: torch runs on the CPU"
    return {
        "GPU": device,
        "CUDA of torch": str(torch.version.cuda),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "onnxruntime": f"{runtime().__version__}, for {gpu_arms.export_device()}",
    }


_SECTIONS: dict[str, Callable[[Run], None]] = {
    "correct": correct,
    "throughput": throughput,
    "query": query,
    "pairs": pairs,
    "profile": profile,
    "serving": serving,
    "4B": larger,
    "8B": larger,
}


def main(arguments: Sequence[str]) -> None:
    """Run one section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("section", choices=_SECTIONS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args(arguments)
    run = Run(args.section, args.folder, args.rehearse)
    try:
        _SECTIONS[args.section](run)
    except Exception as error:
        run.note(f"failed: {type(error).__name__}: {error}"[:1000])
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
