"""The process of a contender, seen from inside: it reads commands and writes answers, one JSON object per line.

It runs in the environment of each peer, so it imports nothing except NumPy. It knows nothing about models; an `Engine`
does. The process ends when its standard input ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .usage import Watch, peak_memory

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Text:
    """A text and its token ids from the genuine tokenizer, including the end token."""

    text: str
    ids: list[int]


class Engine(Protocol):
    """A way of embedding."""

    def prepare(self, options: dict[str, Any]) -> None:
        """Convert the checkpoint, unless it is converted; called before the first round, and never timed."""

    def load(self, options: dict[str, Any]) -> None:
        """Load the model."""

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """Return the unit vectors of texts, `[n, dimensions]`, in order.

        Args:
            texts: At least one.
            width: The batch size; for a server, the number of clients.
        """

    def arrivals(self, at_s: Sequence[float], texts: Sequence[Text], *, width: int) -> list[float]:
        """Embed texts that arrive at given times; returns the seconds from each arrival to its vector, in order."""

    def versions(self) -> dict[str, str]:
        """Return the names and versions of the libraries that are measured."""

    def close(self) -> None:
        """Stop everything that was started."""


class Local:
    """Methods that engines without a server share."""

    def prepare(self, options: dict[str, Any]) -> None:
        """Do nothing: there is nothing to convert."""

    def arrivals(self, at_s: Sequence[float], texts: Sequence[Text], *, width: int) -> list[float]:
        """Measure latencies behind an ideal queue: whenever the engine is free, it takes all texts that have arrived.

        A real server for this engine can only be slower.
        """
        latencies: list[float] = []
        started = time.perf_counter()
        while (done := len(latencies)) < len(texts):
            now = time.perf_counter() - started
            if now < at_s[done]:
                time.sleep(at_s[done] - now)
                now = time.perf_counter() - started
            waiting = sum(at <= now for at in at_s[done : done + width])
            self.embed(texts[done : done + waiting], width=width)
            now = time.perf_counter() - started
            latencies += [now - at for at in at_s[done : done + waiting]]
        return latencies

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing: nothing was started."""


def serve(engine: Engine) -> None:
    """Answer commands until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print to stdout goes to stderr, so that it is not among the answers
    try:
        for line in sys.stdin:
            try:
                answer = _answer(engine, json.loads(line))
            except Exception as error:  # noqa: BLE001 - any error of a peer is its result
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)
    finally:
        engine.close()


def _answer(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "prepare":
        engine.prepare(command["options"])
        return {}
    if command["do"] == "load":
        started = time.perf_counter()
        engine.load(command["options"])
        return {"seconds": time.perf_counter() - started, "versions": engine.versions()}
    if command["do"] == "vectors":
        return {"vectors": engine.embed(_texts(command["texts"]), width=command["width"]).tolist()}
    if command["do"] == "measure":
        return _measure(engine, command)
    if command["do"] == "arrivals":
        watch = Watch()
        latencies = engine.arrivals(command["at"], _texts(command["texts"]), width=command["width"])
        return {"latencies": latencies, "foreign": watch.foreign()}
    raise ValueError(f"unknown command {command['do']!r}")


def _measure(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Time groups of texts one after another; the warm-up groups before them are not timed."""
    for group in command["warm_up"]:
        engine.embed(_texts(group), width=command["width"])
    groups = [_texts(group) for group in command["groups"]]
    seconds: list[float] = []
    watch = Watch()
    for group in groups:
        started = time.perf_counter()
        vectors = engine.embed(group, width=command["width"])
        seconds.append(time.perf_counter() - started)
        if vectors.shape[0] != len(group) or not np.isfinite(vectors).all():
            raise ValueError(f"the vectors of {len(group)} texts have the shape {vectors.shape}, or are not finite")
    used = {"processor_s": watch.own_s(), "foreign": watch.foreign()}
    return {"seconds": seconds, **used, "peak_memory": peak_memory()}


def _texts(items: Sequence[dict[str, Any]]) -> list[Text]:
    return [Text(item["text"], item["ids"]) for item in items]
