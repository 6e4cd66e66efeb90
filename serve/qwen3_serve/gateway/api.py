"""The parts of one API that the rest of the gateway uses: its routes, and how it renders errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request

from .engine import Engine
from .errors import ApiError
from .exchange import Exchange, exchange_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """One API.

    Attributes:
        router: Its routes.
        paths: Its paths; one that ends in "/" includes all paths below it.
        render_error: Returns the HTTP status and the JSON of an error; takes the error and the request's id.
        schemas: The request bodies that it takes.
        error_schema: The body of its error responses.
    """

    router: APIRouter
    paths: tuple[str, ...]
    render_error: Callable[[ApiError, str], tuple[int, dict[str, Any]]]
    schemas: tuple[type[BaseModel], ...]
    error_schema: type[BaseModel]

    def has(self, path: str) -> bool:
        """Return whether a path belongs to this API."""
        return any(path == own or (own.endswith("/") and len(own) > 1 and path.startswith(own)) for own in self.paths)


def engine_of(request: Request) -> Engine:
    """Return the engine of the application that received a request."""
    return cast(Engine, request.app.state.engine)


def exchange_for(request: Request) -> Exchange:
    """Return the record of a request."""
    return exchange_of(request.scope)
