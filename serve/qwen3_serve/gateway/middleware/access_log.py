"""The access log: one line of JSON per request. It never holds a text, an API key, or a path that is not a route."""

import logging
import sys
from datetime import datetime, timezone

import orjson

from ..exchange import Exchange

_access = logging.getLogger("qwen3_serve.gateway.access")

_UPGRADE_WARNINGS = ("Unsupported upgrade request", "No supported WebSocket library")


def log_exchange(exchange: Exchange, *, route: str, seconds: float) -> None:
    """Write the line of a request that is finished."""
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "request_id": exchange.request_id,
        "method": exchange.method,
        "route": route,
        "status": exchange.status,
        "ms": round(seconds * 1000, 3),
        "items": exchange.items,
        "tokens": exchange.tokens,
    }
    if exchange.cause:
        line["cause"] = exchange.cause
    _access.info(orjson.dumps(line).decode())


def configure_logging() -> None:
    """Send the access log to stdout and warnings and errors to stderr, for the command."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    _access.handlers = [lines]
    _access.setLevel(logging.INFO)
    _access.propagate = False
    errors = logging.StreamHandler(sys.stderr)
    errors.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().handlers = [errors]
    logging.getLogger().setLevel(logging.WARNING)
    # Java's own client offers an upgrade with every request. It is ignored, and uvicorn would warn each time.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_UPGRADE_WARNINGS))
