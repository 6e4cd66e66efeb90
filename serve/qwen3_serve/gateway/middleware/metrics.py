"""Metrics in Prometheus' format.

With several workers, each writes its numbers to files in PROMETHEUS_MULTIPROC_DIR, which the command creates, and the
worker that is asked adds them up.
"""

import os
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from ..exchange import Exchange

CONTENT_TYPE = CONTENT_TYPE_LATEST
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of one application. The environment is read once, at construction."""

    def __init__(self) -> None:
        self._directory = os.environ.get(DIRECTORY_VARIABLE)
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "qwen3_gateway_requests", "Requests that were answered.", ["route", "method", "status"], registry=registry
        )
        self._failures = Counter(
            "qwen3_gateway_failures", "Requests that failed, by cause.", ["route", "cause"], registry=registry
        )
        self._items = Counter("qwen3_gateway_items", "Texts and pairs accepted.", ["route"], registry=registry)
        self._tokens = Counter("qwen3_gateway_tokens", "Tokens accepted.", ["route"], registry=registry)
        self._seconds = Histogram(
            "qwen3_gateway_request_seconds",
            "Time from a request to the end of its response.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.requests_in_progress = self._gauge("requests_in_progress", "Requests in progress.")
        self._pending_items = self._gauge("pending_items", "Texts and pairs accepted and not yet answered.")
        self._pending_tokens = self._gauge("pending_tokens", "Tokens accepted and not yet answered.")
        if self._directory is not None:
            _forget_dead_workers(Path(self._directory))

    def set_pending(self, items: int, tokens: int) -> None:
        """Set how much is accepted and not yet answered."""
        self._pending_items.set(items)
        self._pending_tokens.set(tokens)

    def record(self, exchange: Exchange, *, route: str, seconds: float) -> None:
        """Count a request that is finished."""
        self._requests.labels(route, exchange.method, str(exchange.status)).inc()
        self._seconds.labels(route).observe(seconds)
        if exchange.cause:
            self._failures.labels(route, exchange.cause).inc()
        if exchange.items:
            self._items.labels(route).inc(exchange.items)
            self._tokens.labels(route).inc(exchange.tokens)

    def text(self) -> bytes:
        """Return the metrics of all workers together."""
        registry = self._registry
        if self._directory is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=self._directory)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Remove this worker's share of the pending items and tokens."""
        if self._directory is not None:
            mark_process_dead(os.getpid(), path=self._directory)  # type: ignore[no-untyped-call]

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"qwen3_gateway_{name}", what, multiprocess_mode="livesum", registry=self._registry)


def _forget_dead_workers(directory: Path) -> None:
    """Do for workers that were killed what `close` does; the workers that replace them call this."""
    for file in directory.glob("gauge_livesum_*.db"):
        pid = file.stem.rpartition("_")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            mark_process_dead(int(pid), path=str(directory))  # type: ignore[no-untyped-call]
