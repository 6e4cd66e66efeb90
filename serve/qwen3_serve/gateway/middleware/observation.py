"""The outermost middleware: every request gets an id and is counted, timed and logged, also if it fails."""

from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..exchange import open_exchange
from ..routes import Routes
from .access_log import log_exchange
from .error_responses import CLIENT_GONE
from .metrics import Metrics


class Observation:
    """Middleware that records requests.

    Args:
        app: The application within.
        metrics: Counts the requests.
        routes: All routes of the gateway.
        access_log: Whether to log each request.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Routes, access_log: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = open_exchange(scope)
        route = self._routes.of(scope["path"])

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.request_id.encode())]
                if exchange.fingerprint:
                    message["headers"].append((b"x-model-fingerprint", exchange.fingerprint.encode()))
                if exchange.truncated and not exchange.cause:
                    message["headers"].append((b"x-truncated", exchange.truncated.encode()))
            await send(message)

        self._metrics.requests_in_progress.inc()
        try:
            await self._app(scope, receive, noted)
        finally:
            exchange.status = exchange.status or CLIENT_GONE
            seconds = perf_counter() - exchange.started
            self._metrics.requests_in_progress.dec()
            self._metrics.record(exchange, route=route, seconds=seconds)
            if self._access_log:
                log_exchange(exchange, route=route, seconds=seconds)
