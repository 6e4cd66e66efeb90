"""llama.cpp, which Ollama runs, through llama-cpp-python's `embed`: ragged batches, last-token pooling.

Option `type` is `BF16` or `Q8_0`, the type of the matrices in the GGUF file that `prepare` writes.
`repack` says whether llama.cpp may repack weights for the processor's special units. With AMX and Q8_0, release
0.3.36 of llama-cpp-python ends in a segmentation fault when it may.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from .gguf_file import write_gguf
from .protocol import Local, Text, Vectors, serve

_CONTEXT = 2048  # tokens of a batch, which for embeddings must be one micro-batch


class GivenIds(llama_cpp.Llama):  # type: ignore[misc] # untyped library
    """A model that takes token ids as JSON in place of texts, so that it gets the same tokens as the other engines."""

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:  # noqa: ARG002, FBT001, FBT002
        """Return the ids."""
        ids: list[int] = json.loads(text)
        return ids


class LlamaCpp(Local):
    """One model. A text that is longer than the context gets a new context of its length."""

    def prepare(self, options: dict[str, Any]) -> None:
        """Write the GGUF file."""
        if not Path(options["file"]).exists():
            write_gguf(Path(options["checkpoint"]), Path(options["file"]), type_name=options["type"])

    def load(self, options: dict[str, Any]) -> None:
        """See `Engine`."""
        self._options = options
        if not options["repack"]:
            _never_repack()
        self._open(_CONTEXT)

    def embed(self, texts: Sequence[Text], *, width: int) -> Vectors:
        """See `Engine`; llama-cpp-python's `embed` divides batches that exceed the context."""
        longest = max(len(text.ids) for text in texts)
        if longest > self._context:
            self._open(longest)
        rows: list[list[float]] = []
        for at in range(0, len(texts), width):
            rows += self._model.embed([json.dumps(text.ids) for text in texts[at : at + width]], normalize=True)
        return np.array(rows, np.float32)

    def versions(self) -> dict[str, str]:
        """See `Engine`."""
        return {"llama-cpp-python": version("llama-cpp-python"), "system": _system()}

    def _open(self, context: int) -> None:
        self._context = context
        threads = self._options["threads"]
        self._model = GivenIds(
            self._options["file"],
            embedding=True,
            pooling_type=llama_cpp.LLAMA_POOLING_TYPE_LAST,
            n_ctx=context,
            n_batch=context,
            n_ubatch=context,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )


def _never_repack() -> None:
    """Turn off repacking of weights for AMX, for which llama-cpp-python has no option."""
    defaults = llama_cpp.llama_model_default_params

    def changed() -> object:
        parameters = defaults()
        parameters.use_extra_bufts = False
        return parameters

    llama_cpp.llama.llama_cpp.llama_model_default_params = changed


def _system() -> str:
    """Return the instruction sets that it was built for."""
    told = llama_cpp.llama_print_system_info().decode()
    return " ".join(part.split("=")[0].strip() for part in told.split("|") if part.strip().endswith("= 1"))


if __name__ == "__main__":
    serve(LlamaCpp())
