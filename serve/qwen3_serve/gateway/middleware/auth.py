"""API keys: who may use the gateway.

A key comes as `Authorization: Bearer`, as OpenAI, Cohere, Jina and Hugging Face have it, or in `api-key` (Azure) or
`x-api-key`. What probes and scrapers ask for is open: it holds nothing but counts.
"""

import hmac
import os
from collections.abc import Iterable
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Failure
from ..settings import SettingsError

__all__ = ["KEYS_VARIABLE", "ApiKeys", "read_keys"]

KEYS_VARIABLE = "QWEN3_GATEWAY_API_KEYS"
_OPEN = {"/health", "/ready", "/metrics", "/docs", "/openapi.json"}
_HEADERS = (b"api-key", b"x-api-key")


class ApiKeys:
    """Lets requests with a key pass.

    Args:
        app: what they pass to.
        keys: the keys; without any, all pass.
    """

    def __init__(self, app: ASGIApp, *, keys: Iterable[str]) -> None:
        self._app = app
        self._keys = [key.encode("ascii") for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] == "http" and self._keys and scope["path"] not in _OPEN and not self._is_known(scope):
            raise Failure(
                "unauthorized",
                "this gateway needs an API key, in the header Authorization: Bearer, api-key or x-api-key",
                headers={"www-authenticate": "Bearer"},
            )
        await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        found = False
        for shown in _shown(scope["headers"]):
            for key in self._keys:
                # Every key is compared, each in constant time: neither tells how much of a guess was right.
                found |= hmac.compare_digest(shown, key)
        return found


def _shown(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    shown = []
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            shown.append(value[7:].strip())
        elif name in _HEADERS:
            shown.append(value.strip())
    return shown


def read_keys(file: Path | None) -> tuple[str, ...]:
    """Reads the keys from a file and from the environment.

    Args:
        file: one key a line; blank lines and lines that begin with # do not count. None for no file.

    Raises:
        SettingsError: the file cannot be read, or holds no key.
    """
    keys = os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the API keys in {file}: {error}") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            # An empty file must not open the gateway to all.
            raise SettingsError(f"{file} holds no API key: write one a line, or leave the option out")
        keys += found
    return tuple(dict.fromkeys(keys))
