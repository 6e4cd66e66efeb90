"""HTTP requests to the Triton that this process started: health, configuration, and single inferences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any

from .ports import reachable

TIMEOUT_S = 5.0

# "--http-restricted-api=inference,model-config:<header>=<value>"
_RESTRICTED = "--http-restricted-api"


class HttpProbe:
    """Sends requests to one Triton.

    Args:
        host: The address that it listens on.
        port: Its HTTP port.
        arguments: The arguments of tritonserver. If they restrict APIs to requests with a certain header, requests
            are sent with that header.
    """

    def __init__(self, host: str, port: int, *, arguments: Sequence[str]) -> None:
        self._host = reachable(host)
        self._port = port
        self._headers = _headers(arguments)

    def get(self, path: str) -> tuple[int, bytes]:
        """Send a GET request; return the status and the body of the response.

        Raises:
            OSError: Triton does not answer.
            HTTPException: The response is not HTTP.
        """
        return self._exchange("GET", path)

    def get_json(self, path: str) -> Any:  # noqa: ANN401
        """Send a GET request; return the body of the response, parsed as JSON. Raises as `get` does."""
        return json.loads(self.get(path)[1])

    def post(self, path: str, body: bytes, *, timeout_s: float) -> tuple[int, bytes]:
        """Send a POST request; return the status and the body of the response. Raises as `get` does."""
        return self._exchange("POST", path, body, timeout_s=timeout_s)

    def is_ready(self, server_id: str) -> bool:
        """Return whether the Triton with this id is ready.

        If it lost its port to another server, that one's response has another id.
        """
        try:
            return bool(self.get_json("/v2")["name"] == server_id) and self.get("/v2/health/ready")[0] == HTTPStatus.OK
        except (OSError, HTTPException, ValueError, KeyError):
            return False

    def is_version_ready(self, model: str, version: str) -> bool | None:
        """Return whether a version of a model is loaded; None if Triton does not answer."""
        try:
            return self.get(f"/v2/models/{model}/versions/{version}/ready")[0] == HTTPStatus.OK
        except (OSError, HTTPException):
            return None

    def _exchange(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> tuple[int, bytes]:
        # Not urllib, which would send the request to a proxy that the environment names.
        connection = HTTPConnection(self._host, self._port, timeout=timeout_s)
        try:
            connection.request(method, path, body, self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _headers(arguments: Sequence[str]) -> dict[str, str]:
    """Return the headers that the arguments of tritonserver require for restricted APIs."""
    joined = " ".join(arguments).replace(f"{_RESTRICTED} ", f"{_RESTRICTED}=")
    words = [word.removeprefix(f"{_RESTRICTED}=") for word in joined.split() if word.startswith(f"{_RESTRICTED}=")]
    headers = [word.partition(":")[2] for word in words]  # "protocols:header=value"
    return dict(header.split("=", 1) for header in headers if "=" in header)
