"""The batching plugin through ctypes, and the scheduler that calls it, reduced to its order of calls."""

import ctypes
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class PluginError(Exception):
    """An error that the plugin returned to Triton, with its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Model(ctypes.Structure):
    _fields_ = [("config", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class _Request(ctypes.Structure):
    _fields_ = [
        ("shape", ctypes.c_int64 * 3),
        ("dimensions", ctypes.c_uint32),
        ("has_input_ids", ctypes.c_int32),
    ]


class Plugin:
    """The plugin and the stand-in for Triton, in one library."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))
        for name in ("BatcherInitialize", "BatcherFinalize", "BatchInitialize", "BatchIncludeRequest", "BatchFinalize"):
            self._function(name).restype = ctypes.c_void_p
        self.library.stand_in_error_message.restype = ctypes.c_char_p
        self._fails = (ctypes.c_char * 64).in_dll(self.library, "stand_in_fails")

    @property
    def alive(self) -> int:
        """Errors and messages that nobody deleted."""
        return ctypes.c_int.in_dll(self.library, "stand_in_alive").value

    @contextmanager
    def failing(self, function: str) -> Iterator[None]:
        """Inside the block, this function of Triton fails."""
        self._fails.value = function.encode()
        try:
            yield
        finally:
            self._fails.value = b""

    @contextmanager
    def batcher(self, config: Json | bytes) -> Iterator["Batcher"]:
        """Load the plugin for a model of this configuration.

        Raises:
            PluginError: It refused.
        """
        text = config if isinstance(config, bytes) else json.dumps(config).encode()
        model = _Model(text, len(text))
        pointer = ctypes.c_void_p()
        self.check(self._function("BatcherInitialize")(ctypes.byref(pointer), ctypes.byref(model)))
        try:
            yield Batcher(self, pointer)
        finally:
            self.check(self._function("BatcherFinalize")(pointer))

    def check(self, error: int | None) -> None:
        """Raise the error of a call, if it returned one, and delete it as Triton does."""
        if error is not None:
            held = ctypes.c_void_p(error)
            code = self.library.stand_in_error_code(held)
            message = self.library.stand_in_error_message(held).decode()
            self.library.TRITONSERVER_ErrorDelete(held)
            raise PluginError(code, message)

    def _function(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.library, f"TRITONBACKEND_Model{name}")


class Batcher:
    """One loaded model; forms batches as Triton's dynamic batcher does."""

    def __init__(self, plugin: Plugin, pointer: ctypes.c_void_p) -> None:
        self._plugin = plugin
        self._pointer = pointer

    def begin(self, userp: ctypes.c_void_p) -> None:
        """Begin the batch whose user pointer, a field that Triton keeps for the plugin, is ``userp``."""
        self._plugin.check(self._plugin._function("BatchInitialize")(self._pointer, ctypes.byref(userp)))

    def offer(self, userp: ctypes.c_void_p, shape: Sequence[int], *, has_input_ids: bool = True) -> bool:
        """Offer a request of this shape; whether the batch takes it."""
        included, error = self.offer_raw(userp, shape, has_input_ids=has_input_ids)
        self._plugin.check(error)
        return included

    def offer_raw(
        self, userp: ctypes.c_void_p, shape: Sequence[int], *, has_input_ids: bool = True
    ) -> tuple[bool, int | None]:
        """The same, with the error that came along instead of raising it."""
        request = _Request((ctypes.c_int64 * 3)(*shape), len(shape), has_input_ids)
        included = ctypes.c_bool()
        call = self._plugin._function("BatchIncludeRequest")
        error = call(ctypes.byref(request), userp, ctypes.byref(included))
        return included.value, error

    def finish(self, userp: ctypes.c_void_p) -> None:
        """Hand the batch over; Triton forgets its user pointer then."""
        self._plugin.check(self._plugin._function("BatchFinalize")(userp))
        userp.value = None

    def batches(self, shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Cut a full queue of requests ``[texts, tokens]`` into batches; the indices of each batch's requests."""
        batches: list[list[int]] = []
        waiting = list(range(len(shapes)))
        last = ctypes.c_void_p()
        while waiting:
            # While Triton makes a batch, the one before is alive: their addresses differ.
            userp, last = ctypes.c_void_p(), last
            self.begin(userp)
            self.finish(userp)
            self.begin(userp)  # twice: when the batch is made, and when it is first filled
            batch: list[int] = []
            while waiting and self.offer(userp, shapes[waiting[0]]):
                batch.append(waiting.pop(0))
            self.finish(userp)
            assert batch, "the scheduler would spin: a batch did not take its first request"
            batches.append(batch)
            last = userp
        return batches


def model_config(parameters: dict[str, str]) -> Json:
    """A model configuration as Triton writes it in JSON."""
    return {
        "name": "qwen3_embedding",
        "max_batch_size": 32,
        "dynamic_batching": {},
        "parameters": {key: {"string_value": value} for key, value in parameters.items()},
    }
