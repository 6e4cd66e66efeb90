"""The model on the server as it is now: found by its name or kind, and looked at again, because it may be replaced.

A server's operator may export a model again, or edit its config, and load it while clients run. So its config is read
again every few seconds in which there are calls, and whenever an answer shows that another model gave it. This module
knows nothing about texts.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from typing import Any, Generic

from .at_once import need_loop
from .contract import InfoT
from .cuts import CutCounter
from .errors import ContractMismatchError, ModelChangedError, Qwen3ClientError, UnknownModelError
from .fingerprint import as_number
from .once import Once
from .served_model import ServedModel
from .session import Session, pause_s
from .terms import Terms

_MAX_AGE_S = 5.0  # of what the config said, when a call begins
_LOOK_S = 1.0  # for which a call waits for the config to be read again; then it goes by what is known
_TRIES = 8  # of a call, while the model changes

_log = logging.getLogger("qwen3_client")


class CurrentModel(Generic[InfoT]):
    """An embedding model or a reranker on the server.

    Args:
        session: the connection to the server.
        kind: the class of the model's description, which also names its outputs.
        name: its name on the server; None for the only model of its kind there.
        tokenizer: folder with its tokenizer.json, or a Hub id; None for the tokenizer that the server names.
        fingerprint: the fingerprint that the model must have; None for any.

    Attributes:
        name: its name on the server; None until it is known.
        fingerprint: the fingerprint that the model must have; None for any.
        cut_counter: counts what is cut off from the ends of texts; None, the initial value, to not count.
    """

    def __init__(
        self,
        session: Session,
        kind: type[InfoT],
        *,
        name: str | None,
        tokenizer: str | os.PathLike[str] | None,
        fingerprint: str | None = None,
    ) -> None:
        self._session = session
        self._kind = kind
        self.name = name
        self.fingerprint = fingerprint
        self.cut_counter: CutCounter | None = None
        self._tokenizer = tokenizer
        self._served: ServedModel[InfoT] | None = None
        self._read_at = float("-inf")
        self._reading = self._new_reading()

    async def info(self) -> InfoT:
        """Return what the model says about itself, at most some seconds ago.

        Raises:
            ContractMismatchError: there is no such model, or more than one and none was named, or it is of another
                kind, or its fingerprint is not the one that is expected.
            Qwen3ClientError: the server could not be asked.
        """
        return (await self.get()).info

    async def is_ready(self) -> bool:
        """Return whether the server accepts requests for the model or, if its name is not known, for any of its kind.

        Raises:
            Qwen3ClientError: the server could not be asked.
        """
        if self.name is None:
            return any(self._kind.fits(config) for config in (await self._ready_configs()).values())
        return await self._session.is_ready(self.name)

    async def get(self, *, max_age_s: float = _MAX_AGE_S) -> ServedModel[InfoT]:
        """Return the model, for one call.

        Args:
            max_age_s: seconds after which its config is read again. If the server does not answer, what is known
                counts, because requests are retried.

        Raises:
            ContractMismatchError: as `info`.
            NeedsLoopError: its config has to be read, and there is no loop to wait on.
            Qwen3ClientError: the server could not be asked, and never was before.
        """
        if self._served is not None and time.monotonic() - self._read_at > max_age_s:
            need_loop()
            reading = asyncio.ensure_future(self._reading.get())
            await asyncio.wait({reading}, timeout=_LOOK_S)
            if not reading.done():
                reading.add_done_callback(_seen)
            elif isinstance(error := reading.exception(), ContractMismatchError) and not isinstance(
                error,
                UnknownModelError,  # which the answer also is while Triton starts
            ):
                raise error
        served = self._served or await self._reading.get()
        served.cut_counter = self.cut_counter
        return served

    def attempts(self) -> Iterator[contextlib.AbstractAsyncContextManager[ServedModel[InfoT]]]:
        """Yield attempts at the work of one call: contexts that give the model.

        Where the model is replaced while a context lasts, its work ends there, and all of it is to be done again in the
        next one. The last one raises the error.

        Raises:
            ModelChangedError: what answers is again and again another model than the server's config describes.
            Qwen3ClientError: the server could not be asked.
        """
        for tries in range(1, _TRIES + 1):
            yield self._attempt(tries)

    @contextlib.asynccontextmanager
    async def _attempt(self, tries: int) -> AsyncIterator[ServedModel[InfoT]]:
        served = await self.get()
        try:
            yield served
        except ModelChangedError as error:
            if tries == _TRIES:
                raise
            if not await self.follow(served, error):
                await asyncio.sleep(pause_s(tries))

    async def with_fingerprint(self, fingerprint: str | None) -> ServedModel[InfoT]:
        """Return the model, for a call with or about token ids, which belong to one tokenizer.

        Args:
            fingerprint: that of the model for which they are; None for the present one.

        Raises:
            ModelChangedError: the server has another model now.
            Qwen3ClientError: as `get`.
        """
        served = await self.get()
        if fingerprint not in (None, served.info.fingerprint):
            served = await self.get(max_age_s=0)
        if fingerprint not in (None, served.info.fingerprint):
            raise ModelChangedError(
                f"the model {served.info.name!r} at {self._session.options.address} has the fingerprint "
                f"{served.info.fingerprint} now, not {fingerprint}; begin again, with the texts",
                answered=served.info.fingerprint,
            )
        return served

    @contextlib.asynccontextmanager
    async def followed(self, served: ServedModel[InfoT]) -> AsyncIterator[None]:
        """Find out what the server has now if the work inside ends with `ModelChangedError`, which is raised again."""
        try:
            yield
        except ModelChangedError as error:
            await self.follow(served, error)
            raise

    async def follow(self, served: ServedModel[InfoT], error: ModelChangedError) -> bool:
        """Find out what the server has now.

        Args:
            served: the model that was asked.
            error: what the answer showed.

        Returns:
            Whether it is another model than `served`.

        Raises:
            ContractMismatchError: its fingerprint is not the one that is expected.
            Qwen3ClientError: the server could not be asked.
        """
        need_loop()
        if self._served is served:
            self._reading = self._new_reading()  # one that began before may know nothing of the change
            await self._reading.get()
        if self._served is served and error.answered is not None:
            number = as_number(error.answered)
            if number in served.terms.known:  # the operator went back to an older version
                other = served.answered_by(number)
                other.info.check_fingerprint(self.fingerprint)
                self._replace(other)
        return self._served is not served

    def _new_reading(self) -> Once[ServedModel[InfoT]]:
        return Once(self._read, create_task=self._session.create_task)

    async def _read(self) -> ServedModel[InfoT]:
        """Read the model's config, and keep the model that it describes."""
        try:
            config = await (self._choose() if self.name is None else self._named(self.name))
            terms = Terms.from_config(config, kind=self._kind)
            served = self._served
            if served is None or not terms.agree(served.stated):
                served = ServedModel(self._session, terms, tokenizer=self._tokenizer)
            served.info.check_fingerprint(self.fingerprint)
        except UnknownModelError:
            raise
        except ContractMismatchError:
            self._served = None  # every further call asks again
            raise
        finally:
            self._read_at = time.monotonic()
        self.name = served.info.name
        self._replace(served)
        self._reading = self._new_reading()
        return served

    def _replace(self, served: ServedModel[InfoT]) -> None:
        before, self._served = self._served, served
        if before is not None and before is not served:
            _log.warning(
                "the model %r at %s was replaced: its fingerprint is %s, and was %s",
                served.info.name,
                self._session.options.address,
                served.info.fingerprint,
                before.info.fingerprint,
            )

    async def _choose(self) -> Mapping[str, Any]:
        """Return the config of the server's only READY model of this kind."""
        configs = await self._ready_configs()
        found = {name: config for name, config in configs.items() if self._kind.fits(config)}
        noun, option = self._kind.NOUN, self._kind.OPTION
        if len(found) > 1:
            raise ContractMismatchError(
                f"the server has more than one {noun}: {', '.join(found)}; name one with {option}="
            )
        if not found:
            raise ContractMismatchError(
                f"the server has no {noun} that is ready, {_others(configs)}; export one with "
                f"`qwen3-triton export {self._kind.CHECKPOINT}` and start the server again"
            )
        (config,) = found.values()
        return config

    async def _named(self, name: str) -> Mapping[str, Any]:
        """Return the config of the model that the caller named."""
        try:
            return await self._session.model_config(name)
        except UnknownModelError as unknown:
            try:
                configs = await self._ready_configs()
            except Qwen3ClientError:  # the client may lack the right to list the models
                raise unknown from None
            noun, option = self._kind.NOUN, self._kind.OPTION
            found = [other for other, config in configs.items() if self._kind.fits(config)]
            if found:
                there = f"its {noun}s are: {', '.join(found)}; name one of them with {option}="
            else:
                there = f"nor any {noun} that is ready, {_others(configs)}"
            raise UnknownModelError(f"the server has no model {name!r}; {there}") from unknown

    async def _ready_configs(self) -> dict[str, Mapping[str, Any]]:
        configs: dict[str, Mapping[str, Any]] = {}
        for name in await self._session.models():
            try:
                configs[name] = await self._session.model_config(name)
            except ContractMismatchError:  # unloaded in the meantime
                continue
        return configs


def _others(names: Collection[str]) -> str:
    return f"only {', '.join(names)}" if names else "and no other model"


def _seen(reading: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a reading that nobody waits for."""
    if not reading.cancelled():
        reading.exception()
