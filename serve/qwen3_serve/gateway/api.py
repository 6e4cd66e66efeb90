"""What one API is to the rest of the gateway: its routes, and how it words a failure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from .engine import Engine
from .errors import Failure
from .exchange import Exchange, exchange_of

__all__ = ["Api", "engine_of", "exchange_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API.

    Attributes:
        router: its routes.
        paths: its paths; one that ends in "/" stands for all below it.
        render_error: makes the HTTP status and the JSON of a failure, given the request's id.
        schemas: the bodies that it takes.
        failure_schema: the body of its failures.
    """

    router: APIRouter
    paths: tuple[str, ...]
    render_error: Callable[[Failure, str], tuple[int, dict[str, Any]]]
    schemas: tuple[type[BaseModel], ...]
    failure_schema: type[BaseModel]

    def has(self, path: str) -> bool:
        """Says whether a path is one of this API's."""
        return any(path == own or (own.endswith("/") and len(own) > 1 and path.startswith(own)) for own in self.paths)


def engine_of(request: Request) -> Engine:
    """Returns the engine of the application that a request came to."""
    return cast(Engine, request.app.state.engine)


def exchange_for(request: Request) -> Exchange:
    """Returns the record of a request."""
    return exchange_of(request.scope)
