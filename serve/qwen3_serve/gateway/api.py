"""The parts of one API that the rest of the gateway uses: its routes, and how it renders errors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Scope

from .engine import Engine
from .errors import ApiError
from .exchange import Exchange, exchange_of

_ANSWERED_AS = "qwen3_serve.gateway.api"


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


def answer_as(request: Request, api: Api) -> None:
    """Have the errors of a request rendered as this API's, on a route that two APIs share."""
    request.scope[_ANSWERED_AS] = api


def api_of(scope: Scope, apis: tuple[Api, ...]) -> Api:
    """Return the API that a request belongs to; the first one for a path that belongs to none."""
    if _ANSWERED_AS in scope:
        return cast(Api, scope[_ANSWERED_AS])
    # An API that lists the path itself goes before one that lists a prefix of it: /v1/rerank is Cohere's, the rest of
    # /v1/ OpenAI's.
    path = scope["path"]
    candidates = [api for api in apis if api.has(path)]
    return next((api for api in candidates if path in api.paths), candidates[0] if candidates else apis[0])


def engine_of(request: Request) -> Engine:
    """Return the engine of the application that received a request."""
    return cast(Engine, request.app.state.engine)


def exchange_for(request: Request) -> Exchange:
    """Return the record of a request."""
    return exchange_of(request.scope)
