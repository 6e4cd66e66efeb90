"""The routes of the gateway, for the log, the metrics and traces."""

import re
from collections.abc import Iterable

_OTHER = "other"


class Routes:
    """Finds the route of a path.

    Args:
        paths: The paths, with parameters as FastAPI writes them: `/v1/models/{name}`.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        every = set(paths)
        self._templates = {path: re.compile(re.sub(r"\{\w+\}", ".+", path)) for path in every if "{" in path}
        self._plain = frozenset(every - set(self._templates))

    def of(self, path: str) -> str:
        """Return the route of a path; "other" for an unknown path, which may be long, secret, or one of millions."""
        if path in self._plain:
            return path
        return next((route for route, pattern in self._templates.items() if pattern.fullmatch(path)), _OTHER)
