"""Every option of the gateway, in one value that travels to its worker processes.

A worker is a fresh process that knows only its environment, so the settings go there as JSON. This module knows nothing
about what the options do.
"""

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ENVIRONMENT_VARIABLE", "Settings", "SettingsError"]

ENVIRONMENT_VARIABLE = "QWEN3_GATEWAY_SETTINGS"


class SettingsError(ValueError):
    """An option that cannot be used, or two that contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of one gateway. Limits hold for each worker process on its own.

    Attributes:
        triton: Triton's URL, as `qwen3_client` takes it.
        triton_token: bearer token to show to Triton, or to a proxy in front of it.
        triton_ca: PEM file of the authorities that may vouch for Triton; None for those that the system trusts.
        triton_certificate: PEM file of the gateway's own certificate for Triton (mTLS).
        triton_key: PEM file of its private key.
        model: name of the embedding model on Triton; None for the only one there.
        reranker: name of the reranker on Triton; None for the only one there.
        tokenizer: folder with the embedding model's tokenizer.json, or Hub id; None for what Triton names.
        reranker_tokenizer: the same for the reranker.
        model_aliases: more names that requests may use for the embedding model.
        reranker_aliases: more names that requests may use for the reranker.
        concurrency: most items (texts or pairs) that are on their way to Triton at once.
        timeout_s: seconds that Triton may take for one item, its wait in Triton's queue included.
        api_keys: the keys that open the gateway; none for a gateway that is open to all.
        max_requests: most HTTP requests that are worked on at once.
        max_body_bytes: most bytes of one request's body.
        max_held_bytes: most bytes of all bodies that are held at once.
        body_timeout_s: seconds that a request's body may take to arrive.
        max_items: most items of one request.
        max_request_tokens: most tokens of one request, its items together.
        max_pending_items: most items that are admitted and not yet answered.
        max_pending_tokens: most tokens that are admitted and not yet answered.
        readiness_s: seconds for which an answer about Triton's readiness is believed.
        access_log: whether to write a line for each request.

    Raises:
        SettingsError: an option makes no sense.
    """

    triton: str = "localhost:8001"
    triton_token: str | None = field(default=None, repr=False)
    triton_ca: str | None = None
    triton_certificate: str | None = None
    triton_key: str | None = None
    model: str | None = None
    reranker: str | None = None
    tokenizer: str | None = None
    reranker_tokenizer: str | None = None
    model_aliases: tuple[str, ...] = ()
    reranker_aliases: tuple[str, ...] = ()
    concurrency: int = 64
    timeout_s: float = 300.0
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    max_requests: int = 512
    max_body_bytes: int = 8 * 1024 * 1024
    max_held_bytes: int = 64 * 1024 * 1024
    body_timeout_s: float = 30.0
    max_items: int = 2048  # OpenAI's
    max_request_tokens: int = 1_000_000
    max_pending_items: int = 8192
    max_pending_tokens: int = 4_000_000
    readiness_s: float = 1.0
    access_log: bool = True

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if option.type in (int, float) and not 0 < value < math.inf:
                raise SettingsError(f"{option.name} must be a positive number, not {value!r}")
        for one, all_together in (
            ("max_body_bytes", "max_held_bytes"),
            ("max_items", "max_pending_items"),
            ("max_request_tokens", "max_pending_tokens"),
        ):
            if getattr(self, one) > getattr(self, all_together):
                raise SettingsError(f"{one} is above {all_together}: such a request could never be admitted")
        for key in self.api_keys:
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise SettingsError("an API key must be printable ASCII without spaces, as HTTP headers want it")

    def to_json(self) -> str:
        """Returns the settings as `from_json` reads them."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Reads settings from JSON.

        Raises:
            SettingsError: it is not JSON of settings, or an option makes no sense.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            chosen: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
            }
            return cls(**chosen)
        except (AttributeError, TypeError, json.JSONDecodeError) as error:
            raise SettingsError(f"{ENVIRONMENT_VARIABLE} does not hold the gateway's settings: {error}") from error

    @classmethod
    def from_environment(cls) -> "Settings":
        """Reads the settings that the command left for its workers; without any, the defaults.

        Raises:
            SettingsError: there are settings that cannot be used.
        """
        return cls.from_json(os.environ.get(ENVIRONMENT_VARIABLE, "{}"))
