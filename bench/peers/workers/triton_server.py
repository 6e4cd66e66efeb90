"""qwen3-triton end to end: Triton with the embedded host, and the client over gRPC.

Clients are threads of one process. Each has its own `Client`, and embeds its share of the texts in one call.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from qwen3_client import AsyncClient, Client
from qwen3_serve import Triton

from .protocol import Text, Vectors, serve


class Served:
    """A Triton, and the clients that were needed so far."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._clients: list[Client] = []
        self._pool: ThreadPoolExecutor | None = None

    def prepare(self, options: dict[str, Any]) -> None:
        """Do nothing: there is nothing to convert."""

    def load(self, options: dict[str, Any]) -> None:
        """Start Triton on a repository with this one model."""
        repository = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="qwen3-bench-")))
        (repository / "qwen3_embedding").symlink_to(Path(options["directory"]).resolve())
        self._triton = self._open.enter_context(Triton(repository, threads=options["threads"]))
        self._pool = self._open.enter_context(ThreadPoolExecutor(64))

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`; client i of n has texts i, i + n, i + 2n, ..."""
        if self._pool is None:
            raise ValueError("not loaded")
        clients = self._of(width)
        shares = [[text.ids for text in texts[i::width]] for i in range(min(width, len(texts)))]
        rows = self._pool.map(lambda client, share: client.encode_tokens(share), clients, shares)
        vectors: Vectors | None = None
        for i, own in enumerate(rows):
            vectors = np.empty((len(texts), own.shape[1]), np.float32) if vectors is None else vectors
            vectors[i::width] = own
        if vectors is None:
            raise ValueError("no texts")
        return vectors

    def arrivals(self, at_s: Sequence[float], texts: Sequence[Text], *, width: int) -> list[float]:
        """See `Engine`; the client sends each request when its text arrives."""
        return asyncio.run(self._arrivals(at_s, texts, width))

    async def _arrivals(self, at_s: Sequence[float], texts: Sequence[Text], width: int) -> list[float]:
        async with AsyncClient(self._triton.grpc_url, concurrency=width) as client:
            await client.encode_tokens([texts[0].ids[-1:]])
            started = time.perf_counter()

            async def one(at: float, text: Text) -> float:
                await asyncio.sleep(at - (time.perf_counter() - started))
                await client.encode_tokens([text.ids])
                return time.perf_counter() - started - at

            return await asyncio.gather(*[one(at, text) for at, text in zip(at_s, texts, strict=True)])

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {
            "Triton": self._triton.server_version(),
            "onnxruntime": version("onnxruntime"),
            "tritonclient": version("tritonclient"),
        }

    def close(self) -> None:
        """See `Engine`."""
        for client in self._clients:
            client.close()
        self._open.close()

    def _of(self, count: int) -> list[Client]:
        """Return as many clients, each of which is connected already."""
        while len(self._clients) < count:
            self._clients.append(Client(self._triton.grpc_url))
            self._clients[-1].info()
        return self._clients[:count]


if __name__ == "__main__":
    serve(Served())
