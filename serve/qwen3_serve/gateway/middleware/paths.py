"""Brings paths and methods into the form that the routes have: without a proxy's prefix, without needless slashes."""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

_SLASHES = re.compile("/{2,}")


class PlainPaths:
    """Middleware that removes the prefix of a proxy, and slashes that are doubled or at the end of a path.

    A redirect would do for the slashes too, but many clients send a redirected POST again as GET.

    Args:
        app: The application within.
        root_path: The prefix; a path may have it or not, because some proxies remove it themselves.
    """

    def __init__(self, app: ASGIApp, *, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] == "http":
            path = _SLASHES.sub("/", scope["path"])
            if self._root_path and f"{path}/".startswith(f"{self._root_path}/"):
                path = path.removeprefix(self._root_path)
            scope = {**scope, "path": path.rstrip("/") or "/", "root_path": self._root_path}
        await self._app(scope, receive, send)


class HeadAsGet:
    """Middleware that answers HEAD as GET; the HTTP server leaves the body of the response out.

    Args:
        app: The application within.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI defines it."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
