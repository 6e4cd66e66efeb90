"""How the parts fit together.

A request passes, from the outside in: `Observation` (request id, log, metrics), `Tracing` where it is configured,
`ErrorResponses` (errors become responses), `ApiKeys`, `Limits`, and then the route of the API that was asked. The
routes share one `Engine`, and with it one connection to Triton. `PlainPaths` goes before all: the others see the paths
that the routes have.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from qwen3_client import AsyncClient, Tls, __version__
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from .api import Api
from .apis.cohere import COHERE
from .apis.nim import NIM
from .apis.ollama import OLLAMA
from .apis.openai import OPENAI
from .apis.operation import OPERATION_PATHS
from .apis.operation import router as operation_router
from .apis.rerank import RERANK
from .apis.tei import TEI
from .apis.vllm import VLLM
from .engine import Engine
from .errors import ApiError
from .middleware.access_log import configure_logging
from .middleware.auth import ApiKeys
from .middleware.error_responses import ErrorResponses, error_response
from .middleware.limits import Limits
from .middleware.metrics import Metrics
from .middleware.observation import Observation
from .middleware.paths import HeadAsGet, PlainPaths
from .middleware.tracing import Tracing, is_configured, tracer_provider
from .pending import PendingWork
from .readiness import Readiness
from .routes import Routes
from .settings import Settings
from .vector_types import load_calibration

_APIS: tuple[Api, ...] = (OPENAI, RERANK, COHERE, NIM, VLLM, TEI, OLLAMA)
_NOT_FOUND = 404


def create_app(settings: Settings | None = None) -> FastAPI:
    """Create the gateway's ASGI application. Nothing is sent to Triton before the first request needs it.

    Args:
        settings: The options; None for the defaults.

    Raises:
        SettingsError: The calibration cannot be used, or the environment asks for traces and the libraries that they
            need are not installed.
    """
    chosen = settings or Settings()
    provider = tracer_provider() if is_configured() else None
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        pending = PendingWork(
            max_items=chosen.max_pending_items, max_tokens=chosen.max_pending_tokens, on_change=metrics.set_pending
        )
        async with connect(chosen).on_running_loop() as client:
            app.state.engine = engine = Engine(client, pending=pending, settings=chosen)
            app.state.readiness = readiness = Readiness(engine, max_age_s=chosen.readiness_s)
            try:
                yield
            finally:
                await readiness.close()
                metrics.close()
                if provider is not None:
                    provider.shutdown()

    app = FastAPI(
        title="qwen3-triton gateway",
        summary="Qwen3-Embedding and Qwen3-Reranker in the APIs of OpenAI, NIM, Cohere, Jina, vLLM, TEI and Ollama.",
        version=__version__,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = chosen
    app.state.metrics = metrics
    app.state.calibration = load_calibration(chosen.calibration)
    app.include_router(operation_router)
    for api in _APIS:
        app.include_router(api.router, responses={"default": {"model": api.error_schema, "description": "Error"}})
    app.add_exception_handler(HTTPException, _unknown_route_response)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]

    routes = Routes({*OPERATION_PATHS, *app.openapi()["paths"]})
    # Starlette makes the middleware that is added last the outermost.
    app.add_middleware(HeadAsGet)
    app.add_middleware(Limits, settings=chosen)
    app.add_middleware(ApiKeys, keys=chosen.api_keys)
    app.add_middleware(ErrorResponses, apis=_APIS)
    if chosen.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-truncated", "retry-after"],
        )
    if provider is not None:
        app.add_middleware(Tracing, provider=provider, routes=routes)
    app.add_middleware(Observation, metrics=metrics, routes=routes, access_log=chosen.access_log)
    app.add_middleware(PlainPaths, root_path=chosen.root_path)
    return app


def from_environment() -> FastAPI:
    """Create the application of a worker process; uvicorn finds this function by its name."""
    configure_logging()
    return create_app(Settings.from_environment())


def connect(settings: Settings) -> AsyncClient:
    """Create the connection to Triton. Nothing is sent yet.

    Raises:
        InvalidInputError: The URL or an option cannot be used, or a certificate cannot be read.
    """
    wants_tls = any((settings.triton_ca, settings.triton_certificate, settings.triton_key))
    return AsyncClient(
        settings.triton,
        model=settings.model,
        reranker=settings.reranker,
        tokenizer=settings.tokenizer,
        reranker_tokenizer=settings.reranker_tokenizer,
        special_tokens=settings.special_tokens,
        timeout_s=settings.timeout_s,
        # An overloaded or missing Triton is reported at once: the gateway's own client decides whether to wait.
        retry_s=0,
        concurrency=settings.concurrency,
        tls=Tls(ca=settings.triton_ca, certificate=settings.triton_certificate, key=settings.triton_key)
        if wants_tls
        else None,
        token=settings.triton_token,
    )


async def _unknown_route_response(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: an unknown path, or a known path with another method."""
    status = error.status_code if isinstance(error, HTTPException) else _NOT_FOUND
    headers = {name.lower(): value for name, value in (getattr(error, "headers", None) or {}).items()}
    if status == _NOT_FOUND:
        api_error = ApiError("no_route", "there is no such path; GET /docs lists all paths", headers=headers)
    else:
        operations = request.app.openapi()["paths"]
        methods = {method.upper() for method in operations.get(Routes(operations).of(request.scope["path"]), ())}
        headers["allow"] = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        api_error = ApiError(
            "no_method", "this path does not take that method; GET /docs lists the methods", headers=headers
        )
    return error_response(request.scope, api_error, apis=_APIS)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the request bodies that the routes read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        bodies = [(schema, "validation") for api in _APIS for schema in api.schemas]
        _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        app.openapi_schema = document
    return app.openapi_schema
