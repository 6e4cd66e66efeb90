"""Authentication by API key.

A key is sent as `Authorization: Bearer`, as clients of OpenAI, Cohere, Jina and Hugging Face do, or in the header
`api-key` (Azure) or `x-api-key`. Routes for probes and scrapers need no key: they return nothing but counts.
"""

import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError
from ..settings import SettingsError

KEYS_VARIABLE = "QWEN3_GATEWAY_API_KEYS"
_NO_KEY_NEEDED = {
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/docs",
    "/openapi.json",
    "/ping",
    "/v1/health/live",
    "/v1/health/ready",
}  # with GET and HEAD
_HEADERS = (b"api-key", b"x-api-key")


class ApiKeys:
    """Middleware that refuses requests without a valid key.

    Args:
        app: The application within.
        keys: The valid keys; without any, all requests pass.
    """

    def __init__(self, app: ASGIApp, *, keys: Iterable[str]) -> None:
        self._app = app
        self._keys = [key.encode("ascii") for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if (
            scope["type"] == "http"
            and self._keys
            and not (scope["path"] in _NO_KEY_NEEDED and scope["method"] in ("GET", "HEAD"))
            and not self._has_valid_key(scope)
        ):
            raise ApiError(
                "unauthorized",
                "this gateway needs an API key, in the header Authorization: Bearer, api-key or x-api-key",
                headers={"www-authenticate": "Bearer"},
            )
        await self._app(scope, receive, send)

    def _has_valid_key(self, scope: Scope) -> bool:
        found = False
        for sent in _sent_keys(scope["headers"]):
            for key in self._keys:
                # Every key is compared, each in constant time, so that the time reveals nothing about it.
                found |= hmac.compare_digest(sent, key)
        return found


def _sent_keys(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    keys = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            keys.append(value[7:].strip())
        elif name in _HEADERS:
            keys.append(value.strip())
    return keys


def read_keys(file: Path | None) -> tuple[str, ...]:
    """Read the keys from a file and from the environment.

    Args:
        file: One key per line; blank lines and lines that begin with # are ignored. None for no file.

    Raises:
        SettingsError: The file cannot be read, or holds no key.
    """
    keys = os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the API keys in {file}: {error}") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            # Without keys the gateway accepts every request; an empty file must not cause that.
            raise SettingsError(f"{file} holds no API key: write one per line, or leave the option out")
        keys += found
    return tuple(dict.fromkeys(keys))
