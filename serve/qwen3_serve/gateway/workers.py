"""The workers of a gateway: one process, or several that share a listening socket and their metrics.

Knows nothing about the command's options.
"""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from .settings import ENVIRONMENT_VARIABLE, Settings

_APP = "qwen3_serve.gateway.app:from_environment"
# Not httptools: with it, uvicorn drops the body of a request that offers `Upgrade: h2c`, as every POST of Java's own
# client does (uvicorn#2722). h11 costs 0.1 ms more per request.
HTTP = "h11"


def run_workers(
    settings: Settings,
    listener: socket.socket,
    *,
    workers: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    drain_timeout_s: int,
    keep_alive_s: int,
) -> bool:
    """Answer requests until a signal arrives.

    Args:
        settings: The settings of every worker.
        listener: The socket, which listens already.
        workers: How many processes; 1 for this one alone.
        tls_certificate: The certificate chain, to serve HTTPS.
        tls_key: Its private key.
        drain_timeout_s: How long requests may take to finish when the gateway stops.
        keep_alive_s: How long an idle connection stays open.

    Returns:
        Whether the application started.
    """
    options: dict[str, Any] = {
        "factory": True,
        "workers": workers,
        "ssl_certfile": tls_certificate,
        "ssl_keyfile": tls_key,
        "timeout_graceful_shutdown": drain_timeout_s,
        "timeout_keep_alive": keep_alive_s,
        "http": HTTP,
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "log_config": None,
    }
    with _environment(settings, workers=workers):
        if workers > 1:
            uvicorn.run(_APP, fd=listener.fileno(), **options)
            return True
        server = uvicorn.Server(uvicorn.Config(_APP, **options))
        with contextlib.suppress(KeyboardInterrupt):
            # It closes the socket as soon as it stops, so that no client waits in vain.
            server.run(sockets=[listener])
        return bool(server.started)


@contextlib.contextmanager
def _environment(settings: Settings, *, workers: int) -> Iterator[None]:
    """Put the settings, and a folder for the metrics, into the environment of the workers."""
    variables = {ENVIRONMENT_VARIABLE: settings.to_json()}
    with contextlib.ExitStack() as stack:
        if workers > 1:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen3-gateway-"))
            variables["PROMETHEUS_MULTIPROC_DIR"] = folder
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                os.environ.pop(name, None)
