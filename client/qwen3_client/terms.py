"""The terms under which a model is asked: what its config says, and how its answers show that this still holds.

All requests of one call are made under the same terms. This module knows nothing about requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic

from .contract import InfoT, string_parameters
from .fingerprint import EARLIER, OUTPUT_NAME, as_number, from_number, is_fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms(Generic[InfoT]):
    """What a client goes by when it asks a model.

    Attributes:
        info: what the model says about itself.
        number: the number that each answer must hold, which is the fingerprint that the export stated; None for an
            earlier export, whose answers hold none.
        known: the numbers of all versions of the model, which share tokenizer, prompts and config.
        most_texts: the maximum number of texts in one request.
    """

    info: InfoT
    number: int | None
    known: frozenset[int]
    most_texts: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, kind: type[InfoT]) -> "Terms[InfoT]":
        """Check a Triton model config against the contract, and read the terms from it.

        Args:
            config: the config as JSON, with the names of Triton's `model_config.proto`.
            kind: the class of the model's description.

        Raises:
            ContractMismatchError: it does not meet the contract.
        """
        info = kind.from_config(config)
        parameters = string_parameters(config)
        stated = parameters.get("fingerprint", "")
        is_named = is_fingerprint(stated) and any(
            output.get("name") == OUTPUT_NAME for output in config.get("output") or []
        )
        earlier = [text for text in parameters.get(EARLIER, "").split(",") if is_fingerprint(text)]
        return cls(
            info=info,
            number=as_number(stated) if is_named else None,
            known=frozenset(map(as_number, [stated, *earlier])) if is_named else frozenset(),
            most_texts=_most_texts(config),
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs that a request asks for."""
        return self.info.OUTPUTS if self.number is None else (*self.info.OUTPUTS, OUTPUT_NAME)

    def agree(self, other: "Terms[InfoT]") -> bool:
        """Return whether two configs mean the same for a client, wherever checkpoint and tokenizer came from."""
        return self._essence() == other._essence()

    def answered_by(self, number: int) -> "Terms[InfoT]":
        """Return the terms where another version of the same model answers."""
        return replace(self, number=number, info=replace(self.info, fingerprint=from_number(number)))

    def _essence(self) -> "Terms[InfoT]":
        return replace(self, info=replace(self.info, source="", revision="", tokenizer="", model_size=""))


def _most_texts(config: Mapping[str, Any]) -> int:
    if (config.get("response_cache") or {}).get("enable"):
        return 1  # the cache compares whole requests, so it can find a text again only if each text is sent alone
    return max(int(config.get("max_batch_size", 0)), 1)
