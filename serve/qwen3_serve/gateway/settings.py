"""All options of the gateway in one value, which is passed to its worker processes.

A worker is a new process that gets only its environment, so the settings are put there as JSON. This module knows
nothing about what the options do.
"""

import dataclasses
import json
import math
import os
import re
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

EmptyDocuments = Literal["lowest", "refuse"]

ENVIRONMENT_VARIABLE = "QWEN3_GATEWAY_SETTINGS"


class SettingsError(ValueError):
    """An option that cannot be used, or two that contradict each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of one gateway. Each worker process applies the limits separately.

    Attributes:
        triton: Triton's URL, as `qwen3_client` takes it.
        triton_token: Bearer token to send to Triton, or to a proxy in front of it.
        triton_ca: PEM file of the certificate authorities that are trusted for Triton; None for the system's.
        triton_certificate: PEM file of the gateway's own certificate for Triton (mTLS).
        triton_key: PEM file of its private key.
        model: Name of the embedding model on Triton; None for the only one there.
        reranker: Name of the reranker on Triton; None for the only one there.
        tokenizer: Folder with the embedding model's tokenizer.json, or Hub id; None for the one that Triton names.
        reranker_tokenizer: The same for the reranker.
        special_tokens: Whether special tokens in texts are read as such, instead of as plain text.
        model_aliases: Further names that requests may use for the embedding model.
        reranker_aliases: Further names that requests may use for the reranker.
        calibration: File with the value range of each dimension, for int8 and uint8 vectors; None to refuse these.
        concurrency: Most items (texts or pairs) that are sent to Triton at once.
        timeout_s: Seconds that Triton may take for one item, including its wait in Triton's queue.
        api_keys: The API keys that are accepted; none to accept every request.
        max_requests: Most HTTP requests in progress at once.
        max_body_bytes: Most bytes of one request's body.
        max_held_bytes: Most bytes of all request bodies in memory at once.
        body_timeout_s: Seconds that a request's body may take to arrive.
        max_items: Most items of one request.
        max_request_tokens: Most tokens of one request, all its items together.
        max_pending_items: Most items that are accepted and not yet answered.
        max_pending_tokens: Most tokens that are accepted and not yet answered.
        readiness_s: Seconds for which `/ready` repeats its last result without asking Triton.
        access_log: Whether to write a line for each request.
        append_end_token: Whether token ids that do not end in the end-of-text token are taken, with it appended.
            False refuses them: they are probably another model's.
        empty_documents: What becomes of an empty document of a rerank request: "lowest" gives it score 0, and "refuse"
            refuses the request.
        cors_origins: Origins whose web pages may read responses, such as "https://app.example"; "*" for all.
        root_path: Path that a proxy puts before the gateway's, such as "/embeddings".

    Raises:
        SettingsError: An option cannot be used, or two contradict each other.
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
    special_tokens: bool = False
    model_aliases: tuple[str, ...] = ()
    reranker_aliases: tuple[str, ...] = ()
    calibration: str | None = None
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
    append_end_token: bool = False
    empty_documents: EmptyDocuments = "lowest"
    cors_origins: tuple[str, ...] = ()
    root_path: str = ""

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
                raise SettingsError(f"{one} is above {all_together}: such a request could never be accepted")
        for key in self.api_keys:
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise SettingsError("an API key must be printable ASCII without spaces, to fit into an HTTP header")
        if self.empty_documents not in get_args(EmptyDocuments):
            raise SettingsError(f"empty_documents must be lowest or refuse, not {self.empty_documents!r}")
        if self.root_path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", self.root_path):
            raise SettingsError(
                f"root_path must look like /some/path, without a slash at its end, not {self.root_path!r}"
            )
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
                raise SettingsError(f"cors_origins must be like https://app.example, or *, not {origin!r}")

    def to_json(self) -> str:
        """Return the settings as `from_json` reads them."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Read settings from JSON.

        Raises:
            SettingsError: The text is no JSON of settings, or an option cannot be used.
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
        """Read the settings that the command put into the environment of its workers; without any, the defaults.

        Raises:
            SettingsError: The settings cannot be used.
        """
        return cls.from_json(os.environ.get(ENVIRONMENT_VARIABLE, "{}"))
