"""infinity's engine in process, without its HTTP server. It makes batches itself, of at most `width` texts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from infinity_emb import AsyncEmbeddingEngine, EngineArgs

from .protocol import Local, Text, Vectors, serve


class Infinity(Local):
    """One model, and the event loop that it needs. Each width needs a new engine."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._engine: AsyncEmbeddingEngine | None = None
        self._width = 0

    def load(self, options: dict[str, Any]) -> None:
        """See `Engine`."""
        torch.set_num_threads(options["threads"])
        self._options = options
        self._open(8)

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`."""
        if width != self._width:
            self._open(width)
        embedding = self._embed([text.text for text in texts])
        return asyncio.run_coroutine_threadsafe(embedding, self._loop).result()

    async def _embed(self, texts: list[str]) -> Vectors:
        if self._engine is None:
            raise ValueError("not loaded")
        rows, _ = await self._engine.embed(sentences=texts)
        vectors: Vectors = np.stack(rows).astype(np.float32)
        return vectors

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {library: version(library) for library in ("infinity-emb", "sentence-transformers", "torch")}

    def close(self) -> None:
        """Stop the engine and its loop."""
        self._stop()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _open(self, width: int) -> None:
        self._stop()
        self._width = width
        self._engine = AsyncEmbeddingEngine.from_args(
            EngineArgs(
                model_name_or_path=self._options["checkpoint"],
                engine="torch",
                device="cpu",
                dtype=self._options["dtype"],
                batch_size=width,
                bettertransformer=False,
                compile=False,
                model_warmup=False,
                lengths_via_tokenize=True,
            )
        )
        asyncio.run_coroutine_threadsafe(self._engine.astart(), self._loop).result()

    def _stop(self) -> None:
        if self._engine is not None:
            asyncio.run_coroutine_threadsafe(self._engine.astop(), self._loop).result()
            self._engine = None


if __name__ == "__main__":
    serve(Infinity())
