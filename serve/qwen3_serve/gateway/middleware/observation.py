"""The outermost layer: every request gets an id, is counted, timed and logged, whatever becomes of it."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..exchange import open_exchange
from .access_log import log_exchange
from .boundary import CLIENT_GONE
from .metrics import Metrics

__all__ = ["Observation", "route_of"]

_OTHER = "other"


class Observation:
    """Watches requests.

    Args:
        app: what answers them.
        metrics: where they are counted.
        routes: the paths that there are.
        access_log: whether to write a line for each.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: frozenset[str], access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = open_exchange(scope)
        route = route_of(scope["path"], self._routes)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.request_id.encode())]
            await send(message)

        self._metrics.requests_in_progress.inc()
        try:
            await self._app(scope, receive, noted)
        finally:
            exchange.status = exchange.status or CLIENT_GONE
            seconds = perf_counter() - exchange.started
            self._metrics.requests_in_progress.dec()
            self._metrics.note(exchange, route=route, seconds=seconds)
            if self._access_log:
                log_exchange(exchange, route=route, seconds=seconds)


def route_of(path: str, routes: frozenset[str]) -> str:
    """Returns the route that a path belongs to, "other" for none: a path may be long, secret, or one of millions."""
    if path in routes:
        return path
    return "/v1/models/{name}" if path.startswith("/v1/models/") else _OTHER
