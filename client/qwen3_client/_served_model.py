"""One model on the server: chosen, asked about itself and given its tokenizer, each once, when first needed.

This module knows what becomes of an item on its way: prompt, token ids, answer. What the prompt says and what the
answer means is told to it by the client.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ._connection import Connection
from ._contract import InfoT
from ._errors import ContractMismatchError, about
from ._tokenizer import TextTokenizer
from ._transport import Outputs

__all__ = ["ServedModel"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ServedModel(Generic[InfoT]):
    """A model of one kind. Threads may share it.

    Args:
        connection: the server.
        kind: what it says about itself, which also says what it takes and gives.
        name: its name on the server; None for the only one of its kind there.
        tokenizer: folder that holds its tokenizer.json, or Hub id; None for the one that the server names.
        prefix: text that begins every prompt, never cut.
        suffix: text that ends every prompt, never cut.
    """

    def __init__(
        self,
        connection: Connection,
        kind: type[InfoT],
        *,
        name: str | None,
        tokenizer: str | os.PathLike[str] | None,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._name = name
        self._tokenizer_place = tokenizer
        self._prefix = prefix
        self._suffix = suffix
        self._lock = threading.Lock()
        self._info: InfoT | None = None
        self._tokenizer: TextTokenizer | None = None

    @property
    def name(self) -> str | None:
        """Its name on the server; None while that is still to be found out."""
        return self._name

    @property
    def info(self) -> InfoT:
        """What it says about itself; asked once.

        Raises:
            ContractMismatchError: there is no such model, or no only one, or it is not of this kind.
            Qwen3ClientError: the server could not be asked.
        """
        with self._lock:
            if self._info is None:
                config = self._choose() if self._name is None else self._config(self._name)
                self._info = self._kind.from_config(config)
                self._name = self._name or self._info.name
            return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        """Its tokenizer; loaded once.

        Raises:
            TokenizerUnavailableError: there is none to be had.
            ContractMismatchError: it is not the one that the model was exported with.
        """
        info = self.info
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = TextTokenizer.load(
                    info, tokenizer=self._tokenizer_place, prefix=self._prefix, suffix=self._suffix
                )
            return self._tokenizer

    def is_ready(self) -> bool:
        """Says whether the server would take a request for it; without a name, for any model of its kind.

        Raises:
            Qwen3ClientError: the server could not be asked.
        """
        if self._name is None:
            return any(self._kind.fits(config) for config in self._ready_configs().values())
        connection = self._connection
        return connection.transport.is_ready(self._name, timeout_s=connection.timeout_s)

    def answers(
        self,
        items: Iterable[_Item],
        *,
        prompt: Callable[[_Item], str],
        read: Callable[[Outputs], _Result],
        truncate: bool,
        noun: str,
    ) -> Iterator[_Result]:
        """Asks the model about any number of items, in bounded memory.

        Args:
            items: what to ask about; at most twice the connection's `concurrency` are held.
            prompt: makes an item's text, which goes between prefix and suffix.
            read: takes what is wanted out of the server's answer to one item.
            truncate: whether a text that is too long loses its end instead of raising.
            noun: what an item is called in errors.

        Yields:
            What `read` returns, in the order of the items.

        Raises:
            Qwen3ClientError: the first failure, with the index of its item.
        """
        encode = partial(self.tokenizer.encode, truncate=truncate, noun=noun)
        return self._connection.in_order(self._calls(items, prompt=prompt, encode=encode, read=read, noun=noun))

    def _calls(
        self,
        items: Iterable[_Item],
        *,
        prompt: Callable[[_Item], str],
        encode: Callable[..., list[NDArray[np.int64]]],
        read: Callable[[Outputs], _Result],
        noun: str,
    ) -> Iterator[list[Callable[[], _Result]]]:
        """Yields a group of requests at a time, none of them sent yet."""
        source = iter(items)
        index = 0
        while group := list(islice(source, self._connection.concurrency)):
            prompts = []
            for i, item in enumerate(group, start=index):
                with about(noun, i):
                    prompts.append(prompt(item))
            rows = encode(prompts, first_index=index)
            yield [partial(self._ask, row, read=read, noun=noun, index=i) for i, row in enumerate(rows, start=index)]
            index += len(group)

    def _ask(
        self, input_ids: NDArray[np.int64], *, read: Callable[[Outputs], _Result], noun: str, index: int
    ) -> _Result:
        with about(noun, index):
            outputs = self._connection.transport.infer(
                self._name or self.info.name,
                input_ids,
                outputs=self._kind.OUTPUTS,
                timeout_s=self._connection.timeout_s,
            )
            return read(outputs)

    def _choose(self) -> Mapping[str, Any]:
        """Returns the config of the server's only READY model of this kind."""
        configs = self._ready_configs()
        found = {name: config for name, config in configs.items() if self._kind.fits(config)}
        noun, option = self._kind.NOUN, self._kind.OPTION
        if len(found) > 1:
            raise ContractMismatchError(
                f"the server has more than one {noun}: {', '.join(found)}; name one with {option}="
            )
        if not found:
            others = f"only {', '.join(configs)}" if configs else "and no other model"
            raise ContractMismatchError(
                f"the server has no {noun} that is ready, {others}; export one with "
                f"`qwen3-triton export {self._kind.CHECKPOINT}` and start the server again"
            )
        (config,) = found.values()
        return config

    def _ready_configs(self) -> dict[str, Mapping[str, Any]]:
        configs = {}
        for name in self._connection.transport.models(timeout_s=self._connection.timeout_s):
            try:
                configs[name] = self._config(name)
            except ContractMismatchError:  # unloaded in the meantime
                continue
        return configs

    def _config(self, name: str) -> Mapping[str, Any]:
        return self._connection.transport.model_config(name, timeout_s=self._connection.timeout_s)
